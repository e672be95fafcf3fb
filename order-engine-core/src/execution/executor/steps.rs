//! The steps of an execution: route, prepare, submit, and the decision about a failed attempt.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use super::{Execution, Next};
use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::VenueName;
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Quote};
use crate::domain::route::Candidate;
use crate::domain::state::step::Step;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::SignedTx;
use crate::execution::bulkhead::{Congested, pair_of};
use crate::execution::choice::{NoChoice, Obstacle, choose, no_route};
use crate::execution::error::Interrupt;
use crate::execution::holds::Hold;
use crate::execution::nonces::NonceTurn;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::lease::Fence;
use crate::ports::router::StepError;
use crate::ports::venue::PrepareRequest;
use crate::resilience::breaker::{Admission, Open};
use crate::telemetry::{StepName, chain};

/// What keeps an order from being routed when it is paused.
const ROUTING: &[Activity] = &[Activity::Routing, Activity::Sending];

impl Execution<'_> {
    /// Returns how long the order must not begin yet.
    pub(super) fn until_not_before(&self, step: &Step) -> Option<Duration> {
        let not_before = self.order.order().request.not_before?;
        let early = (not_before - self.context().now()).to_std().ok()?;
        (matches!(step, Step::StartAttempt { .. }) && !early.is_zero()).then_some(early)
    }

    /// Returns what holds the order back from this step, if something does: an operator has paused it, there
    /// are too many transactions in flight, or its venue has no room or is not known here.
    pub(super) async fn find_hold(&mut self, step: &Step) -> Result<Option<Hold>, Interrupt> {
        let activities = match step {
            // A route that must not be executed would only grow old.
            Step::StartAttempt { .. } | Step::Route => ROUTING,
            Step::StartBuilding | Step::Prepare | Step::Submit => &[Activity::Sending],
            Step::Observe | Step::RetryOrFail | Step::Done => return Ok(None),
        };
        let order = Arc::clone(self.order.order());
        let context = Arc::clone(self.context());
        let is_routed = activities != ROUTING;
        let only = || context.venues.only().map(|venue| &venue.name);
        let venue = if is_routed { order.state.venue() } else { only() };
        if let Some(pause) = context.pauses.covering(activities, &order.request, venue) {
            return Ok(Some(Hold::Pause(pause.activity, pause.scope)));
        }
        match venue {
            Some(venue) if is_routed => self.enter_venue(step, &order, venue).await,
            // An order for which there is no room is not even routed.
            venue => Ok(self.check_room(&order, venue).err()),
        }
    }

    /// Checks that there is room for another transaction of the user, and on the venue if it is known.
    fn check_room(&self, order: &Order, venue: Option<&VenueName>) -> Result<(), Hold> {
        let in_flight = &self.context().in_flight;
        if self.order.is_in_flight() {
            return Ok(());
        }
        in_flight.check_user(order)?;
        venue.map_or(Ok(()), |venue| in_flight.check_venue(venue))
    }

    /// Takes what an order needs for the building and the sending of its transaction: a place among those in
    /// flight, and one among the executions of its venue.
    async fn enter_venue(
        &mut self,
        step: &Step,
        order: &Order,
        venue: &VenueName,
    ) -> Result<Option<Hold>, Interrupt> {
        let context = Arc::clone(self.context());
        if context.venues.get(venue).is_none() {
            context.miss_venue(&mut self.order)?;
            return Ok(Some(Hold::Venue(venue.clone())));
        }
        if !self.order.is_in_flight() {
            let entered = match step {
                // It is signed, and may have been sent.
                Step::Submit => Ok(context.in_flight.enter_anyway(order, venue)),
                _ => context.in_flight.enter(order, venue),
            };
            match entered {
                Ok(permit) => self.order.set_in_flight(permit),
                Err(hold) => return Ok(Some(hold)),
            }
        }
        // One venue alone may take all slots.
        if self.on_venue.is_some() || context.venues.only().is_some() {
            return Ok(None);
        }
        let bulkheads = Arc::clone(&self.executor.venues);
        let mut entered = pin!(bulkheads.enter(venue.clone()));
        let entered = match entered.as_mut().now_or_never() {
            Some(entered) => entered,
            None => {
                self.commit().await?;
                entered.await
            }
        };
        match entered {
            Ok(permit) => self.on_venue = Some(permit),
            Err(Congested) => return Ok(Some(Hold::Venue(venue.clone()))),
        }
        Ok(None)
    }

    /// Begins an attempt: with the route of the last attempt while its quote holds, and by routing if not.
    pub(super) fn start(&self, attempt: u32) -> Result<OrderEvent, Interrupt> {
        if self.order.order().state.quote().is_some_and(|quote| self.is_fresh(quote)) {
            return Ok(OrderEvent::BuildRestarted { attempt });
        }
        self.start_routing(attempt)
    }

    fn start_routing(&self, attempt: u32) -> Result<OrderEvent, Interrupt> {
        let context = self.context();
        let dexes = context.tasks.supervisor.guard_sync("router.dexes", || context.router.dexes())?;
        Ok(OrderEvent::RoutingStarted { attempt, dexes })
    }

    /// Quotes again what grew too old to build on. It is the same attempt, for nothing was tried that has failed.
    pub(super) fn requote(&self) -> Result<OrderEvent, Interrupt> {
        self.start_routing(self.order.order().state.attempt())
    }

    fn is_fresh(&self, quote: &Quote) -> bool {
        quote.is_fresh(self.context().now(), self.context().config.quote_ttl)
    }

    /// Whether the quote that a transaction is to be built on has grown old, after a crash for instance, and
    /// the attempt has not been quoted again yet. If it has, the order goes on with what it has: the least output that it
    /// accepts protects it all the same.
    pub(super) fn is_quote_spent(&self) -> bool {
        let state = &self.order.order().state;
        let is_before_building = matches!(state.next_step(), Step::StartBuilding | Step::Prepare);
        is_before_building && state.may_requote() && state.quote().is_some_and(|quote| !self.is_fresh(quote))
    }

    /// Asks the router and chooses the best route.
    pub(super) async fn route(&mut self) -> Result<Next, Interrupt> {
        let pair = pair_of(&self.order.order().request);
        let admission = match self.executor.router_breakers.admit(&pair) {
            Ok(admission) => admission,
            Err(open) => {
                let message = "The router does not answer for this pair";
                return self.wait_behind(open, FailureCode::QUOTE_UNAVAILABLE, message).await;
            }
        };
        let request = self.order.order().request.quote_request();
        let router = Arc::clone(&self.context().router);
        // A quote is as old as the request for it: it is not known when the router looked.
        let quoted_at = self.context().now();
        let quoted = async move { router.quote(&request).await };
        let quoted = self.commit_while(StepName::Quote, "router.quote", quoted).await;
        let late =
            || StepError::unavailable(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No quote came in time"));
        let candidates = match answered(quoted, admission, late)? {
            Ok(candidates) => candidates,
            Err(error) => return self.step_failed(error).await,
        };
        self.choose(candidates, quoted_at).await
    }

    /// Takes the best route whose venue takes the order now.
    async fn choose(
        &mut self,
        mut candidates: Vec<Candidate>,
        quoted_at: DateTime<Utc>,
    ) -> Result<Next, Interrupt> {
        let (context, order) = (Arc::clone(self.context()), Arc::clone(self.order.order()));
        let floor = order.worst_price();
        let chosen = choose(&mut candidates, floor, &order.request.output, |venue| {
            let room = || self.check_room(&order, Some(venue)).err();
            context.venue_obstacle(venue).or_else(|| room().map(Obstacle::no_room))
        });
        let route = match chosen {
            Ok(route) => route,
            Err(NoChoice::Wait(hold)) => return self.wait_for(hold).await,
            Err(NoChoice::TooLow(best)) => {
                let event = context.look_again(&order, best);
                drop(order);
                return self.wait_out(event).await;
            }
            Err(NoChoice::NoRoute) => return self.step_failed(no_route(&candidates)).await,
        };
        // Room that is taken by others until the building begins would let the quote grow old.
        if !self.order.is_in_flight() {
            match context.in_flight.enter(&order, &route.venue) {
                Ok(permit) => self.order.set_in_flight(permit),
                Err(hold) => return self.wait_for(hold).await,
            }
        }
        let min_amount_out = order.min_amount_out(route.amount_out);
        drop(order);
        let quoted_at = Some(quoted_at);
        self.record(OrderEvent::RouteChosen { route, candidates, quoted_at, min_amount_out })?;
        Ok(Next::Continue)
    }

    /// Returns the venue of the order's route. An order does not come to a step on a venue without one.
    fn venue(&self, step: &'static str) -> Result<Arc<KnownVenue>, Interrupt> {
        let state = &self.order.order().state;
        let venue = state.venue().and_then(|name| self.context().venues.get(name).cloned());
        Ok(venue.ok_or(IllegalTransition { state: state.phase().name(), event: step })?)
    }

    /// Lets the venue build and sign the transaction.
    pub(super) async fn prepare(&mut self) -> Result<Next, Interrupt> {
        let order = Arc::clone(self.order.order());
        let Some(quote) = order.state.quote().cloned() else {
            let state = order.state.phase().name();
            return Err(IllegalTransition { state, event: "transaction_signed" }.into());
        };
        let venue = self.venue("transaction_signed")?;
        let admission = match venue.building.admit(&()) {
            Ok(admission) => admission,
            Err(open) => {
                let message = "The venue does not answer";
                return self.wait_behind(open, FailureCode::VENUE_UNAVAILABLE, message).await;
            }
        };
        let nonces = Arc::new(self.context().nonces.turn(&venue.name, order.id));
        let prepared = prepare(venue, order, quote, self.order.fence(), Arc::clone(&nonces));
        let prepared = self.commit_while(StepName::Prepare, "venue.prepare", prepared).await;
        let late = || {
            StepError::unavailable(Failure::new(
                FailureCode::VENUE_UNAVAILABLE,
                "The venue did not answer in time",
            ))
        };
        match answered(prepared, admission, late)? {
            Ok(tx) => self.signed(tx, nonces).await,
            Err(error) => self.step_failed(error).await,
        }
    }

    /// Records a signed transaction. Its nonce is reserved when it is committed.
    async fn signed(&mut self, tx: SignedTx, nonces: Arc<NonceTurn>) -> Result<Next, Interrupt> {
        let reservation = match nonces.reservation(&tx) {
            Ok(reservation) => reservation,
            Err(error) => return self.step_failed(error).await,
        };
        self.nonce = reservation.is_some().then_some(nonces);
        let now = self.context().now();
        self.order.record_signed(tx, reservation, now)?;
        Ok(Next::Continue)
    }

    /// Commits the transaction, and only then sends it.
    pub(super) async fn submit(&mut self) -> Result<Next, Interrupt> {
        let venue = self.venue("submission_started")?;
        if planted!(SendBeforeCommit)
            && let Some(tx) = self.order.order().state.live_transaction()
        {
            self.context().send(&venue, tx).await;
        }
        self.record(OrderEvent::SubmissionStarted)?;
        self.commit().await?;
        let order = Arc::clone(self.order.order());
        let Some(tx) = order.state.live_transaction() else { return Ok(Next::Continue) };
        self.last_sent = Some(self.context().local_now());
        let is_accepted = self.context().send(&venue, tx).await;
        // With no other owner, the next event changes the order in place.
        drop(order);
        if is_accepted {
            self.record(OrderEvent::SubmissionAccepted)?;
        }
        Ok(Next::Observe)
    }

    /// Decides what follows a failed attempt. A wait is written at once, and the store carries it from there.
    pub(super) async fn retry_or_fail(&mut self) -> Result<Next, Interrupt> {
        let now = self.deadline_now().await?;
        if let Some(event) = self.context().retry_or_fail(self.order.order(), now) {
            self.record(event)?;
        }
        if !matches!(self.order.order().state.phase(), Phase::Waiting { .. }) {
            return Ok(Next::Continue);
        }
        self.commit_and_yield().await
    }

    /// Records that a step before the signing failed, or that the order waits for the end of an outage.
    async fn step_failed(&mut self, error: StepError) -> Result<Next, Interrupt> {
        if error.source().is_some() {
            tracing::warn!(order.id = %self.order.order().id, error = %chain(&error), "a step failed");
        }
        let StepError { failure, class, .. } = error;
        if class == FailureClass::Unavailable && !planted!(OutageUsesAttempt) {
            let event = self.context().defer(self.order.order(), failure, Duration::ZERO);
            return self.wait_out(event).await;
        }
        self.record(OrderEvent::AttemptFailed { failure, class })?;
        Ok(Next::Continue)
    }

    /// Waits because an open breaker lets no call through. The history says so once for each outage.
    async fn wait_behind(&mut self, open: Open, code: FailureCode, message: &str) -> Result<Next, Interrupt> {
        let order = self.order.order();
        let is_recorded = order.state.held_up_since().is_some() && order.state.may_requote();
        match self.context().defer(order, Failure::new(code, message), open.retry_in) {
            OrderEvent::Deferred { retry_in, .. } if is_recorded => {
                self.release_in(retry_in).await?;
                Ok(Next::Yield)
            }
            event => self.wait_out(event).await,
        }
    }

    /// Records a wait, or the end of a wait that was too long.
    async fn wait_out(&mut self, event: OrderEvent) -> Result<Next, Interrupt> {
        self.record(event)?;
        if self.order.order().status().is_terminal() {
            return Ok(Next::Continue);
        }
        self.commit_and_yield().await
    }

    async fn commit_and_yield(&mut self) -> Result<Next, Interrupt> {
        self.commit().await?;
        self.context().wakers.wake_for(self.order.order());
        Ok(Next::Yield)
    }
}

async fn prepare(
    on: Arc<KnownVenue>,
    order: Arc<Order>,
    quote: Quote,
    fence: Fence,
    nonces: Arc<NonceTurn>,
) -> Result<SignedTx, StepError> {
    let Quote { route, min_amount_out, .. } = &quote;
    let request = PrepareRequest::new(&order, route, *min_amount_out, fence, &*nonces);
    on.venue.prepare(request).await
}

/// Returns what a call answered, after reporting to the breaker in front of it; `late` stands in for the
/// answer of a call that took too long.
fn answered<T, K: Ord + Clone>(
    result: Result<Option<Result<T, StepError>>, Interrupt>,
    admission: Admission<K>,
    late: impl FnOnce() -> StepError,
) -> Result<Result<T, StepError>, Interrupt> {
    let answer = match result {
        Ok(answer) => answer.unwrap_or_else(|| Err(late())),
        Err(interrupt) => {
            // Of all interrupts, only a panic says something about the router or the venue.
            if matches!(interrupt, Interrupt::Panicked(_)) {
                admission.failed();
            }
            return Err(interrupt);
        }
    };
    let is_silent = |error: &StepError| {
        // A busy account says nothing about the venue.
        error.class == FailureClass::Unavailable && error.failure.code != FailureCode::ACCOUNT_BUSY
    };
    admission.report(!answer.as_ref().is_err_and(is_silent));
    Ok(answer)
}
