//! Which of the proposed routes is taken: the best whose venue takes orders now.

use std::sync::Arc;

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::VenueName;
use crate::domain::route::{Candidate, CandidateOutcome, Route, best};
use crate::execution::context::Context;
use crate::execution::holds::Hold;
use crate::ports::controls::Activity;

/// Why no route is taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// There is a route, and its venue takes no order now.
    Wait(Hold),
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

/// Chooses the best route whose venue has no obstacle. The others become rejected candidates with the reason,
/// so that the order's history says why a better one was not taken.
pub(crate) fn choose(
    candidates: &mut [Candidate],
    obstacle: impl Fn(&VenueName) -> Option<Obstacle>,
) -> Result<Arc<Route>, NoChoice> {
    let mut awaited = None;
    for candidate in candidates.iter_mut() {
        let Some(obstacle) = candidate.route().and_then(|route| obstacle(&route.venue)) else { continue };
        awaited = awaited.or(obstacle.hold);
        candidate.outcome = CandidateOutcome::Rejected(Failure::new(FailureCode::NO_ROUTE, obstacle.reason));
    }
    match (best(candidates), awaited) {
        (Some(route), _) => Ok(Arc::new(route.clone())),
        (None, Some(hold)) => Err(NoChoice::Wait(hold)),
        (None, None) => Err(NoChoice::NoRoute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::amount::Amount;

    fn candidate(venue: &str, amount_out: u128) -> Candidate {
        let route = Route::new(venue, vec![], Amount::new(1), Amount::new(amount_out));
        Candidate::quoted(venue, route.with_venue(venue))
    }

    fn hold(user: &str) -> Hold {
        Hold::User(user.into())
    }

    /// Chooses between `good` and `better`, of which these have obstacles. Returns also which candidates still
    /// have a route.
    fn choose_beside(obstacles: &[(&str, Option<Hold>)]) -> (Result<String, NoChoice>, Vec<bool>) {
        let mut candidates = [candidate("good", 1), candidate("better", 2)];
        let chosen = choose(&mut candidates, |venue| {
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
    fn an_order_waits_if_waiting_helps() {
        let both = |one, other| choose_beside(&[("good", one), ("better", other)]).0;
        assert_eq!(both(None, Some(hold("b"))), Err(NoChoice::Wait(hold("b"))));
        assert_eq!(both(Some(hold("a")), Some(hold("b"))), Err(NoChoice::Wait(hold("a"))));
        assert_eq!(both(None, None), Err(NoChoice::NoRoute));
    }
}
