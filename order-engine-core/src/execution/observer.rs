//! The other half of an order's path: from a transaction that may have been sent to its outcome.
//!
//! One task observes all transactions of the process on a venue, many in one call of the venue, several calls
//! at a time: a venue that hangs delays no order of another. An observed order takes no worker slot; its lease
//! stays with this process, so that nothing is written while nothing changes.

mod acts;
mod batch;
mod observed;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::commit::committer::CommitError;
use crate::domain::ids::{OrderId, VenueName};
use crate::execution::context::Context;
use crate::execution::error::ExecuteError;
use crate::execution::holds::Hold;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::observer::batch::BatchObserver;
use crate::execution::observer::observed::{Observed, ObservedOrder, ObserverSlots};
use crate::execution::openings::ClaimedOrder;
use crate::execution::venues::KnownVenue;
use crate::telemetry;

/// Observes the transactions of a process, those of each venue by themselves.
#[derive(Debug)]
pub(crate) struct Observers {
    context: Arc<Context>,
    by_venue: BTreeMap<VenueName, Arc<Observer>>,
    /// One slot for each order that is held in memory, for all venues together.
    slots: Arc<Semaphore>,
}

impl Observers {
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        let observer = |venue: &Arc<KnownVenue>| (venue.name.clone(), Observer::new(context, venue));
        let capacity = context.config.observe_capacity.saturating_mul(context.venues.all().len());
        Arc::new(Self {
            context: Arc::clone(context),
            by_venue: context.venues.all().map(observer).collect(),
            slots: Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// Returns the slots that orders are claimed for.
    pub(crate) const fn slots(&self) -> &Arc<Semaphore> {
        &self.slots
    }

    /// Starts the tasks that observe, each until the engine closes.
    pub(crate) fn start(&self) {
        for observer in self.by_venue.values() {
            let observer = Arc::clone(observer);
            self.context.tasks.keep_running("observer", move || Arc::clone(&observer).run());
        }
    }

    /// Takes an order from the executor. Without a free slot the order waits in the store.
    pub(crate) async fn take(
        &self,
        mut order: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
    ) -> Result<(), ExecuteError> {
        let Some(observer) = self.of(&order) else { return self.set_aside(order).await };
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
            && let Some(slots) = observer.slots_with(slot)
        {
            // Without the observer's task the engine has shut down; dropping the order releases its lease.
            let _ = observer.incoming.send(ObservedOrder::new(order, last_sent, slots));
            return Ok(());
        }
        let context = &self.context;
        release(context, &mut order, context.config.observe_interval).await
    }

    /// Takes an order that was claimed for one of the slots. Returns whether the observers' tasks still take
    /// orders.
    pub(crate) fn take_claimed(self: &Arc<Self>, ClaimedOrder { mut order, slot }: ClaimedOrder) -> bool {
        let Some(observer) = self.of(&order) else {
            let observers = Arc::clone(self);
            let set_aside = async move {
                if let Err(error) = observers.set_aside(order).await {
                    tracing::warn!(error = %telemetry::chain(&error), "an order without a venue could not be released; its lease will expire");
                }
            };
            self.context.tasks.spawn("set aside", Box::pin(set_aside));
            return true;
        };
        let Some(slots) = observer.slots_with(slot) else {
            let wait = self.context.holds.wait(Hold::Venue(observer.venue.name.clone()));
            order.lease_mut().release_in(wait);
            return true;
        };
        order.set_in_flight(self.context.in_flight.enter_anyway(order.order(), &observer.venue.name));
        observer.incoming.send(ObservedOrder::new(order, None, slots)).is_ok()
    }

    fn of(&self, order: &LeasedOrder) -> Option<&Arc<Observer>> {
        self.by_venue.get(order.order().state.venue()?)
    }

    /// Gives an order back that this process has no venue for: another process may have it.
    async fn set_aside(&self, mut order: LeasedOrder) -> Result<(), ExecuteError> {
        let context = &self.context;
        context.miss_venue(&mut order).map_err(ExecuteError::Illegal)?;
        let name = order.order().state.venue().cloned().unwrap_or_default();
        let wait = context.holds.wait(Hold::Venue(name));
        release(context, &mut order, wait).await
    }
}

/// Writes what is not yet written, and releases an order.
async fn release(context: &Context, order: &mut LeasedOrder, due_in: Duration) -> Result<(), ExecuteError> {
    match order.release(&context.committer, due_in).await {
        Ok(()) => Ok(()),
        Err(CommitError::Closed) => Err(ExecuteError::Closed),
        Err(CommitError::Store(error)) => Err(ExecuteError::Store(error)),
        Err(_) => Err(ExecuteError::LeaseLost),
    }
}

/// Observes the transactions of a process on one venue.
#[derive(Debug)]
struct Observer {
    context: Arc<Context>,
    venue: Arc<KnownVenue>,
    batches: Arc<BatchObserver>,
    /// One slot for each order of the venue that is held in memory.
    slots: Arc<Semaphore>,
    incoming: mpsc::UnboundedSender<ObservedOrder>,
    /// It survives a panic of the task that runs the observer.
    schedule: Mutex<Schedule>,
}

/// The observed orders, by what is to be done with them.
#[derive(Debug)]
struct Schedule {
    /// Bounded by the slots, one of which each order takes.
    incoming: mpsc::UnboundedReceiver<ObservedOrder>,
    /// Orders of which events are not yet written. They are written with the next observation, if it comes
    /// soon.
    unwritten: Vec<ObservedOrder>,
    /// By the time of the next observation.
    waiting: BTreeMap<(DateTime<Utc>, OrderId), ObservedOrder>,
}

impl Observer {
    fn new(context: &Arc<Context>, venue: &Arc<KnownVenue>) -> Arc<Self> {
        let (incoming, receiver) = mpsc::unbounded_channel();
        let schedule = Schedule { incoming: receiver, unwritten: Vec::new(), waiting: BTreeMap::new() };
        let batches = BatchObserver::new(Arc::clone(context), Arc::clone(venue), incoming.clone());
        Arc::new(Self {
            context: Arc::clone(context),
            venue: Arc::clone(venue),
            batches: Arc::new(batches),
            slots: Arc::new(Semaphore::new(context.config.observe_capacity)),
            incoming,
            schedule: Mutex::new(schedule),
        })
    }

    /// Adds one of the venue's own slots to a slot, if one is free.
    fn slots_with(&self, slot: OwnedSemaphorePermit) -> Option<ObserverSlots> {
        let of_venue = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(ObserverSlots { _any: slot, _of_venue: of_venue })
    }

    /// Observes transactions until the engine closes.
    async fn run(self: Arc<Self>) {
        let mut schedule = self.schedule.lock().await;
        let mut closing = self.context.tasks.shutdown.closing();
        let mut under_way = FuturesUnordered::new();
        loop {
            let idle = self.begin_observations(&mut schedule, &mut under_way);
            let Schedule { incoming, .. } = &mut *schedule;
            tokio::select! {
                biased;
                () = closing.wait() => break,
                Some(observed) = under_way.next() => schedule.admit_all(&self.context, observed),
                observed = incoming.recv() => match observed {
                    Some(observed) => schedule.admit(&self.context, observed, Duration::ZERO),
                    None => break,
                },
                () = self.context.tasks.runtime.clock.sleep(idle) => {}
            }
        }
        // An observation that has begun comes to its end: what it found is not forgotten.
        while let Some(observed) = under_way.next().await {
            schedule.admit_all(&self.context, observed);
        }
        schedule.release_all(&self.context).await;
    }

    /// Begins as many observations as are due and may be under way at a time. Returns how long to wait for
    /// the next.
    fn begin_observations(
        &self,
        schedule: &mut Schedule,
        under_way: &mut FuturesUnordered<BoxFuture<'static, Observed>>,
    ) -> Duration {
        let config = &self.context.config;
        while let Ok(observed) = schedule.incoming.try_recv() {
            schedule.admit(&self.context, observed, Duration::ZERO);
        }
        if !schedule.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut schedule.unwritten);
            if self.venue.observing.is_open(&()) {
                under_way.push(Arc::clone(&self.batches).write(unwritten).boxed());
            } else {
                let now = self.context.local_now();
                schedule.waiting.extend(unwritten.into_iter().map(|observed| {
                    let key = (now, observed.order.order().id);
                    (key, observed)
                }));
            }
        }
        loop {
            let idle = schedule.until_next(&self.context);
            if !idle.is_zero() {
                return idle;
            }
            if under_way.len() >= config.observe_concurrency {
                return config.poll_interval;
            }
            let admission = match self.venue.observing.admit(&()) {
                Ok(admission) => admission,
                Err(open) => return open.retry_in,
            };
            let batch = schedule.take_due(&self.context);
            if !batch.is_empty() {
                under_way.push(Arc::clone(&self.batches).observe(batch, admission).boxed());
            }
        }
    }
}

impl Schedule {
    fn admit(&mut self, context: &Context, observed: ObservedOrder, next_in: Duration) {
        if observed.order.has_pending() {
            self.unwritten.push(observed);
            return;
        }
        let next_at = context.local_now() + next_in;
        self.waiting.insert((next_at, observed.order.order().id), observed);
    }

    fn admit_all(&mut self, context: &Context, observed: Observed) {
        for (observed, next_in) in observed {
            self.admit(context, observed, next_in);
        }
    }

    /// Takes orders that are due, are still ours, and may be asked about in one call.
    fn take_due(&mut self, context: &Context) -> Vec<ObservedOrder> {
        let now = context.local_now();
        let mut room = context.config.observe_batch;
        let mut due: Vec<ObservedOrder> = Vec::new();
        while due.len() < room {
            let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            if entry.get().order.lease().is_lost() {
                entry.remove();
                continue;
            }
            let batch_max = entry.get().batch_max.max(1);
            if batch_max <= due.len() {
                break;
            }
            room = room.min(batch_max);
            due.push(entry.remove());
        }
        due
    }

    fn until_next(&self, context: &Context) -> Duration {
        let now = context.local_now();
        self.waiting.first_key_value().map_or(context.config.poll_interval, |((next_at, _), _)| {
            if *next_at <= now {
                return Duration::ZERO;
            }
            // A wait that is cut to whole milliseconds must not end just before its time.
            (*next_at - now).to_std().unwrap_or_default() + Duration::from_millis(1)
        })
    }

    /// Writes what is not yet written and releases all orders.
    async fn release_all(&mut self, context: &Context) {
        self.incoming.close();
        let mut remaining = std::mem::take(&mut self.unwritten);
        remaining.extend(std::mem::take(&mut self.waiting).into_values());
        while let Some(observed) = self.incoming.recv().await {
            remaining.push(observed);
        }
        let released =
            remaining.iter_mut().map(|observed| observed.order.release(&context.committer, Duration::ZERO));
        for error in join_all(released).await.into_iter().filter_map(Result::err) {
            tracing::warn!(error = %telemetry::chain(&error), "an observed order could not be released; its lease will expire");
        }
    }
}
