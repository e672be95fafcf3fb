//! The one place where the engine writes orders and events: in batches, which are published after their
//! commit.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::{self, Batcher, NoResult, Queue};
use crate::commit::store_clock::StoreClock;
use crate::delivery::publisher::{Committed, Publisher};
use crate::domain::codec::ItemRejected;
use crate::domain::event::EventRecord;
use crate::domain::retry_policy::Backoff;
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::order_store::write::{Append, AppendError, CreateError, Creation, NewOrder};
use crate::ports::runtime::Runtime;
use crate::resilience::supervisor::Supervisor;
use crate::resilience::tasks::Tasks;
use crate::telemetry::{self, StepName};

/// How long to wait for another transaction that is about to use the client order id of a new order. The
/// caller is waiting for an answer, and can submit again.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// How often a write is tried again that fails for a reason that lasts, a panic for instance.
const DEFECTS_MAX: u32 = 3;

type Appended = Result<(), CommitError>;
type Created = Result<Result<Creation, CreateError>, CommitError>;

/// Writes for all orders of the process.
#[derive(Debug)]
pub(crate) struct Committer {
    writer: Arc<Writer>,
    appends: Batcher<Append, Appended>,
    creations: Batcher<Creating, Created>,
    /// Writes that found their rows locked by another transaction. They are tried again in batches of their
    /// own, so that no other write waits for those locks.
    locked_appends: Batcher<Append, Appended>,
    locked_creations: Batcher<Creating, Created>,
}

/// An order that is being created, and what happens as soon as it is.
#[derive(Clone, Debug)]
struct Creating {
    new: NewOrder,
    then: OnCreated,
}

/// What happens right after the write of an order, also if nobody waits for it any more. It happens once at most.
#[derive(Clone, Default)]
pub(crate) struct OnCreated(Arc<Mutex<Then>>);

#[derive(Default)]
enum Then {
    /// Nothing happens.
    #[default]
    Nothing,
    /// This happens when the order is written.
    Waits(Box<dyn FnOnce() + Send>),
    /// It has happened.
    Happened,
}

impl OnCreated {
    pub(crate) fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Then::Waits(Box::new(then)))))
    }

    fn then(&self) -> MutexGuard<'_, Then> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happen(&self) {
        let mut state = self.then();
        if matches!(*state, Then::Waits(_))
            && let Then::Waits(then) = std::mem::replace(&mut *state, Then::Happened)
        {
            drop(state);
            then();
        }
    }

    /// Lets it happen no more, unless it has happened.
    fn give_up(&self) {
        let mut state = self.then();
        if matches!(*state, Then::Waits(_)) {
            *state = Then::Nothing;
        }
    }

    /// Whether it has happened.
    pub(crate) fn has_happened(&self) -> bool {
        matches!(*self.then(), Then::Happened)
    }
}

impl fmt::Debug for OnCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCreated")
    }
}

/// Why a write was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The store did not answer: the write may or may not have happened.
    #[error(transparent)]
    Store(StoreError),
    #[error("the engine shuts down")]
    Closed,
}

impl From<NoResult> for CommitError {
    fn from(no_result: NoResult) -> Self {
        match no_result {
            NoResult::Closed => Self::Closed,
            NoResult::Panicked => {
                Self::Store(StoreError::new(StoreErrorKind::Internal, "the write panicked"))
            }
        }
    }
}

impl Committer {
    /// Starts the tasks that write. They end when the committer is dropped and what is queued is
    /// written.
    pub(crate) fn start(
        store: Arc<dyn OrderStore>,
        publisher: Arc<Publisher>,
        store_clock: Arc<StoreClock>,
        tasks: &Tasks,
        max_batch: usize,
    ) -> Self {
        let Tasks { runtime, supervisor, .. } = tasks.clone();
        let writer = Arc::new(Writer { store, publisher, store_clock, runtime, supervisor });
        let appends = |name, in_flight| {
            let run = |queue| Arc::clone(&writer).run_appends(name, queue, max_batch);
            queue(tasks, name, in_flight, max_batch, run)
        };
        let creations = |name, in_flight| {
            let run = |queue| Arc::clone(&writer).run_creations(name, queue, max_batch);
            queue(tasks, name, in_flight, max_batch, run)
        };
        let in_flight = writer.store.writes_in_flight().get();
        Self {
            appends: appends("appends", in_flight),
            creations: creations("creations", in_flight),
            locked_appends: appends("locked appends", 1),
            locked_creations: creations("locked creations", 1),
            writer,
        }
    }

    /// Writes a new order. If the store's answer is lost, the outcome is read from the store. If another
    /// transaction is about to use the client order id, this waits a while for it to end.
    pub(crate) async fn create(&self, mut new: NewOrder, then: &OnCreated) -> Result<Creation, CommitError> {
        let (mut creations, mut tries, mut waited) = (&self.creations, 0, Duration::ZERO);
        loop {
            let written = creations.call(Creating { new: new.clone(), then: then.clone() });
            let written = telemetry::timed(StepName::Create, &self.writer.runtime, written).await;
            let locked = match written.unwrap_or_else(|no_result| Err(no_result.into())) {
                Ok(Err(locked @ CreateError::Locked)) => locked,
                Ok(Err(CreateError::Rejected(rejected))) => return Err(rejected.into()),
                Ok(Ok(creation)) => return Ok(creation),
                Err(CommitError::Store(error)) if self.writer.is_created(&new).await => {
                    tracing::info!(order.id = %new.order.id, error = %telemetry::chain(&error), "an order was created although the store did not say so");
                    self.writer.publish([(&*new.order, &new.event)].into_iter());
                    then.happen();
                    return Ok(Creation::Created);
                }
                Err(error) => return Err(error),
            };
            // No slot is kept for an order that waits.
            new.lease = None;
            then.give_up();
            if waited >= LOCKED_MAX {
                return Err(unavailable(locked));
            }
            tries += 1;
            waited += self.writer.wait_after(tries).await;
            creations = &self.locked_creations;
        }
    }

    /// Writes events. It tries again while the store does not answer or another transaction has locked the
    /// order. A caller that cannot wait drops the call; the events may or may not be written then.
    pub(crate) async fn append(&self, append: Append) -> Result<(), CommitError> {
        let (mut appends, mut tries, mut defects) = (&self.appends, 0, 0);
        loop {
            let written = appends.call(append.clone());
            let written = telemetry::timed(StepName::Append, &self.writer.runtime, written).await;
            let error = match written.unwrap_or_else(|no_result| Err(no_result.into())) {
                Err(CommitError::Append(locked @ AppendError::Locked)) => {
                    appends = &self.locked_appends;
                    unavailable(locked)
                }
                Err(CommitError::Store(error)) if error.is_transient() => CommitError::Store(error),
                Err(CommitError::Store(error))
                    if error.kind() == StoreErrorKind::Internal && defects < DEFECTS_MAX =>
                {
                    defects += 1;
                    CommitError::Store(error)
                }
                result => return result,
            };
            tracing::warn!(order.id = %append.order.id, error = %telemetry::chain(&error), "events could not be written, trying again");
            tries += 1;
            self.writer.wait_after(tries).await;
            if let Ok(true) = self.writer.is_appended(&append).await {
                self.writer.publish(committed(&append));
                return Ok(());
            }
        }
    }

    /// Measures and publishes what a host has committed in a transaction of its own.
    pub(crate) fn publish<'a>(&self, committed: impl Iterator<Item = Committed<'a>> + Clone) {
        self.writer.publish(committed);
    }
}

/// Writes batches.
#[derive(Debug)]
struct Writer {
    store: Arc<dyn OrderStore>,
    publisher: Arc<Publisher>,
    store_clock: Arc<StoreClock>,
    runtime: Runtime,
    supervisor: Arc<Supervisor>,
}

impl Writer {
    /// Waits before a failed write is tried again. Returns how long that was.
    async fn wait_after(&self, tries: u32) -> Duration {
        let wait = Backoff::RECONNECT.delay(tries, 0);
        self.runtime.clock.sleep(wait).await;
        wait
    }

    /// Measures and publishes what was committed.
    fn publish<'a>(&self, committed: impl Iterator<Item = Committed<'a>> + Clone) {
        let now = self.store_clock.now();
        for (order, event) in committed.clone() {
            telemetry::committed(order, event, now);
        }
        self.publisher.publish(committed);
    }

    async fn run_appends(
        self: Arc<Self>,
        name: &'static str,
        queue: Queue<Append, Appended>,
        max_batch: usize,
    ) {
        let supervisor = Arc::clone(&self.supervisor);
        batch::run(supervisor, name, queue, max_batch, |batch| self.append_batch(batch)).await;
    }

    async fn run_creations(
        self: Arc<Self>,
        name: &'static str,
        queue: Queue<Creating, Created>,
        max_batch: usize,
    ) {
        let supervisor = Arc::clone(&self.supervisor);
        batch::run(supervisor, name, queue, max_batch, |batch| self.create_batch(batch)).await;
    }

    async fn append_batch(&self, batch: Vec<Append>) -> Vec<Appended> {
        let mut results = Vec::with_capacity(batch.len());
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(distinct_orders(rest));
            results.extend(self.append_distinct(now).await);
            rest = later;
        }
        results
    }

    async fn append_distinct(&self, appends: &[Append]) -> Vec<Appended> {
        if planted!(PublishBeforeCommit) {
            self.publish(appends.iter().flat_map(committed));
        }
        let results = match self.supervisor.guard("store.append", self.store.append(appends)).await {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => return unanswered(&error, appends.len()),
            Err(panicked) if appends.len() == 1 => return unanswered(&panicked.into(), 1),
            Err(_) => return self.append_each(appends).await,
        };
        let written = appends.iter().zip(&results).filter(|(_, result)| result.is_ok());
        self.publish(written.flat_map(|(append, _)| committed(append)));
        results.into_iter().map(|result| result.map_err(CommitError::from)).collect()
    }

    /// Writes each item in a call of its own, after a panic that one of them may have caused. Any of them may
    /// have been written before the panic.
    async fn append_each(&self, appends: &[Append]) -> Vec<Appended> {
        let mut results = Vec::with_capacity(appends.len());
        for append in appends {
            if let Ok(true) = self.is_appended(append).await {
                self.publish(committed(append));
                results.push(Ok(()));
            } else {
                results.extend(Box::pin(self.append_distinct(std::slice::from_ref(append))).await);
            }
        }
        results
    }

    async fn create_batch(&self, batch: Vec<Creating>) -> Vec<Created> {
        let (orders, then): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Creating { new, then }| (new, then)).unzip();
        let results = self.create_all(&orders).await;
        for (then, result) in then.iter().zip(&results) {
            if matches!(result, Ok(Ok(Creation::Created))) {
                then.happen();
            }
        }
        results
    }

    async fn create_all(&self, batch: &[NewOrder]) -> Vec<Created> {
        let results = match self.supervisor.guard("store.create", self.store.create(batch)).await {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => return unanswered(&error, batch.len()),
            Err(panicked) if batch.len() == 1 => return unanswered(&panicked.into(), 1),
            Err(_) => return self.create_each(batch).await,
        };
        let created =
            batch.iter().zip(&results).filter(|(_, result)| matches!(result, Ok(Creation::Created)));
        self.publish(created.map(|(new, _)| (&*new.order, &new.event)));
        results.into_iter().map(Ok).collect()
    }

    /// Creates each order in a call of its own, after a panic that one of them may have caused.
    async fn create_each(&self, batch: &[NewOrder]) -> Vec<Created> {
        let mut results = Vec::with_capacity(batch.len());
        for new in batch {
            if self.is_created(new).await {
                self.publish([(&*new.order, &new.event)].into_iter());
                results.push(Ok(Ok(Creation::Created)));
            } else {
                results.extend(Box::pin(self.create_all(std::slice::from_ref(new))).await);
            }
        }
        results
    }

    /// Whether a creation whose outcome was lost was written.
    async fn is_created(&self, new: &NewOrder) -> bool {
        let ids = [new.order.id];
        let last_seqs = self.supervisor.store("store.last_seqs", self.store.last_seqs(&ids)).await;
        matches!(last_seqs.as_deref(), Ok([Some(_)]))
    }

    /// Whether an append whose outcome was lost was written: the order's history has its events.
    async fn is_appended(&self, append: &Append) -> Result<bool, StoreError> {
        if planted!(UnansweredIsWritten) {
            return Ok(true);
        }
        let limit = u32::try_from(append.events.len()).unwrap_or(u32::MAX);
        let events = self.store.events(append.order.id, append.expected_seq, limit);
        let written = self.supervisor.store("store.events", events).await?;
        Ok(written.iter().eq(append.events.iter().map(|event: &Arc<EventRecord>| event.as_ref())))
    }
}

/// Starts the tasks of a queue, each of which has a batch under way.
fn queue<T, R, Run>(
    tasks: &Tasks,
    name: &'static str,
    in_flight: usize,
    max_batch: usize,
    run: impl Fn(Queue<T, R>) -> Run,
) -> Batcher<T, R>
where
    Run: Future<Output = ()> + Send + 'static,
{
    // A second batch may wait while the first is written; beyond that, writers wait.
    let (batcher, queue) = Batcher::new(2 * max_batch);
    for _ in 0..in_flight {
        tasks.runtime.spawner.spawn(name, Box::pin(run(Arc::clone(&queue))));
    }
    batcher
}

/// Returns the events of an append, as they are published after its commit.
fn committed(append: &Append) -> impl Iterator<Item = Committed<'_>> + Clone {
    append.events.iter().map(|event| (&*append.order, event))
}

/// Returns the error of a write that waited in vain for the end of another transaction.
fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> CommitError {
    CommitError::Store(StoreError::of(StoreErrorKind::Unavailable, error))
}

fn unanswered<T>(error: &StoreError, items: usize) -> Vec<Result<T, CommitError>> {
    (0..items).map(|_| Err(CommitError::Store(error.clone()))).collect()
}

/// Returns how many of the first appends concern different orders.
fn distinct_orders(appends: &[Append]) -> usize {
    let mut seen = BTreeSet::new();
    appends.iter().position(|append| !seen.insert(append.order.id)).unwrap_or(appends.len())
}
