//! The steps of an execution: route, prepare, submit, and the decision about a failed attempt.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::{Execution, Next};
use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Quote};
use crate::domain::route::{Candidate, CandidateOutcome, best};
use crate::domain::state::step::Step;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::SignedTx;
use crate::execution::bulkhead::pair_of;
use crate::execution::context::Context;
use crate::execution::error::Interrupt;
use crate::execution::holds::Hold;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::lease::Fence;
use crate::ports::router::StepError;
use crate::ports::venue::PrepareRequest;
use crate::resilience::breaker::{Admission, Open};
use crate::telemetry::{StepName, chain};

impl Execution<'_> {
    /// Returns how long the order has to wait before this step, if it has to: it must not begin yet, an
    /// operator has paused the step, or there are too many transactions in flight.
    pub(super) fn held_back(&mut self, step: &Step) -> Option<Duration> {
        let activities: &[Activity] = match step {
            // A route that must not be executed would only grow old.
            Step::StartAttempt { .. } | Step::Route => &[Activity::Routing, Activity::Sending],
            Step::StartBuilding | Step::Prepare | Step::Submit => &[Activity::Sending],
            Step::Observe | Step::RetryOrFail | Step::Done => return None,
        };
        let order = Arc::clone(self.order.order());
        let not_before = order.request.not_before.filter(|_| matches!(step, Step::StartAttempt { .. }));
        let early = not_before.and_then(|not_before| (not_before - self.context().now()).to_std().ok());
        if early.is_some_and(|early| !early.is_zero()) {
            return early;
        }
        let pauses = &self.context().pauses;
        let pause = activities.iter().find_map(|activity| pauses.covering(*activity, &order.request, None));
        if let Some(pause) = pause {
            return Some(self.executor.holds.wait(Hold::Pause(pause.activity, pause.scope)));
        }
        self.enter_flight(step, &order).err().map(|hold| self.executor.holds.wait(hold))
    }

    /// Counts the order as in flight from the building of its transaction on. An order for which there is no
    /// room is not even routed.
    fn enter_flight(&mut self, step: &Step, order: &Order) -> Result<(), Hold> {
        let in_flight = &self.context().in_flight;
        let permit = match step {
            _ if self.order.is_in_flight() => return Ok(()),
            Step::StartAttempt { .. } | Step::Route => return in_flight.check_user(order),
            // It is signed, and may have been sent.
            Step::Submit => in_flight.enter_anyway(order),
            _ => in_flight.enter(order)?,
        };
        self.order.set_in_flight(permit);
        Ok(())
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

    /// Quotes again what grew too old to build on: in the same attempt, if it grew old in an outage.
    pub(super) fn requote(&self) -> Result<OrderEvent, Interrupt> {
        let state = &self.order.order().state;
        if state.may_requote() {
            return self.start_routing(state.attempt());
        }
        let failure = Failure::new(FailureCode::QUOTE_EXPIRED, "The quote grew too old to build on");
        Ok(OrderEvent::AttemptFailed { failure, class: FailureClass::Requote })
    }

    fn is_fresh(&self, quote: &Quote) -> bool {
        quote.is_fresh(self.context().now(), self.context().config.quote_ttl)
    }

    /// Whether the quote that a transaction is to be built on has grown old, after a crash for instance, and
    /// there is an attempt left for another one. In the last attempt the order goes on with what it has: the
    /// least output that it accepts protects it all the same.
    pub(super) fn is_quote_spent(&self) -> bool {
        let state = &self.order.order().state;
        let is_before_building = matches!(state.next_step(), Step::StartBuilding | Step::Prepare);
        is_before_building
            && (state.attempt() < state.max_attempts() || state.may_requote())
            && state.quote().is_some_and(|quote| !self.is_fresh(quote))
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
        match best(&candidates).cloned().map(Arc::new) {
            Some(route) => {
                self.record(OrderEvent::RouteChosen { route, candidates, quoted_at: Some(quoted_at) })?;
                Ok(Next::Continue)
            }
            None => self.step_failed(no_route(&candidates)).await,
        }
    }

    /// Lets the venue build and sign the transaction.
    pub(super) async fn prepare(&mut self) -> Result<Next, Interrupt> {
        let order = Arc::clone(self.order.order());
        let Some(quote) = order.state.quote().cloned() else {
            let state = order.state.phase().name();
            return Err(IllegalTransition { state, event: "transaction_signed" }.into());
        };
        let admission = match self.executor.venue_breakers.admit(&()) {
            Ok(admission) => admission,
            Err(open) => {
                let message = "The venue does not answer";
                return self.wait_behind(open, FailureCode::VENUE_UNAVAILABLE, message).await;
            }
        };
        let prepared = prepare(Arc::clone(self.context()), order, quote, self.order.fence());
        let prepared = self.commit_while(StepName::Prepare, "venue.prepare", prepared).await;
        let late = || {
            StepError::unavailable(Failure::new(
                FailureCode::VENUE_UNAVAILABLE,
                "The venue did not answer in time",
            ))
        };
        match answered(prepared, admission, late)? {
            Ok(tx) => {
                self.record(OrderEvent::TransactionSigned { tx: Arc::new(tx) })?;
                Ok(Next::Continue)
            }
            Err(error) => self.step_failed(error).await,
        }
    }

    /// Commits the transaction, and only then sends it.
    pub(super) async fn submit(&mut self) -> Result<Next, Interrupt> {
        if planted!(SendBeforeCommit)
            && let Some(tx) = self.order.order().state.live_transaction()
        {
            self.context().send(tx).await;
        }
        self.record(OrderEvent::SubmissionStarted)?;
        self.commit().await?;
        let order = Arc::clone(self.order.order());
        let Some(tx) = order.state.live_transaction() else { return Ok(Next::Continue) };
        self.last_sent = Some(self.context().local_now());
        let is_accepted = self.context().send(tx).await;
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
        let is_recorded = order.state.may_requote();
        match self.context().defer(order, Failure::new(code, message), open.retry_in) {
            OrderEvent::Deferred { retry_in_ms, .. } if is_recorded => {
                self.release_in(Duration::from_millis(retry_in_ms)).await?;
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
    context: Arc<Context>,
    order: Arc<Order>,
    quote: Quote,
    fence: Fence,
) -> Result<SignedTx, StepError> {
    let Quote { route, .. } = &quote;
    let min_amount_out = route.amount_out.less_slippage(order.request.slippage_bps);
    let request = PrepareRequest { order: &order, route, min_amount_out, fence };
    context.venue.prepare(request).await
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
    admission.report(!matches!(&answer, Err(StepError { class: FailureClass::Unavailable, .. })));
    Ok(answer)
}

/// Returns the failure of an order that no exchange can take, with the reasons of all exchanges.
fn no_route(candidates: &[Candidate]) -> StepError {
    let reasons: Vec<String> = candidates
        .iter()
        .filter_map(|candidate| match &candidate.outcome {
            CandidateOutcome::Rejected(failure) => Some(format!("{}: {}", candidate.dex, failure.message)),
            CandidateOutcome::Quoted(_) => None,
        })
        .collect();
    let message = if reasons.is_empty() {
        "No exchange trades this pair".to_owned()
    } else {
        format!("No exchange can take the order ({})", reasons.join("; "))
    };
    StepError::transient(Failure::new(FailureCode::NO_ROUTE, message))
}
