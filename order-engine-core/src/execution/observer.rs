//! The other half of an order's path: from a transaction that may have been sent to its outcome.
//!
//! One task watches all transactions of the process, many in one call of the venue, several calls at a
//! time. A watched order takes no worker slot; its lease stays with this process, so that nothing is
//! written while nothing changes.
//!
//! A call that fails may fail because of one of its transactions. Those that were asked about together are
//! asked about in two halves next time, until the one that fails stands alone and harms no other.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use crate::commit::committer::CommitError;
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::ids::OrderId;
use crate::domain::ids::TxId;
use crate::domain::phase::{Phase, Stage};
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::{Certainty, ChainView, Observation, SignedTx, Verdict, verdict};
use crate::engine::Inner;
use crate::execution::executor::ExecuteError;
use crate::execution::leased_order::LeasedOrder;
use crate::planted::planted;
use crate::ports::order_store::write::AppendError;
use crate::ports::venue::VenueError;
use crate::resilience::breaker::Admission;
use crate::telemetry::{self, StepName};

/// After so many looks without news a transaction is looked at more rarely.
const QUIET_LOOKS: u32 = 40;
/// How much more rarely.
const QUIET_FACTOR: u32 = 8;
/// How many transactions are sent again at a time.
const RESENDS: usize = 16;

/// An order whose transaction is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) active: LeasedOrder,
    /// When this process last sent the transaction.
    pub(crate) last_sent: Option<DateTime<Utc>>,
    /// Looks in a row that brought no news.
    quiet_looks: u32,
    /// Whether the venue did not know the transaction at the last look, and it may still land.
    is_absent: bool,
    /// Since when nobody can say what became of the transaction, and why.
    doubt: Option<(UnknownReason, DateTime<Utc>)>,
    /// How many transactions may be asked about together with this one.
    company: usize,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    pub(crate) const fn new(
        active: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            active,
            last_sent,
            quiet_looks: 0,
            is_absent: false,
            doubt: None,
            company: usize::MAX,
            _permit: permit,
        }
    }

    fn transaction(&self) -> Option<&SignedTx> {
        self.active.order().state.live_transaction()
    }
}

impl Inner {
    /// Hands an order to the observer. Where it has no room, the order waits in the store.
    pub(crate) async fn watch(
        &self,
        mut active: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
    ) -> Result<(), ExecuteError> {
        match Arc::clone(&self.observe_slots).try_acquire_owned() {
            Ok(permit) => {
                // Without an observer the engine has shut down; dropping gives the lease back.
                let _ = self.arrivals.send(Watch::new(active, last_sent, permit));
                Ok(())
            }
            Err(_) => match active.give_back(&self.committer, self.config.observe_interval).await {
                Ok(()) => Ok(()),
                Err(CommitError::Closed) => Err(ExecuteError::Closed),
                Err(CommitError::Store(error)) => Err(ExecuteError::Store(error)),
                Err(_) => Err(ExecuteError::LeaseLost),
            },
        }
    }
}

/// What a look gives back: the transactions that are still watched, and when the next look is due.
type Looked = Vec<(Watch, Duration)>;

/// The observer of a process. It survives the task that runs it.
#[derive(Debug)]
pub(crate) struct Observer {
    arrivals: mpsc::UnboundedReceiver<Watch>,
    /// Those of which something is not yet written. It rides with the next look, if there is one soon.
    unwritten: Vec<Watch>,
    /// By the time of the next look.
    watched: BTreeMap<(DateTime<Utc>, OrderId), Watch>,
}

/// What the task that observes and its successor after a panic share.
pub(crate) type SharedObserver = Arc<Mutex<Observer>>;

impl Observer {
    pub(crate) fn new(arrivals: mpsc::UnboundedReceiver<Watch>) -> SharedObserver {
        Arc::new(Mutex::new(Self { arrivals, unwritten: Vec::new(), watched: BTreeMap::new() }))
    }
}

/// Watches transactions until the engine stops.
pub(crate) async fn run(engine: Arc<Inner>, observer: SharedObserver) {
    let mut observer = observer.lock().await;
    let mut stop = engine.closing();
    let mut looks = FuturesUnordered::new();
    loop {
        let idle = observer.begin_looks(&engine, &mut looks);
        let Observer { arrivals, .. } = &mut *observer;
        tokio::select! {
            biased;
            () = stop.wait() => break,
            Some(looked) = looks.next() => observer.admit_all(&engine, looked),
            watch = arrivals.recv() => match watch {
                Some(watch) => observer.admit(&engine, watch, Duration::ZERO),
                None => break,
            },
            () = engine.runtime.clock.sleep(idle) => {}
        }
    }
    // A look that began is brought to its end: what it found is not forgotten.
    while let Some(looked) = looks.next().await {
        observer.admit_all(&engine, looked);
    }
    observer.give_back(&engine).await;
}

impl Observer {
    fn admit(&mut self, engine: &Inner, watch: Watch, look_in: Duration) {
        if watch.active.has_pending() {
            self.unwritten.push(watch);
            return;
        }
        let look_at = engine.runtime.now() + look_in;
        self.watched.insert((look_at, watch.active.order().id), watch);
    }

    fn admit_all(&mut self, engine: &Inner, looked: Looked) {
        for (watch, look_in) in looked {
            self.admit(engine, watch, look_in);
        }
    }

    /// Begins as many looks as are due and may be under way at a time. Gives how long to wait for the next.
    fn begin_looks(
        &mut self,
        engine: &Arc<Inner>,
        looks: &mut FuturesUnordered<BoxFuture<'static, Looked>>,
    ) -> Duration {
        while let Ok(watch) = self.arrivals.try_recv() {
            self.admit(engine, watch, Duration::ZERO);
        }
        if !self.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut self.unwritten);
            if engine.observe_breakers.is_open(&()) {
                looks.push(write_safely(Arc::clone(engine), unwritten).boxed());
            } else {
                let now = engine.runtime.now();
                self.watched
                    .extend(unwritten.into_iter().map(|watch| ((now, watch.active.order().id), watch)));
            }
        }
        loop {
            let idle = self.until_next_look(engine);
            if !idle.is_zero() {
                return idle;
            }
            if looks.len() >= engine.config.observe_concurrency {
                return engine.config.poll_interval;
            }
            let admission = match engine.observe_breakers.admit(&()) {
                Ok(admission) => admission,
                Err(open) => return open.retry_in,
            };
            let batch = self.take_due(engine);
            if !batch.is_empty() {
                looks.push(look_safely(Arc::clone(engine), batch, admission).boxed());
            }
        }
    }

    /// Takes orders that are due for a look, are still ours, and may be asked about together.
    fn take_due(&mut self, engine: &Inner) -> Vec<Watch> {
        let now = engine.runtime.now();
        let mut room = engine.config.observe_batch;
        let mut due: Vec<Watch> = Vec::new();
        while due.len() < room {
            let Some(entry) = self.watched.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            if entry.get().active.lease().is_lost() {
                entry.remove();
                continue;
            }
            let company = entry.get().company.max(1);
            if company <= due.len() {
                break;
            }
            room = room.min(company);
            due.push(entry.remove());
        }
        due
    }

    fn until_next_look(&self, engine: &Inner) -> Duration {
        let now = engine.runtime.now();
        self.watched.first_key_value().map_or(engine.config.poll_interval, |((look_at, _), _)| {
            if *look_at <= now {
                return Duration::ZERO;
            }
            // A wait that is cut to whole milliseconds must not end just before its time.
            (*look_at - now).to_std().unwrap_or_default() + Duration::from_millis(1)
        })
    }

    /// Writes what is still to be written and gives all leases back.
    async fn give_back(&mut self, engine: &Inner) {
        self.arrivals.close();
        let mut remaining = std::mem::take(&mut self.unwritten);
        remaining.extend(std::mem::take(&mut self.watched).into_values());
        while let Some(watch) = self.arrivals.recv().await {
            remaining.push(watch);
        }
        let given_back =
            remaining.iter_mut().map(|watch| watch.active.give_back(&engine.committer, Duration::ZERO));
        for error in join_all(given_back).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a watched order could not be given back; its lease will expire");
        }
    }
}

/// What a venue says: how far its chain had come, and then what it knew of each transaction.
type Report = Result<(ChainView, BTreeMap<TxId, Observation>), Silence>;

/// Why a venue said nothing.
#[derive(Debug, thiserror::Error)]
enum Silence {
    /// It says nothing at all.
    #[error(transparent)]
    View(VenueError),
    /// It says nothing about these transactions.
    #[error(transparent)]
    Observe(VenueError),
}

/// Looks at a batch of transactions. A defect in here costs the batch its leases, and nobody else anything.
async fn look_safely(engine: Arc<Inner>, batch: Vec<Watch>, admission: Admission<()>) -> Looked {
    let supervisor = Arc::clone(&engine.supervisor);
    supervisor.guard("look", look(engine, batch, admission)).await.unwrap_or_default()
}

/// Writes what is not yet written of transactions that are not looked at for a while.
async fn write_safely(engine: Arc<Inner>, unwritten: Vec<Watch>) -> Looked {
    let written = engine.supervisor.guard("look", engine.commit_watched(unwritten)).await.unwrap_or_default();
    written.into_iter().map(|watch| engine.with_next_look(watch)).collect()
}

/// Looks at a batch of transactions and does what follows.
async fn look(engine: Arc<Inner>, batch: Vec<Watch>, admission: Admission<()>) -> Looked {
    let asked = batch.len();
    let (mut batch, report) = engine.ask_alongside(batch).await;
    match &report {
        // That is about this transaction, and must not keep the venue from being asked about others.
        Err(Silence::Observe(_)) if asked == 1 => drop(admission),
        report => admission.tell(report.is_ok()),
    }
    let now = engine.runtime.now();
    match report {
        Ok((view, mut observations)) => {
            for watch in &mut batch {
                watch.company = usize::MAX;
                let observation = watch.transaction().and_then(|tx| observations.remove(&tx.id));
                let Some(observation) = observation else { continue };
                if let Err(illegal) = engine.conclude(watch, &view, &observation, now) {
                    tracing::error!(order.id = %watch.active.order().id, error = %illegal, "defect in the observer");
                }
            }
        }
        Err(silence) => {
            tracing::warn!(transactions = asked, error = %silence, "transactions could not be observed");
            if matches!(silence, Silence::Observe(_)) {
                for watch in &mut batch {
                    engine.separate(watch, asked, now);
                }
            }
        }
    }
    let batch = engine.commit_watched(batch).await;
    let (absent, present): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|watch| engine.is_to_be_resent(watch, now));
    engine.resend(absent);
    present.into_iter().map(|watch| engine.with_next_look(watch)).collect()
}

impl Inner {
    /// Asks the venue. Events that wait to be written ride with the conclusions if it answers at
    /// once, and are written meanwhile if not.
    async fn ask_alongside(&self, batch: Vec<Watch>) -> (Vec<Watch>, Report) {
        let ids = batch.iter().filter_map(|watch| Some(watch.transaction()?.id.clone())).collect();
        let mut asked = pin!(self.ask(ids));
        if let Some(report) = asked.as_mut().now_or_never() {
            (batch, report)
        } else {
            futures_util::join!(self.commit_watched(batch), asked)
        }
    }

    /// Asks the venue for the facts from which verdicts are drawn: the view first.
    async fn ask(&self, ids: Vec<TxId>) -> Report {
        telemetry::timed(StepName::Observe, &self.runtime, async {
            let early = if planted!(SearchBeforeHeight) {
                Some(
                    self.ask_one("venue.observe", self.venue.observe(&ids))
                        .await
                        .map_err(Silence::Observe)?,
                )
            } else {
                None
            };
            let view = self.ask_one("venue.view", self.venue.view()).await.map_err(Silence::View)?;
            if let Some(early) = early {
                let trusted = early.into_iter().map(|observation| match observation {
                    Observation::NotFound { searched_through: Some(_) } => {
                        Observation::NotFound { searched_through: Some(u64::MAX) }
                    }
                    other => other,
                });
                return Ok((view, ids.into_iter().zip(trusted).collect()));
            }
            let observed = self.ask_one("venue.observe", self.venue.observe(&ids)).await;
            let observations = observed.map_err(Silence::Observe)?;
            Ok((view, ids.into_iter().zip(observations).collect()))
        })
        .await
    }

    /// Asks the venue one question.
    async fn ask_one<T: Send>(
        &self,
        part: &'static str,
        question: impl Future<Output = Result<T, VenueError>> + Send,
    ) -> Result<T, VenueError> {
        match self.in_time(self.supervisor.guard(part, question)).await {
            Some(Ok(answer)) => answer,
            Some(Err(panicked)) => Err(VenueError::new(panicked.to_string())),
            None => Err(VenueError::new("no answer in time")),
        }
    }

    /// Records what follows from a report.
    fn conclude(
        &self,
        watch: &mut Watch,
        view: &ChainView,
        observation: &Observation,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let Some(tx) = watch.transaction() else { return Ok(()) };
        let at = self.now();
        let conclusion = verdict(tx, view, observation);
        watch.quiet_looks += 1;
        watch.is_absent =
            conclusion == Verdict::Pending(None) && matches!(observation, Observation::NotFound { .. });
        match conclusion {
            Verdict::Landed(fill) => watch.active.record(OrderEvent::Confirmed { fill }, at)?,
            Verdict::Dead(proof, failure, class) => {
                watch.active.record(OrderEvent::TransactionDied { proof, failure, class }, at)?;
                if let Some(event) = self.settle_unless_late(watch.active.order()) {
                    watch.active.record(event, at)?;
                }
            }
            Verdict::Pending(Some(certainty)) if is_news(watch, certainty) => {
                watch.quiet_looks = 0;
                watch.doubt = None;
                watch.active.record(OrderEvent::InclusionObserved { certainty }, at)?;
            }
            Verdict::Pending(None) if watch.is_absent => self.doubt(watch, UnknownReason::Absent, now)?,
            Verdict::Pending(_) => watch.doubt = None,
            Verdict::Unknown => self.doubt(watch, UnknownReason::Unproven, now)?,
        }
        Ok(())
    }

    /// Tells an operator of a transaction of which nobody could say for a while what became of it.
    fn doubt(
        &self,
        watch: &mut Watch,
        reason: UnknownReason,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let since = match watch.doubt {
            Some((known, since)) if known == reason => since,
            _ => now,
        };
        watch.doubt = Some((reason, since));
        let patience = match reason {
            UnknownReason::Absent => self.config.absent_after,
            // A venue whose history lags answers in a moment.
            UnknownReason::Unproven | UnknownReason::Unobservable => self.config.unknown_after,
        };
        let is_told = watch.active.order().state.attention().is_some();
        if is_told || since + patience > now {
            return Ok(());
        }
        tracing::warn!(order.id = %watch.active.order().id, %reason, "the outcome of a transaction is unknown");
        watch.active.record(OrderEvent::OutcomeUnknown { reason }, self.now())
    }

    /// Separates transactions that were asked about together, and not answered. One that was asked about
    /// alone is in doubt.
    fn separate(&self, watch: &mut Watch, asked: usize, now: DateTime<Utc>) {
        watch.is_absent = false;
        watch.company = if planted!(BatchStaysTogether) { usize::MAX } else { (asked / 2).max(1) };
        if asked > 1 {
            return;
        }
        watch.quiet_looks = QUIET_LOOKS + 1;
        if let Err(illegal) = self.doubt(watch, UnknownReason::Unobservable, now) {
            tracing::error!(order.id = %watch.active.order().id, error = %illegal, "defect in the observer");
        }
    }

    /// Writes what is to be written; gives those that are still to be watched.
    async fn commit_watched(&self, batch: Vec<Watch>) -> Vec<Watch> {
        let written = batch.into_iter().map(|watch| self.commit_one(watch));
        join_all(written).await.into_iter().flatten().collect()
    }

    async fn commit_one(&self, mut watch: Watch) -> Option<Watch> {
        let order_id = watch.active.order().id;
        match watch.active.commit(&self.committer).await {
            Ok(()) if watch.transaction().is_some() => Some(watch),
            Ok(()) => {
                self.wake_for(watch.active.order());
                None
            }
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The lease is still ours: go on from what is there now.
                let order = self.reload(order_id).await.ok()?;
                watch.active.reset(order);
                watch.transaction().is_some().then_some(watch)
            }
            Err(error) => {
                tracing::warn!(order.id = %order_id, %error, "a watched order is given up");
                None
            }
        }
    }

    fn with_next_look(&self, watch: Watch) -> (Watch, Duration) {
        let factor = if watch.quiet_looks > QUIET_LOOKS { QUIET_FACTOR } else { 1 };
        (watch, self.config.observe_interval * factor)
    }

    /// Whether sending a transaction again can help. A cancelled one is left to die, and so is one of
    /// which no intent to send it was ever committed.
    fn is_to_be_resent(&self, watch: &Watch, now: DateTime<Utc>) -> bool {
        watch.is_absent
            && is_sendable(&watch.active.order().state)
            && watch.last_sent.is_none_or(|at| at + self.config.resend_interval <= now)
    }

    /// Sends the committed bytes again, beside the looking; the orders come back as arrivals.
    fn resend(self: &Arc<Self>, absent: Vec<Watch>) {
        if absent.is_empty() {
            return;
        }
        let engine = Arc::clone(self);
        let task = stream::iter(absent)
            .for_each_concurrent(RESENDS, move |watch| resend_one(Arc::clone(&engine), watch));
        self.spawn("resend", Box::pin(task));
    }
}

fn is_sendable(state: &OrderState) -> bool {
    matches!(state.phase(), Phase::Submitted { cancel_requested, .. } if !cancel_requested || planted!(CancelledIsSentAgain))
}

fn is_news(watch: &Watch, certainty: Certainty) -> bool {
    let seen = match certainty {
        Certainty::Processed => Stage::Processed,
        Certainty::Confirmed => Stage::Confirmed,
        // A final inclusion is an outcome, and never pending.
        Certainty::Finalized => return false,
    };
    matches!(watch.active.order().state.phase(), Phase::Submitted { stage, .. } if *stage < seen)
}

async fn resend_one(engine: Arc<Inner>, mut watch: Watch) {
    let now = engine.runtime.now();
    watch.last_sent = Some(now);
    // Somebody without a lease may have asked for a cancel since this process last wrote.
    match engine.reload(watch.active.order().id).await {
        Ok(order) => watch.active.reset(order),
        Err(error) => {
            tracing::warn!(order.id = %watch.active.order().id, %error, "an order could not be read before it is sent again");
            return;
        }
    }
    let order = Arc::clone(watch.active.order());
    if let Some(tx) = order.state.live_transaction().filter(|_| is_sendable(&order.state)) {
        let accepted = engine.send(tx).await;
        let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
        if accepted && is_new && watch.active.record(OrderEvent::SubmissionAccepted, engine.now()).is_err() {
            return;
        }
    }
    // Without an observer the engine has shut down; dropping gives the lease back.
    let _ = engine.arrivals.send(watch);
}
