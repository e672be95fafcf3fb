//! The worker's half of an order's path: from acceptance to a transaction that is sent.
//!
//! Steps resume, they do not restart: the state says what comes next. An event is written while the step
//! after it runs; only an effect waits for the disk. The one effect here is sending, and it sends what is
//! committed.

mod steps;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::try_join;

use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::VenueName;
use crate::domain::retry_policy::{expired, is_expired};
use crate::domain::state::step::Step;
use crate::execution::bulkhead::{BulkheadPermit, Bulkheads, Pair, pair_of};
use crate::execution::context::Context;
use crate::execution::error::{ExecuteError, Interrupt};
use crate::execution::holds::Hold;
use crate::execution::lease::panic_backoff;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::nonces::NonceTurn;
use crate::execution::observer::Observers;
use crate::execution::turns::Turns;
use crate::planted::planted;
use crate::ports::order_store::error::StoreErrorKind;
use crate::resilience::breaker::Breakers;
use crate::resilience::supervisor::Panicked;
use crate::telemetry::{self, StepName};

/// Executes orders for the workers of a process.
#[derive(Debug)]
pub(crate) struct Executor {
    context: Arc<Context>,
    turns: Turns,
    pairs: Arc<Bulkheads<Pair>>,
    venues: Arc<Bulkheads<VenueName>>,
    /// In front of the router, for each pair.
    router_breakers: Breakers<Pair>,
    observers: Arc<Observers>,
}

impl Executor {
    pub(crate) fn new(context: Arc<Context>, observers: Arc<Observers>) -> Self {
        let (config, runtime) = (&context.config, &context.tasks.runtime);
        Self {
            turns: Turns::default(),
            pairs: Bulkheads::new(Arc::clone(&context.workers), runtime.clone()),
            venues: Bulkheads::new(Arc::clone(&context.workers), runtime.clone()),
            router_breakers: Breakers::new(config.breaker, runtime.clone()),
            observers,
            context,
        }
    }

    /// Executes an order until it waits, is handed to the observer, or is done.
    pub(crate) async fn execute(&self, order: LeasedOrder) -> Result<(), ExecuteError> {
        let lost = order.lease().lost();
        if planted!(LostLeaseIsIgnored) {
            return self.take_turn(order).await;
        }
        tokio::select! {
            biased;
            () = lost => Err(ExecuteError::LeaseLost),
            result = self.take_turn(order) => result,
        }
    }

    /// Executes an order when it is its turn, and there is room among the orders of its pair.
    async fn take_turn(&self, mut order: LeasedOrder) -> Result<(), ExecuteError> {
        let alone = self.is_suspect(&order);
        let _turn = self.turns.begin(alone && !planted!(SuspectsAreNotAlone)).await;
        let Ok(_permit) = self.pairs.enter(pair_of(&order.order().request)).await else {
            // There is nothing to write; the lease is released when it is dropped.
            let wait = self.context.holds.wait(Hold::Pair(pair_of(&order.order().request)));
            order.lease_mut().release_in(wait);
            return Ok(());
        };
        Execution { executor: self, order, last_sent: None, on_venue: None, nonce: None }.run(alone).await
    }

    /// Whether workers may have died of the order, so that it must not take others with it.
    fn is_suspect(&self, order: &LeasedOrder) -> bool {
        order.lease().claims_without_progress() > self.context.config.quarantine_after
            || order.order().state.suspicion().is_some_and(|suspicion| suspicion.alone)
    }
}

/// What follows a step.
enum Next {
    /// The next step.
    Continue,
    /// The observer takes the order, because its transaction was sent.
    Observe,
    /// Nothing for now: the worker yields the order.
    Yield,
}

/// How an execution ends.
enum End {
    /// The observer takes the order.
    Observe,
    /// The worker yields the order.
    Yield,
}

/// One execution of one order.
struct Execution<'a> {
    executor: &'a Executor,
    order: LeasedOrder,
    /// When this execution sent the transaction.
    last_sent: Option<DateTime<Utc>>,
    /// The share of the worker slots that orders of its venue may take.
    on_venue: Option<BulkheadPermit<VenueName>>,
    /// The account's nonce is this execution's until the transaction is committed.
    nonce: Option<Arc<NonceTurn>>,
}

impl<'a> Execution<'a> {
    fn context(&self) -> &'a Arc<Context> {
        &self.executor.context
    }

    async fn run(mut self, alone: bool) -> Result<(), ExecuteError> {
        let strikes = self.order.order().state.strikes() + u32::from(alone);
        self.order.lease_mut().begin_execution(strikes);
        let end = self.run_steps(alone).await;
        self.order.lease_mut().end_execution();
        match end? {
            End::Observe => self.observe().await,
            End::Yield => Ok(()),
        }
    }

    async fn run_steps(&mut self, alone: bool) -> Result<End, ExecuteError> {
        let begins_alone = alone && !self.context().tasks.shutdown.is_draining();
        let mut next = if begins_alone { self.begin_alone().await } else { Ok(Next::Continue) };
        loop {
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Yield) => return Ok(End::Yield),
                Ok(Next::Observe) => return Ok(End::Observe),
                Err(Interrupt::RevisionChanged) => self.reload().await?,
                Err(Interrupt::NonceTaken { free }) => {
                    // It is signed again with another nonce.
                    if let Some(turn) = self.nonce.take() {
                        turn.refused(free);
                    }
                    self.reload().await?;
                }
                Err(Interrupt::Panicked(panicked)) => return self.strike(&panicked).await,
                Err(Interrupt::TooLate) => {
                    self.context().store_clock.refresh().await;
                    self.reload().await?;
                    if self.order.order().state.live_transaction().is_some() {
                        // It was signed in time and not sent in time: it is left to die.
                        self.last_sent = None;
                        return Ok(End::Observe);
                    }
                }
                Err(Interrupt::Failed(error)) => return Err(self.fail(error)),
            }
            next = self.advance().await;
        }
    }

    /// Hands the order to the observer.
    async fn observe(self) -> Result<(), ExecuteError> {
        let Self { executor, order, last_sent, .. } = self;
        executor.observers.take(order, last_sent).await
    }

    /// Counts a strike before the execution begins: if the process dies of the order, the strike is written.
    async fn begin_alone(&mut self) -> Result<Next, Interrupt> {
        let strikes = self.order.order().state.strikes() + 1;
        let message = "Workers died while they had the order, or dropped it; it is tried alone";
        let failure = Failure::new(FailureCode::WORKER_DIED, message);
        self.record(OrderEvent::Suspected { failure, strikes, alone: true })?;
        self.commit().await?;
        Ok(Next::Continue)
    }

    /// Counts a panic against the order, which waits, longer each time, or is put into quarantine.
    async fn strike(&mut self, panicked: &Panicked) -> Result<End, ExecuteError> {
        let (context, now) = (self.context(), self.context().now());
        let strikes = self.order.order().state.strikes() + 1;
        let failure = Failure::new(FailureCode::WORKER_PANICKED, "A worker panicked with the order");
        self.order.record(OrderEvent::Suspected { failure, strikes, alone: false }, now)?;
        if strikes >= context.config.quarantine_after {
            self.order.quarantine(format!("Workers panicked with it {strikes} times in a row"), now)?;
            tracing::error!(order.id = %self.order.order().id, "an order is put into quarantine");
        }
        let backoff = panic_backoff(strikes).min(context.config.lease_duration);
        match self.order.release(&context.committer, backoff).await.map_err(Interrupt::from) {
            Err(Interrupt::Failed(error)) => Err(self.fail(error)),
            _ => Err(ExecuteError::Panicked(panicked.part)),
        }
    }

    /// Lets an order wait that the store fails on for a reason that lasts, so that it does not come back at
    /// once, again and again.
    fn fail(&mut self, error: ExecuteError) -> ExecuteError {
        let is_lasting = match &error {
            // A store that is away, or has another history when it comes back, says nothing about the order.
            ExecuteError::Store(error) => error.kind() == StoreErrorKind::Internal,
            ExecuteError::Rejected(_) | ExecuteError::Illegal(_) => true,
            _ => false,
        };
        if is_lasting {
            let attention_after = self.context().config.quarantine_after;
            self.order.lease_mut().fail(attention_after);
        }
        error
    }

    /// Does what the state says comes next.
    async fn advance(&mut self) -> Result<Next, Interrupt> {
        if self.context().tasks.shutdown.is_draining() {
            // Another process continues from what is written; the lease is released when it is dropped.
            self.commit().await?;
            return Ok(Next::Yield);
        }
        let order = self.order.order();
        let may_expire = order.state.live_transaction().is_none() && !order.status().is_terminal();
        if may_expire && is_expired(order, self.deadline_now().await?) {
            self.record(OrderEvent::Failed { failure: expired() })?;
        }
        if self.is_quote_spent() {
            let event = self.requote()?;
            self.record(event)?;
        }
        let step = self.order.order().state.next_step();
        if let Some(early) = self.until_not_before(&step) {
            return self.yield_for(early).await;
        }
        if let Some(hold) = self.find_hold(&step).await? {
            return self.wait_for(hold).await;
        }
        match step {
            Step::StartAttempt { attempt } => {
                let event = self.start(attempt)?;
                self.record(event)?;
            }
            Step::Route => return self.route().await,
            Step::StartBuilding => self.record(OrderEvent::BuildStarted)?,
            Step::Prepare => return self.prepare().await,
            Step::Submit => return self.submit().await,
            Step::Observe => return Ok(Next::Observe),
            Step::RetryOrFail => return self.retry_or_fail().await,
            Step::Done => {
                self.commit().await?;
                return Ok(Next::Yield);
            }
        }
        Ok(Next::Continue)
    }

    fn record(&mut self, event: OrderEvent) -> Result<(), Interrupt> {
        Ok(self.order.record(event, self.executor.context.now())?)
    }

    async fn commit(&mut self) -> Result<(), Interrupt> {
        self.order.commit(&self.executor.context.committer).await?;
        if let Some(turn) = self.nonce.take() {
            turn.reserved();
        }
        Ok(())
    }

    async fn deadline_now(&self) -> Result<DateTime<Utc>, Interrupt> {
        let now = self.context().deadline_now(self.order.order()).await;
        now.map_err(|error| Interrupt::Failed(ExecuteError::Store(error)))
    }

    /// Runs a step that has no effect. If the step finishes at once, what is not yet written rides with the
    /// next write; if not, it is written while the step runs, so that subscribers see what the order is
    /// waiting for. Returns nothing if the step took too long.
    async fn commit_while<T: Send>(
        &mut self,
        name: StepName,
        part: &'static str,
        step: impl Future<Output = T> + Send,
    ) -> Result<Option<T>, Interrupt> {
        let context = self.context();
        let step = context.tasks.supervisor.guard(part, step);
        let mut step = pin!(telemetry::timed(name, &context.tasks.runtime, step));
        if let Some(result) = step.as_mut().now_or_never() {
            return Ok(Some(result?));
        }
        let step = context.in_time(step).map(Ok);
        let ((), result) = try_join(self.commit(), step).await?;
        Ok(result.transpose()?)
    }

    /// Goes on from what the store has, while the lease is still ours.
    async fn reload(&mut self) -> Result<(), ExecuteError> {
        // A nonce that was not committed goes to the next order of the account, which may be this one.
        self.nonce = None;
        let order = self.context().load(self.order.order().id).await?;
        self.order.reset(order);
        Ok(())
    }

    /// Yields the order until what holds it back may have ended.
    async fn wait_for(&mut self, hold: Hold) -> Result<Next, Interrupt> {
        let wait = self.context().holds.wait(hold);
        self.yield_for(wait).await
    }

    async fn yield_for(&mut self, wait: Duration) -> Result<Next, Interrupt> {
        self.release_in(wait).await?;
        Ok(Next::Yield)
    }

    /// Waits out a duration in the store, if there is nothing to write about it.
    async fn release_in(&mut self, wait: Duration) -> Result<(), Interrupt> {
        let context = self.context();
        let due_in = self.order.until_deadline(wait, context.now());
        Ok(self.order.release(&context.committer, due_in).await?)
    }
}
