//! The worker's half of an order's path: from acceptance to a transaction that is sent.
//!
//! Steps resume, they do not restart: whatever the state says comes next is done next. An event is
//! written while the step after it runs; only an effect waits for the disk. The one effect here is
//! sending, and it sends what is committed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::try_join;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::commit::committer::CommitError;
use crate::domain::codec::ItemRejected;
use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Quote};
use crate::domain::retry_policy::{expired, is_expired};
use crate::domain::route::{Candidate, CandidateOutcome, QuoteRequest, best};
use crate::domain::state::step::Step;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::SignedTx;
use crate::engine::Inner;
use crate::execution::bulkhead::{CONGESTED_RETRY, pair_of};
use crate::execution::lease::panic_rest;
use crate::execution::leased_order::LeasedOrder;
use crate::planted::planted;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::order_store::lease::Fence;
use crate::ports::order_store::write::AppendError;
use crate::ports::router::StepError;
use crate::ports::venue::{PrepareRequest, SubmitReport};
use crate::resilience::breaker::{Admission, Open};
use crate::resilience::supervisor::Panicked;
use crate::telemetry::{self, StepName};

/// Why a worker could not go on with an order.
///
/// Nothing is lost by any of them: the order stays where its last committed event left it, and
/// another claim goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Somebody else acts for the order now, or the lease could not be renewed in time.
    #[error("the lease was lost")]
    LeaseLost,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(Arc<StoreError>),
    /// The store can never take what happened.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The router or the venue panicked. It counts against the order.
    #[error("{0} panicked")]
    Panicked(&'static str),
    /// A defect: the engine came to an event that the state does not allow.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    Closed,
}

/// What ends a step before its time.
enum Interrupt {
    /// Somebody without a lease wrote to the order; it must be read again.
    Moved,
    /// The router or the venue panicked.
    Panicked(Panicked),
    /// The deadline passed before a transaction was committed.
    TooLate,
    Failed(ExecuteError),
}

impl From<CommitError> for Interrupt {
    fn from(error: CommitError) -> Self {
        Self::Failed(match error {
            CommitError::Append(AppendError::StaleRevision { .. }) => return Self::Moved,
            CommitError::Append(AppendError::TooLate) => return Self::TooLate,
            CommitError::Append(AppendError::Rejected(refused)) | CommitError::Rejected(refused) => {
                refused.into()
            }
            CommitError::Append(_) => ExecuteError::LeaseLost,
            CommitError::Store(error) => ExecuteError::Store(error),
            CommitError::Closed => ExecuteError::Closed,
        })
    }
}

impl From<IllegalTransition> for Interrupt {
    fn from(illegal: IllegalTransition) -> Self {
        Self::Failed(illegal.into())
    }
}

impl From<Panicked> for Interrupt {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(panicked)
    }
}

/// Whose turn it is: orders are executed in company, and one at a time alone.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<RwLock<()>>);

/// A turn. It ends when it is dropped.
#[derive(Debug)]
enum Turn {
    InCompany { _turn: OwnedRwLockReadGuard<()> },
    Alone { _turn: OwnedRwLockWriteGuard<()> },
}

impl Turns {
    async fn begin(&self, alone: bool) -> Turn {
        let turns = Arc::clone(&self.0);
        if alone {
            Turn::Alone { _turn: turns.write_owned().await }
        } else {
            Turn::InCompany { _turn: turns.read_owned().await }
        }
    }
}

/// Executes an order until it waits, is handed to the observer, or is done.
pub(crate) async fn execute(engine: &Arc<Inner>, active: LeasedOrder) -> Result<(), ExecuteError> {
    let lost = active.lease().lost();
    if planted!(LostLeaseIsIgnored) {
        return take_turn(engine, active).await;
    }
    tokio::select! {
        biased;
        () = lost => Err(ExecuteError::LeaseLost),
        result = take_turn(engine, active) => result,
    }
}

/// Executes an order when it is its turn, and its pair has a place for it.
async fn take_turn(engine: &Arc<Inner>, mut active: LeasedOrder) -> Result<(), ExecuteError> {
    let alone = is_suspect(engine, &active);
    let _turn = engine.turns.begin(alone && !planted!(SuspectsAreNotAlone)).await;
    let Ok(_place) = engine.bulkheads.enter(pair_of(&active.order().request)).await else {
        // Nothing is to be written; the lease goes back when it is dropped.
        active.lease_mut().rest_for(CONGESTED_RETRY);
        return Ok(());
    };
    Execution { engine, active, last_sent: None }.run(alone).await
}

/// Whether workers may have died of the order, so that it must not take others with it.
fn is_suspect(engine: &Inner, active: &LeasedOrder) -> bool {
    active.lease().claims_without_progress() > engine.config.quarantine_after
        || active.order().state.suspicion().is_some_and(|suspicion| suspicion.alone)
}

/// What follows a step.
enum Next {
    /// The next step.
    Continue,
    /// The transaction is out of the worker's hands.
    Watch,
    /// Nothing more for now.
    Rest,
}

struct Execution<'a> {
    engine: &'a Arc<Inner>,
    active: LeasedOrder,
    /// When this execution sent the transaction.
    last_sent: Option<DateTime<Utc>>,
}

impl Execution<'_> {
    async fn run(mut self, alone: bool) -> Result<(), ExecuteError> {
        let begins_alone = alone && !self.engine.is_stopping();
        let mut next = if begins_alone { self.begin_alone().await } else { Ok(Next::Continue) };
        loop {
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Rest) => return Ok(()),
                Ok(Next::Watch) => return self.engine.watch(self.active, self.last_sent).await,
                Err(Interrupt::Moved) => self.reload().await?,
                Err(Interrupt::Panicked(panicked)) => return self.strike(&panicked).await,
                Err(Interrupt::TooLate) => {
                    self.engine.store_clock.refresh().await;
                    self.reload().await?;
                    if self.active.order().state.live_transaction().is_some() {
                        // It was signed in time and not sent in time: it is left to die.
                        return self.engine.watch(self.active, None).await;
                    }
                }
                Err(Interrupt::Failed(error)) => return Err(self.give_up(error)),
            }
            next = self.advance().await;
        }
    }

    /// Counts the execution before it begins: if the process dies of it, nobody else can count it.
    async fn begin_alone(&mut self) -> Result<Next, Interrupt> {
        let strikes = self.active.order().state.strikes() + 1;
        let message = "Workers died while they had the order; it is tried alone";
        let failure = Failure::new(FailureCode::WORKER_DIED, message);
        self.record(OrderEvent::Suspected { failure, strikes, alone: true })?;
        self.commit().await?;
        Ok(Next::Continue)
    }

    /// Counts a panic against the order, which rests, longer each time, or is set aside.
    async fn strike(mut self, panicked: &Panicked) -> Result<(), ExecuteError> {
        let (limit, now) = (self.engine.config.quarantine_after, self.engine.now());
        let strikes = self.active.order().state.strikes() + 1;
        let failure = Failure::new(FailureCode::WORKER_PANICKED, "A worker panicked with the order");
        self.active.record(OrderEvent::Suspected { failure, strikes, alone: false }, now)?;
        if strikes >= limit {
            let failure = Failure::new(
                FailureCode::QUARANTINED,
                format!("Workers panicked with it {strikes} times in a row"),
            );
            self.active.record(OrderEvent::Quarantined { failure }, now)?;
            tracing::error!(order.id = %self.active.order().id, "an order is set aside for an operator");
        }
        let rest = panic_rest(strikes).min(self.engine.config.lease_duration);
        match self.active.give_back(&self.engine.committer, rest).await.map_err(Interrupt::from) {
            Err(Interrupt::Failed(error)) => Err(self.give_up(error)),
            _ => Err(ExecuteError::Panicked(panicked.part)),
        }
    }

    /// Lets an order rest that the store fails on for a reason that does not pass, so that it does not come
    /// back at once, again and again.
    fn give_up(&mut self, error: ExecuteError) -> ExecuteError {
        let is_lasting = match &error {
            // A store that is away, or comes back otherwise than it should, says nothing about the order.
            ExecuteError::Store(error) => error.kind() == StoreErrorKind::Internal,
            ExecuteError::Rejected(_) | ExecuteError::Illegal(_) => true,
            _ => false,
        };
        if is_lasting {
            self.active.lease_mut().fail(self.engine.config.quarantine_after);
        }
        error
    }

    /// Does what the state says comes next.
    async fn advance(&mut self) -> Result<Next, Interrupt> {
        if self.engine.is_stopping() {
            // What is written continues elsewhere; dropping the lease gives the order back.
            self.commit().await?;
            return Ok(Next::Rest);
        }
        let order = self.active.order();
        let may_expire = order.state.live_transaction().is_none() && !order.status().is_terminal();
        if may_expire && is_expired(order, self.judged_now().await?) {
            self.record(OrderEvent::Failed { failure: expired() })?;
        }
        if self.is_quote_spent() {
            let event = self.requote()?;
            self.record(event)?;
        }
        match self.active.order().state.next_step() {
            Step::StartAttempt { attempt } => {
                let event = self.start(attempt)?;
                self.record(event)?;
            }
            Step::Route => return self.route().await,
            Step::StartBuilding => self.record(OrderEvent::BuildStarted)?,
            Step::Prepare => return self.prepare().await,
            Step::Submit => return self.submit().await,
            Step::Observe => return Ok(Next::Watch),
            Step::Settle => return self.settle().await,
            Step::Done => {
                self.commit().await?;
                return Ok(Next::Rest);
            }
        }
        Ok(Next::Continue)
    }

    /// Begins an attempt where the last one was interrupted: with its route while the quote holds, and
    /// by routing if not.
    fn start(&self, attempt: u32) -> Result<OrderEvent, Interrupt> {
        if self.active.order().state.quote().is_some_and(|quote| self.is_fresh(quote)) {
            return Ok(OrderEvent::BuildRestarted { attempt });
        }
        self.start_routing(attempt)
    }

    fn start_routing(&self, attempt: u32) -> Result<OrderEvent, Interrupt> {
        let dexes = self.engine.supervisor.guard_sync("router.dexes", || self.engine.router.dexes())?;
        Ok(OrderEvent::RoutingStarted { attempt, dexes })
    }

    /// Quotes again what grew too old to build on: in the same attempt, if it grew old in an outage.
    fn requote(&self) -> Result<OrderEvent, Interrupt> {
        let state = &self.active.order().state;
        if state.may_requote() {
            return self.start_routing(state.attempt());
        }
        let failure = Failure::new(FailureCode::QUOTE_EXPIRED, "The quote grew too old to build on");
        Ok(OrderEvent::AttemptFailed { failure, class: FailureClass::Requote })
    }

    fn is_fresh(&self, quote: &Quote) -> bool {
        quote.is_fresh(self.engine.now(), self.engine.config.quote_ttl)
    }

    /// Whether a transaction is to be built on a quote that has grown old, after a crash for instance,
    /// and there is an attempt left for another one. In the last attempt the order goes on with what it
    /// has: the least output that it accepts protects it all the same.
    fn is_quote_spent(&self) -> bool {
        let state = &self.active.order().state;
        let is_before_building = matches!(state.next_step(), Step::StartBuilding | Step::Prepare);
        is_before_building
            && (state.attempt() < state.max_attempts() || state.may_requote())
            && state.quote().is_some_and(|quote| !self.is_fresh(quote))
    }

    /// Asks the router and chooses.
    async fn route(&mut self) -> Result<Next, Interrupt> {
        let pair = pair_of(&self.active.order().request);
        let admission = match self.engine.router_breakers.admit(&pair) {
            Ok(admission) => admission,
            Err(open) => {
                return self
                    .wait_behind(open, FailureCode::QUOTE_UNAVAILABLE, "No quotes can be had for this pair")
                    .await;
            }
        };
        let request = &self.active.order().request;
        let request = QuoteRequest {
            input: request.input.clone(),
            output: request.output.clone(),
            amount: request.amount,
        };
        let router = Arc::clone(&self.engine.router);
        // The age of a quote counts from the question: who knows when the answer was looked up.
        let asked_at = self.engine.now();
        let quoted = self
            .alongside(StepName::Quote, "router.quote", async move { router.quote(&request).await })
            .await;
        let late =
            || StepError::unavailable(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No quote came in time"));
        let candidates = match answered(quoted, admission, late)? {
            Ok(candidates) => candidates,
            Err(error) => return self.step_failed(error).await,
        };
        match best(&candidates).cloned().map(Arc::new) {
            Some(route) => {
                self.record(OrderEvent::RouteChosen { route, candidates, quoted_at: Some(asked_at) })?;
                Ok(Next::Continue)
            }
            None => self.step_failed(no_route(&candidates)).await,
        }
    }

    /// Lets the venue build and sign the transaction.
    async fn prepare(&mut self) -> Result<Next, Interrupt> {
        let order = Arc::clone(self.active.order());
        let Some(quote) = order.state.quote().cloned() else {
            let state = order.state.phase().name();
            return Err(IllegalTransition { state, event: "transaction_signed" }.into());
        };
        let admission = match self.engine.venue_breakers.admit(&()) {
            Ok(admission) => admission,
            Err(open) => {
                return self
                    .wait_behind(open, FailureCode::VENUE_UNAVAILABLE, "The venue does not answer")
                    .await;
            }
        };
        let prepared = prepare(Arc::clone(self.engine), order, quote, self.active.fence());
        let prepared = self.alongside(StepName::Prepare, "venue.prepare", prepared).await;
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

    /// Records that a step before the signing failed, or that the order waits for the end of an outage.
    async fn step_failed(&mut self, error: StepError) -> Result<Next, Interrupt> {
        let StepError { failure, class } = error;
        if class == FailureClass::Unavailable && !planted!(OutageUsesAttempt) {
            let event = self.engine.defer(self.active.order(), failure, Duration::ZERO);
            return self.wait_out(event).await;
        }
        self.record(OrderEvent::AttemptFailed { failure, class })?;
        Ok(Next::Continue)
    }

    /// Waits because others are waiting for an answer already. The history says it once.
    async fn wait_behind(&mut self, open: Open, code: FailureCode, message: &str) -> Result<Next, Interrupt> {
        let order = self.active.order();
        let is_known = order.state.may_requote();
        let event = self.engine.defer(order, Failure::new(code, message), open.retry_in);
        match event {
            OrderEvent::Deferred { retry_in_ms, .. } if is_known => {
                let wait = Duration::from_millis(retry_in_ms);
                let due_in = self.active.until_deadline(wait, self.engine.now());
                self.active.give_back(&self.engine.committer, due_in).await?;
                Ok(Next::Rest)
            }
            event => self.wait_out(event).await,
        }
    }

    /// Writes a wait, which the row carries from there; or the end of a wait that was too long.
    async fn wait_out(&mut self, event: OrderEvent) -> Result<Next, Interrupt> {
        self.record(event)?;
        if self.active.order().status().is_terminal() {
            return Ok(Next::Continue);
        }
        self.commit().await?;
        self.engine.wake_for(self.active.order());
        Ok(Next::Rest)
    }

    /// Commits the transaction, and only then sends it.
    async fn submit(&mut self) -> Result<Next, Interrupt> {
        if planted!(SendBeforeCommit)
            && let Some(tx) = self.active.order().state.live_transaction()
        {
            self.engine.send(tx).await;
        }
        self.record(OrderEvent::SubmissionStarted)?;
        self.commit().await?;
        let order = Arc::clone(self.active.order());
        let Some(tx) = order.state.live_transaction() else { return Ok(Next::Continue) };
        self.last_sent = Some(self.engine.runtime.now());
        let accepted = self.engine.send(tx).await;
        // What follows changes the order in place if nobody else holds it.
        drop(order);
        if accepted {
            self.record(OrderEvent::SubmissionAccepted)?;
        }
        Ok(Next::Watch)
    }

    /// Decides what follows from the failed attempt. A wait is written at once, and the row
    /// carries it from there.
    async fn settle(&mut self) -> Result<Next, Interrupt> {
        let now = self.judged_now().await?;
        if let Some(event) = self.engine.settle(self.active.order(), now) {
            self.record(event)?;
        }
        if !matches!(self.active.order().state.phase(), Phase::Waiting { .. }) {
            return Ok(Next::Continue);
        }
        self.commit().await?;
        self.engine.wake_for(self.active.order());
        Ok(Next::Rest)
    }

    fn record(&mut self, event: OrderEvent) -> Result<(), Interrupt> {
        Ok(self.active.record(event, self.engine.now())?)
    }

    async fn judged_now(&self) -> Result<DateTime<Utc>, Interrupt> {
        let judged = self.engine.judged_now(self.active.order()).await;
        judged.map_err(|error| Interrupt::Failed(ExecuteError::Store(Arc::new(error))))
    }

    async fn commit(&mut self) -> Result<(), Interrupt> {
        Ok(self.active.commit(&self.engine.committer).await?)
    }

    /// Runs a step that has no effect. What is not yet written rides with the next write if the
    /// step finishes at once, and is written while it runs if not, so that subscribers are told
    /// what the order is waiting for. Nothing if the step took too long.
    async fn alongside<T: Send>(
        &mut self,
        name: StepName,
        part: &'static str,
        step: impl Future<Output = T> + Send,
    ) -> Result<Option<T>, Interrupt> {
        let engine = self.engine;
        let step = engine.supervisor.guard(part, step);
        let mut step = pin!(telemetry::timed(name, &engine.runtime, step));
        if let Some(result) = step.as_mut().now_or_never() {
            return Ok(Some(result?));
        }
        let step = engine.in_time(step).map(Ok);
        let ((), result) = try_join(self.commit(), step).await?;
        Ok(result.transpose()?)
    }

    /// Goes on from what the store has, while the lease is still ours.
    async fn reload(&mut self) -> Result<(), ExecuteError> {
        let order = self.engine.reload(self.active.order().id).await?;
        self.active.reset(order);
        Ok(())
    }
}

async fn prepare(
    engine: Arc<Inner>,
    order: Arc<Order>,
    quote: Quote,
    fence: Fence,
) -> Result<SignedTx, StepError> {
    let Quote { route, .. } = &quote;
    let min_amount_out = route.amount_out.less_slippage(order.request.slippage_bps);
    let request = PrepareRequest { order: &order, route, min_amount_out, fence };
    engine.venue.prepare(request).await
}

/// What a step answered, told to the breaker before it; `late` stands in where it took too long.
fn answered<T, K: Ord + Clone>(
    result: Result<Option<Result<T, StepError>>, Interrupt>,
    admission: Admission<K>,
    late: impl FnOnce() -> StepError,
) -> Result<Result<T, StepError>, Interrupt> {
    let result = match result {
        Ok(answer) => answer.unwrap_or_else(|| Err(late())),
        Err(interrupt) => {
            // Only a panic says something about who was asked.
            if matches!(interrupt, Interrupt::Panicked(_)) {
                admission.failed();
            }
            return Err(interrupt);
        }
    };
    admission.tell(!matches!(&result, Err(StepError { class: FailureClass::Unavailable, .. })));
    Ok(result)
}

/// Nobody can take the order: the reasons of those who were asked, in one.
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

impl Inner {
    /// Sends a committed transaction; whether the venue certainly has it now.
    ///
    /// Anything but a clear yes proves nothing, and leaves it to the observer to find out.
    pub(crate) async fn send(&self, tx: &SignedTx) -> bool {
        let submitted = self.supervisor.guard("venue.submit", self.venue.submit(tx));
        let submitted = telemetry::timed(StepName::Submit, &self.runtime, submitted);
        match self.in_time(submitted).await {
            Some(Ok(SubmitReport::Accepted | SubmitReport::AlreadyKnown)) => true,
            Some(Ok(
                SubmitReport::DefinitelyNotAccepted { message } | SubmitReport::Ambiguous { message },
            )) => {
                tracing::warn!(tx.id = %tx.id, message, "the venue did not take a transaction");
                false
            }
            // It may have been sent before the panic.
            Some(Err(_)) => false,
            None => {
                tracing::warn!(tx.id = %tx.id, "the venue did not answer in time");
                false
            }
        }
    }

    /// What follows when an order cannot be brought on because somebody does not answer.
    fn defer(&self, order: &Order, failure: Failure, at_least: Duration) -> OrderEvent {
        let (now, entropy) = (self.now(), self.runtime.entropy.next_u128());
        self.config.retry.defer(order, failure, at_least, now, entropy)
    }

    pub(crate) async fn reload(&self, id: OrderId) -> Result<Arc<Order>, ExecuteError> {
        let loaded = self.supervisor.store("store.load", self.store.load(id)).await;
        let order = loaded.map_err(|error| ExecuteError::Store(Arc::new(error)))?;
        // An order that is gone cannot be acted for.
        order.map(Arc::new).ok_or(ExecuteError::LeaseLost)
    }
}
