//! Which of the proposed routes is taken: the best that pays enough and whose venue takes orders now.

use std::sync::Arc;

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::VenueName;
use crate::domain::route::{Candidate, CandidateOutcome, Route, best};
use crate::domain::token::Token;
use crate::execution::context::Context;
use crate::execution::holds::Hold;
use crate::ports::controls::Activity;
use crate::ports::router::StepError;

/// Why no route is taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// There is a route, and its venue takes no order now.
    Wait(Hold),
    /// There is a route, and even the best pays only so much, which is less than the order accepts.
    TooLow(Amount),
    /// There is no route.
    NoRoute,
}

/// Why a venue takes no order now.
#[derive(Debug)]
pub(crate) struct Obstacle {
    /// In words.
    reason: String,
    /// What to wait for; nothing if waiting does not help.
    hold: Option<Hold>,
}

impl Obstacle {
    /// There are as many transactions in flight as may be.
    pub(crate) fn no_room(hold: Hold) -> Self {
        Self { reason: "As many transactions are in flight as may be".to_owned(), hold: Some(hold) }
    }
}

impl Context {
    /// Returns why no order is routed to a venue now, if none is.
    pub(crate) fn venue_obstacle(&self, venue: &VenueName) -> Option<Obstacle> {
        if self.venues.get(venue).is_none() {
            // The router and the engine do not fit: another quote will not help.
            self.venues.miss(venue);
            let reason = format!("This process has no venue with the name '{venue}'");
            return Some(Obstacle { reason, hold: None });
        }
        let pause = self.pauses.of_venue(&[Activity::Routing, Activity::Sending], venue)?;
        let reason = format!("The venue '{venue}' is paused: {}", pause.reason);
        Some(Obstacle { reason, hold: Some(Hold::Pause(pause.activity, pause.scope)) })
    }
}

/// Chooses the best route that pays enough and whose venue has no obstacle. The others become rejected
/// candidates with the reason, so that the order's history says why a better one was not taken.
pub(crate) fn choose(
    candidates: &mut [Candidate],
    worst_price: Option<Amount>,
    output: &Token,
    obstacle: impl Fn(&VenueName) -> Option<Obstacle>,
) -> Result<Arc<Route>, NoChoice> {
    let (mut awaited, mut too_low) = (None, None);
    for candidate in candidates.iter_mut() {
        let Some(route) = candidate.route() else { continue };
        let failure = if let Some(obstacle) = obstacle(&route.venue) {
            awaited = awaited.or(obstacle.hold);
            Failure::new(FailureCode::NO_ROUTE, obstacle.reason)
        } else if let Some(worst) = worst_price.filter(|worst| route.amount_out < *worst) {
            too_low = too_low.max(Some(route.amount_out));
            let (pays, worst) = (output.format(route.amount_out), output.format(worst));
            let message = format!("It pays {pays}, below the minimum of {worst}");
            Failure::new(FailureCode::PRICE_BELOW_MINIMUM, message)
        } else {
            continue;
        };
        candidate.outcome = CandidateOutcome::Rejected(failure);
    }
    match (best(candidates), too_low, awaited) {
        (Some(route), ..) => Ok(Arc::clone(route)),
        (None, Some(best), _) => Err(NoChoice::TooLow(best)),
        (None, None, Some(hold)) => Err(NoChoice::Wait(hold)),
        (None, None, None) => Err(NoChoice::NoRoute),
    }
}

/// Returns the failure of an order that no exchange can take, with the reasons of all exchanges. It is for good where no
/// reason can pass by itself.
pub(crate) fn no_route(candidates: &[Candidate]) -> StepError {
    let rejected = |candidate: &Candidate| match &candidate.outcome {
        CandidateOutcome::Rejected(failure) => Some((candidate.dex.clone(), failure.clone())),
        CandidateOutcome::Quoted(_) => None,
    };
    let rejections: Vec<(String, Failure)> = candidates.iter().filter_map(rejected).collect();
    if rejections.is_empty() {
        return StepError::transient(Failure::new(FailureCode::NO_ROUTE, "No exchange proposes a route"));
    }
    let all = |codes: &[FailureCode]| rejections.iter().all(|(_, failure)| codes.contains(&failure.code));
    let reasons: Vec<String> =
        rejections.iter().map(|(dex, failure)| format!("{dex}: {}", failure.message)).collect();
    let reasons = reasons.join("; ");
    if all(&[FailureCode::PAIR_NOT_TRADED]) {
        StepError::permanent(Failure::new(FailureCode::PAIR_NOT_TRADED, "No exchange trades this pair"))
    } else if all(&[FailureCode::PAIR_NOT_TRADED, FailureCode::AMOUNT_TOO_SMALL]) {
        let message = format!("The amount is too small for every exchange ({reasons})");
        StepError::permanent(Failure::new(FailureCode::AMOUNT_TOO_SMALL, message))
    } else {
        // The price may move back.
        let moves = [FailureCode::PAIR_NOT_TRADED, FailureCode::AMOUNT_TOO_SMALL, FailureCode::PRICE_IMPACT];
        let code = if all(&moves) { FailureCode::PRICE_IMPACT } else { FailureCode::NO_ROUTE };
        let message = format!("No exchange can take the order ({reasons})");
        StepError::transient(Failure::new(code, message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::failure::FailureClass;
    use crate::domain::ids::OrderId;
    use crate::domain::order::{Order, PriceProtection};
    use crate::domain::retry_policy::RetryPolicy;
    use crate::domain::state::step::Step;
    use crate::domain::transaction::{SignedTx, Validity};
    use crate::domain::verdict::DeathProof;
    use crate::testing::{self, Dice};

    fn candidate(venue: &str, amount_out: u128) -> Candidate {
        let route = Route::new(venue, vec![], Amount::new(1), Amount::new(amount_out));
        Candidate::quoted(venue, route.with_venue(venue))
    }

    fn output() -> Token {
        testing::request().output
    }

    fn hold(user: &str) -> Hold {
        Hold::User(user.into())
    }

    /// Chooses between `good` and `better`, of which these have obstacles. Returns also which candidates still
    /// have a route.
    fn choose_beside(obstacles: &[(&str, Option<Hold>)]) -> (Result<String, NoChoice>, Vec<bool>) {
        choose_above(None, obstacles)
    }

    /// The same with a worst price.
    fn choose_above(
        worst_price: Option<u128>,
        obstacles: &[(&str, Option<Hold>)],
    ) -> (Result<String, NoChoice>, Vec<bool>) {
        let mut candidates = [candidate("good", 1), candidate("better", 2)];
        let chosen = choose(&mut candidates, worst_price.map(Amount::new), &output(), |venue| {
            let (_, hold) = obstacles.iter().find(|(name, _)| *name == venue.as_str())?;
            Some(Obstacle { reason: "closed".into(), hold: hold.clone() })
        });
        let quoted = candidates.iter().map(|candidate| candidate.route().is_some()).collect();
        (chosen.map(|route| route.venue.to_string()), quoted)
    }

    #[test]
    fn the_best_route_is_taken_whose_venue_takes_orders() {
        assert_eq!(choose_beside(&[]), (Ok("better".into()), vec![true, true]));
        assert_eq!(choose_beside(&[("better", Some(hold("a")))]), (Ok("good".into()), vec![true, false]));
        assert_eq!(choose_beside(&[("better", None)]), (Ok("good".into()), vec![true, false]));
    }

    #[test]
    fn an_order_that_no_waiting_helps_fails_for_good() {
        let failed = |codes: &[FailureCode]| {
            let rejected =
                |code: &FailureCode| Candidate::rejected("d", "d", Failure::new(code.clone(), "why"));
            let error = no_route(&codes.iter().map(rejected).collect::<Vec<_>>());
            (error.failure.code, error.class)
        };
        let (small, stranger, other) =
            (FailureCode::AMOUNT_TOO_SMALL, FailureCode::PAIR_NOT_TRADED, FailureCode::NO_ROUTE);
        assert_eq!(failed(std::slice::from_ref(&stranger)), (stranger.clone(), FailureClass::Permanent));
        assert_eq!(failed(&[stranger.clone(), small.clone()]), (small.clone(), FailureClass::Permanent));
        let impact = FailureCode::PRICE_IMPACT;
        assert_eq!(failed(&[small.clone(), impact.clone()]), (impact.clone(), FailureClass::Transient));
        assert_eq!(failed(&[other.clone(), impact]), (other.clone(), FailureClass::Transient));
        assert_eq!(failed(&[small, other.clone()]), (other.clone(), FailureClass::Transient));
        assert_eq!(failed(&[stranger, other.clone()]), (other.clone(), FailureClass::Transient));
        assert_eq!(failed(&[]), (other, FailureClass::Transient));
    }

    #[test]
    fn a_route_that_pays_too_little_is_not_taken() {
        let choose = |worst, obstacles: &[_]| choose_above(Some(worst), obstacles);
        assert_eq!(choose(2, &[]), (Ok("better".into()), vec![false, true]));
        assert_eq!(choose(3, &[]).0, Err(NoChoice::TooLow(Amount::new(2))));
        assert_eq!(choose(2, &[("better", Some(hold("a")))]).0, Err(NoChoice::TooLow(Amount::new(1))));
    }

    #[test]
    fn an_order_waits_if_waiting_helps() {
        let both = |one, other| choose_beside(&[("good", one), ("better", other)]).0;
        assert_eq!(both(None, Some(hold("b"))), Err(NoChoice::Wait(hold("b"))));
        assert_eq!(both(Some(hold("a")), Some(hold("b"))), Err(NoChoice::Wait(hold("a"))));
        assert_eq!(both(None, None), Err(NoChoice::NoRoute));
    }

    /// The event that follows a quote, as the executor decides it.
    fn quoted(order: &Order, policy: &RetryPolicy, outputs: &[u128], at: DateTime<Utc>) -> OrderEvent {
        let mut candidates: Vec<_> = outputs.iter().map(|output| candidate("main", *output)).collect();
        match choose(&mut candidates, order.worst_price(), &order.request.output, |_| None) {
            Ok(route) => {
                let min_amount_out = order.min_amount_out(route.amount_out);
                OrderEvent::RouteChosen { route, candidates, quoted_at: Some(at), min_amount_out }
            }
            Err(NoChoice::TooLow(best)) => policy.look_again(order, best, at, 0),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn below(dice: &Dice, bound: u64) -> u64 {
        dice.between(0, bound - 1)
    }

    /// Plays one random life of an order that is quoted again and again, and checks what it signs against the
    /// rule as its user reads it. Returns how often it signed, and how often its price was gone.
    fn play(dice: &Dice) -> (u32, u32) {
        let at = DateTime::UNIX_EPOCH;
        let mut request = testing::request().with_slippage_bps(u16::try_from(below(dice, 10_001)).unwrap());
        if below(dice, 2) == 0 {
            request = request.with_min_amount_out(Amount::new(1 + u128::from(below(dice, 2_000))));
        }
        if below(dice, 3) == 0 {
            request = request.with_price_protection(PriceProtection::EachQuote);
        }
        let (mut order, _) = Order::accept(OrderId::new(at, 1), request.clone(), u32::MAX, at);
        let policy = RetryPolicy::default().with_max_attempts(u32::MAX);
        let (mut first, mut signed, mut gone) = (None, 0, 0);
        let apply = |order: &mut Order, event| {
            order.advance_mut(event, at).unwrap();
        };
        for _ in 0..=below(dice, 6) {
            if order.status().is_terminal() {
                break;
            }
            if !matches!(order.state.next_step(), Step::Route) {
                let attempt = order.state.attempt() + 1;
                apply(&mut order, OrderEvent::RoutingStarted { attempt, dexes: vec![] });
            }
            let outputs: Vec<_> = (0..=below(dice, 3)).map(|_| u128::from(below(dice, 2_000))).collect();
            let event = quoted(&order, &policy, &outputs, at);
            let OrderEvent::RouteChosen { route, min_amount_out, .. } = event.clone() else {
                gone += 1;
                apply(&mut order, event);
                continue;
            };
            apply(&mut order, event);
            let slipped = route.amount_out.less_slippage(request.slippage_bps);
            let fixed = *first.get_or_insert(slipped);
            let worst = match (request.min_amount_out, request.price_protection) {
                (Some(given), _) => given,
                (None, PriceProtection::FirstQuote) => fixed,
                (None, PriceProtection::EachQuote) => Amount::ZERO,
            };
            apply(&mut order, OrderEvent::BuildStarted);
            let failed = OrderEvent::AttemptFailed {
                failure: Failure::new(FailureCode::SLIPPAGE, "it moved"),
                class: FailureClass::Requote,
            };
            if below(dice, 2) == 0 {
                let tx = |min_amount_out| {
                    let validity = Validity::UntilHeight(1);
                    let tx = SignedTx::new("tx", [], validity, min_amount_out);
                    OrderEvent::TransactionSigned { tx: Arc::new(tx) }
                };
                assert!(
                    min_amount_out >= worst && min_amount_out >= slipped,
                    "{request:?}: {min_amount_out}"
                );
                if let Some(less) = min_amount_out.checked_sub(Amount::new(1)) {
                    assert!(order.advance(tx(less), at).is_err(), "a promise of less is refused");
                }
                apply(&mut order, tx(min_amount_out));
                signed += 1;
                let (proof, failure) =
                    (DeathProof::Reverted, Failure::new(FailureCode::SLIPPAGE, "it moved"));
                let class = FailureClass::Requote;
                apply(&mut order, OrderEvent::TransactionDied { proof, failure, class });
            } else {
                apply(&mut order, failed);
            }
            apply(&mut order, OrderEvent::RetryScheduled { retry_at: at, retry_in: Duration::ZERO });
        }
        (signed, gone)
    }

    /// `HISTORIES=1000000` plays as many in release.
    #[test]
    fn nothing_is_ever_signed_below_the_worst_price() {
        let histories = std::env::var("HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
        let dice = Dice::new(7);
        let (signed, gone) = (0..histories)
            .map(|_: u32| play(&dice))
            .fold((0, 0), |(signed, gone), (more, again)| (signed + more, gone + again));
        println!("{histories} histories, {signed} signed transactions, {gone} prices that were gone");
        assert!(signed > histories / 2 && gone > histories / 4);
    }
}
