//! The worker's half of an order's path: from acceptance to a transaction that is sent.
//!
//! Steps resume, they do not restart: whatever the state says comes next is done next. An event is
//! written while the step after it runs; only an effect waits for the disk. The one effect here is
//! sending, and it sends what is committed.

use std::pin::pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::try_join;

use crate::active::ActiveOrder;
use crate::committer::CommitError;
use crate::engine::Inner;
use crate::retry::{expired, is_expired};
use crate::telemetry::{self, StepName};
use crate::{
    AppendError, Candidate, CandidateOutcome, Failure, FailureClass, FailureCode, Fence, IllegalTransition,
    Order, OrderEvent, OrderId, Phase, PrepareRequest, Quote, QuoteRequest, Refused, SignedTx, Step,
    StepError, StoreError, SubmitReport, best,
};

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
    Refused(#[from] Refused),
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
    Failed(ExecuteError),
}

impl From<CommitError> for Interrupt {
    fn from(error: CommitError) -> Self {
        Self::Failed(match error {
            CommitError::Append(AppendError::StaleRevision { .. }) => return Self::Moved,
            CommitError::Append(AppendError::Refused(refused)) | CommitError::Refused(refused) => {
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

/// Executes an order until it waits, is handed to the observer, or is done.
pub(crate) async fn execute(engine: &Arc<Inner>, active: ActiveOrder) -> Result<(), ExecuteError> {
    let lost = active.lease().lost();
    let run = Execution { engine, active, last_sent: None }.run();
    tokio::select! {
        biased;
        () = lost => Err(ExecuteError::LeaseLost),
        result = run => result,
    }
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
    active: ActiveOrder,
    /// When this execution sent the transaction.
    last_sent: Option<DateTime<Utc>>,
}

impl Execution<'_> {
    async fn run(mut self) -> Result<(), ExecuteError> {
        loop {
            match self.advance().await {
                Ok(Next::Continue) => {}
                Ok(Next::Rest) => return Ok(()),
                Ok(Next::Watch) => return self.engine.watch(self.active, self.last_sent).await,
                Err(Interrupt::Moved) => self.reload().await?,
                Err(Interrupt::Failed(error)) => return Err(error),
            }
        }
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
        if may_expire && order.request.deadline.is_some() && is_expired(order, self.engine.runtime.now()) {
            self.record(OrderEvent::Failed { failure: expired() })?;
        }
        if self.is_quote_spent() {
            let failure = Failure::new(FailureCode::QUOTE_EXPIRED, "The quote grew too old to build on");
            self.record(OrderEvent::AttemptFailed { failure, class: FailureClass::Requote })?;
        }
        match self.active.order().state.next_step() {
            Step::StartAttempt { attempt } => {
                let event = self.start(attempt);
                self.record(event)?;
            }
            Step::Route => {
                let event = self.route().await?;
                self.record(event)?;
            }
            Step::StartBuilding => self.record(OrderEvent::BuildStarted)?,
            Step::Prepare => {
                let event = self.prepare().await?;
                self.record(event)?;
            }
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
    fn start(&self, attempt: u32) -> OrderEvent {
        if self.active.order().state.quote().is_some_and(|quote| self.is_fresh(quote)) {
            OrderEvent::BuildRestarted { attempt }
        } else {
            OrderEvent::RoutingStarted { attempt, dexes: self.engine.router.dexes() }
        }
    }

    fn is_fresh(&self, quote: &Quote) -> bool {
        quote.is_fresh(self.engine.runtime.now(), self.engine.config.quote_ttl)
    }

    /// Whether a transaction is to be built on a quote that has grown old, after a crash for instance,
    /// and there is an attempt left for another one. In the last attempt the order goes on with what it
    /// has: the least output that it accepts protects it all the same.
    fn is_quote_spent(&self) -> bool {
        let state = &self.active.order().state;
        let is_before_building = matches!(state.next_step(), Step::StartBuilding | Step::Prepare);
        is_before_building
            && state.attempt() < state.max_attempts()
            && state.quote().is_some_and(|quote| !self.is_fresh(quote))
    }

    /// Asks the router and chooses.
    async fn route(&mut self) -> Result<OrderEvent, Interrupt> {
        let request = &self.active.order().request;
        let request = QuoteRequest {
            input: request.input.clone(),
            output: request.output.clone(),
            amount: request.amount,
        };
        let router = Arc::clone(&self.engine.router);
        // The age of a quote counts from the question: who knows when the answer was looked up.
        let asked_at = self.engine.runtime.now();
        let quoted = self.alongside(StepName::Quote, async move { router.quote(&request).await }).await?;
        let late =
            || StepError::transient(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "No quote came in time"));
        let candidates = match quoted.unwrap_or_else(|| Err(late())) {
            Ok(candidates) => candidates,
            Err(error) => return Ok(failed_attempt(error)),
        };
        Ok(match best(&candidates).cloned().map(Arc::new) {
            Some(route) => OrderEvent::RouteChosen { route, candidates, quoted_at: Some(asked_at) },
            None => failed_attempt(no_route(&candidates)),
        })
    }

    /// Lets the venue build and sign the transaction.
    async fn prepare(&mut self) -> Result<OrderEvent, Interrupt> {
        let order = Arc::clone(self.active.order());
        let prepared = prepare(Arc::clone(self.engine), order, self.active.fence());
        let prepared = self.alongside(StepName::Prepare, prepared).await?.transpose()?;
        let late = || {
            StepError::transient(Failure::new(
                FailureCode::VENUE_UNAVAILABLE,
                "The venue did not answer in time",
            ))
        };
        Ok(match prepared.unwrap_or_else(|| Err(late())) {
            Ok(tx) => OrderEvent::TransactionSigned { tx: Arc::new(tx) },
            Err(error) => failed_attempt(error),
        })
    }

    /// Commits the transaction, and only then sends it.
    async fn submit(&mut self) -> Result<Next, Interrupt> {
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
        if let Some(event) = self.engine.settle(self.active.order()) {
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
        Ok(self.active.record(event, self.engine.runtime.now())?)
    }

    async fn commit(&mut self) -> Result<(), Interrupt> {
        Ok(self.active.commit(&self.engine.committer).await?)
    }

    /// Runs a step that has no effect. What is not yet written rides with the next write if the
    /// step finishes at once, and is written while it runs if not, so that subscribers are told
    /// what the order is waiting for. Nothing if the step took too long.
    async fn alongside<T>(
        &mut self,
        name: StepName,
        step: impl Future<Output = T> + Send,
    ) -> Result<Option<T>, Interrupt> {
        let runtime = &self.engine.runtime;
        let mut step = pin!(telemetry::timed(name, runtime, step));
        if let Some(result) = step.as_mut().now_or_never() {
            return Ok(Some(result));
        }
        let step = self.engine.in_time(step).map(Ok);
        let ((), result) = try_join(self.commit(), step).await?;
        Ok(result)
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
    fence: Fence,
) -> Result<Result<SignedTx, StepError>, IllegalTransition> {
    let Some(Quote { route, .. }) = order.state.quote() else {
        return Err(IllegalTransition { state: order.state.phase().name(), event: "transaction_signed" });
    };
    let min_amount_out = route.amount_out.less_slippage(order.request.slippage_bps);
    let request = PrepareRequest { order: &order, route, min_amount_out, fence };
    Ok(engine.venue.prepare(request).await)
}

fn failed_attempt(error: StepError) -> OrderEvent {
    OrderEvent::AttemptFailed { failure: error.failure, class: error.class }
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
        let submitted = telemetry::timed(StepName::Submit, &self.runtime, self.venue.submit(tx));
        match self.in_time(submitted).await {
            Some(SubmitReport::Accepted | SubmitReport::AlreadyKnown) => true,
            Some(SubmitReport::DefinitelyNotAccepted { message } | SubmitReport::Ambiguous { message }) => {
                tracing::warn!(tx.id = %tx.id, message, "the venue did not take a transaction");
                false
            }
            None => {
                tracing::warn!(tx.id = %tx.id, "the venue did not answer in time");
                false
            }
        }
    }

    pub(crate) async fn reload(&self, id: OrderId) -> Result<Arc<Order>, ExecuteError> {
        let mut orders =
            self.store.load(&[id]).await.map_err(|error| ExecuteError::Store(Arc::new(error)))?;
        // An order that is gone cannot be acted for.
        orders.pop().flatten().map(Arc::new).ok_or(ExecuteError::LeaseLost)
    }
}
