//! Leases held by this process: one task renews them all, and one releases those that are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::ids::OrderId;
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::lease::{Lease, Release, ReleaseReason};
use crate::ports::runtime::Runtime;
use crate::resilience::shutdown::Shutdown;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// How many leases are released in one write.
const RELEASE_BATCH: usize = 256;
/// How long an order waits after the first execution that failed with it; doubled with each further one.
const PANIC_BACKOFF: Duration = Duration::from_secs(1);

/// Returns how long an order waits after this many panics in a row.
pub(crate) fn panic_backoff(panics: u32) -> Duration {
    PANIC_BACKOFF.saturating_mul(2_u32.saturating_pow(panics.saturating_sub(1)))
}

/// Manages all leases that this process holds.
#[derive(Debug)]
pub(crate) struct LeaseManager {
    runtime: Runtime,
    duration: Duration,
    held: Mutex<BTreeMap<OrderId, HeldLease>>,
    releases: mpsc::UnboundedSender<ReleaseRequest>,
    shutdown: Arc<Shutdown>,
}

#[derive(Debug)]
struct HeldLease {
    lease: Lease,
    /// Until when the lease is certainly ours, on this process's clock: it was requested or renewed at
    /// most one lease duration before.
    until: DateTime<Utc>,
    lost: watch::Sender<bool>,
}

/// A lease of this process. It is renewed while the guard lives, and released when the guard is dropped.
#[derive(Debug)]
pub(crate) struct LeaseGuard {
    manager: Arc<LeaseManager>,
    lease: Lease,
    lost: watch::Receiver<bool>,
    /// How many claims of the order in a row made no progress, this one included.
    claims_without_progress: u32,
    /// After what time the order is due again once the lease is released.
    due_in: Duration,
    /// Why the lease is released, unless the worker yields the order.
    reason: Option<ReleaseReason>,
    /// During an execution: how many executions in a row struck the order, this one included if it does.
    executing: Option<u32>,
    /// Whether the store has ended the lease, so that there is nothing to release.
    has_ended: bool,
}

/// A request to the task that releases leases.
#[derive(Debug)]
pub(crate) enum ReleaseRequest {
    Release(Release),
    /// Answers when every release requested before is written.
    Flush(oneshot::Sender<()>),
}

/// The requests to the task that releases leases.
pub(crate) type ReleaseRequests = mpsc::UnboundedReceiver<ReleaseRequest>;

impl LeaseManager {
    pub(crate) fn new(
        runtime: Runtime,
        duration: Duration,
        shutdown: Arc<Shutdown>,
    ) -> (Arc<Self>, ReleaseRequests) {
        // Bounded by the leases held, each of which is released once.
        let (releases, requests) = mpsc::unbounded_channel();
        (Arc::new(Self { runtime, duration, held: Mutex::default(), releases, shutdown }), requests)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<OrderId, HeldLease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a lease that was requested at `requested_at`.
    pub(crate) fn hold(
        self: &Arc<Self>,
        lease: Lease,
        claims_without_progress: u32,
        requested_at: DateTime<Utc>,
    ) -> LeaseGuard {
        let (sender, lost) = watch::channel(false);
        let held = HeldLease { lease, until: requested_at + self.duration, lost: sender };
        if let Some(former) = self.held().insert(lease.order_id, held) {
            // This process claimed the order anew: its former lease had expired.
            former.lost.send_replace(true);
        }
        LeaseGuard {
            manager: Arc::clone(self),
            lease,
            lost,
            claims_without_progress,
            due_in: Duration::ZERO,
            reason: None,
            executing: None,
            has_ended: false,
        }
    }

    /// Returns how often leases are to be renewed: three times a duration, so that one renewal may fail.
    pub(crate) fn interval(&self) -> Duration {
        self.duration / 3
    }

    /// Renews the leases older than one interval, and gives up those that could not be renewed in time.
    ///
    /// Most orders are done long before their first renewal is due, and cost nothing here.
    pub(crate) async fn renew(&self, store: &dyn OrderStore) {
        let now = self.runtime.now();
        let fresh_until = now + self.duration - self.interval();
        let ageing: Vec<Lease> =
            self.held().values().filter(|held| held.until < fresh_until).map(|held| held.lease).collect();
        if !ageing.is_empty() && !planted!(LeasesAreNotRenewed) {
            match store.renew(&ageing, self.duration).await {
                Ok(current) => self.renewed(ageing.iter().zip(current), now + self.duration),
                Err(error) => {
                    tracing::warn!(leases = ageing.len(), error = %telemetry::chain(&error), "leases could not be renewed");
                }
            }
        }
        self.give_up_expired();
    }

    fn renewed<'a>(&self, leases: impl Iterator<Item = (&'a Lease, bool)>, until: DateTime<Utc>) {
        let mut all_held = self.held();
        for (lease, is_current) in leases {
            if let Some(held) = all_held.get_mut(&lease.order_id).filter(|held| held.lease == *lease) {
                if is_current {
                    held.until = until;
                } else {
                    held.lost.send_replace(true);
                }
            }
        }
    }

    fn give_up_expired(&self) {
        let now = self.runtime.now();
        for held in self.held().values().filter(|held| held.until <= now) {
            held.lost.send_replace(true);
        }
    }

    /// Waits until all leases that were dropped so far are released.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.releases.send(ReleaseRequest::Flush(done)).is_ok() {
            // An error says that the task is gone; then there is nothing to wait for.
            let _ = flushed.await;
        }
    }

    fn forget(&self, lease: Lease) {
        let mut held = self.held();
        if held.get(&lease.order_id).is_some_and(|held| held.lease == lease) {
            held.remove(&lease.order_id);
        }
    }
}

impl LeaseGuard {
    pub(crate) const fn lease(&self) -> Lease {
        self.lease
    }

    /// Returns how many claims of the order in a row made no progress, this one included.
    pub(crate) const fn claims_without_progress(&self) -> u32 {
        self.claims_without_progress
    }

    /// Waits until the lease is lost, or may be.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            // The sender is gone only when this process holds a newer lease of the order.
            let _ = lost.wait_for(|lost| *lost).await;
        }
    }

    /// Whether the lease is lost, or may be.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Lets the order wait for a time once the lease is released.
    pub(crate) const fn release_in(&mut self, due_in: Duration) {
        self.due_in = due_in;
    }

    /// Notes that the order itself keeps the claim from making progress. An operator should look at it
    /// after more than `attention_after` such claims in a row.
    pub(crate) const fn fail(&mut self, attention_after: u32) {
        let needs_attention = self.claims_without_progress > attention_after;
        self.reason =
            Some(if needs_attention { ReleaseReason::Undecodable } else { ReleaseReason::WorkerPanicked });
    }

    /// Notes that an execution of the order begins. If it is dropped before it [ends](Self::end_execution), a
    /// host's time-out was shorter than a step for instance, the claim counts as one without progress.
    pub(crate) const fn begin_execution(&mut self, strikes: u32) {
        self.executing = Some(strikes);
    }

    /// Notes that the execution has come to its end by itself.
    pub(crate) const fn end_execution(&mut self) {
        self.executing = None;
    }

    /// Notes that the store has ended the lease, so that there is nothing to release.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Returns how the lease is released. After a failure the order waits, longer each time, so that it does
    /// not keep a worker busy with failing.
    fn release(&self, has_panicked: bool) -> Release {
        // A shutdown drops what does not end in time, and says nothing about the order.
        let is_cut_short =
            self.executing.is_some() && !self.manager.shutdown.is_draining() && !planted!(DropIsYield);
        let has_failed = has_panicked || is_cut_short;
        let reason = if has_failed { Some(ReleaseReason::WorkerPanicked) } else { self.reason };
        match reason {
            None => Release { lease: self.lease, due_in: self.due_in, reason: ReleaseReason::Yielded },
            Some(reason) => {
                let failures = self.claims_without_progress.max(self.executing.unwrap_or_default());
                let backoff = panic_backoff(failures);
                Release { lease: self.lease, due_in: backoff.min(self.manager.duration), reason }
            }
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.manager.forget(self.lease);
        if !self.has_ended && !self.is_lost() {
            let release = self.release(std::thread::panicking());
            // Without a receiver the engine is gone, and the lease expires by itself.
            let _ = self.manager.releases.send(ReleaseRequest::Release(release));
        }
    }
}

/// Releases dropped leases until no guard is left that could be dropped.
pub(crate) async fn run_releases(
    supervisor: Arc<Supervisor>,
    store: Arc<dyn OrderStore>,
    mut requests: ReleaseRequests,
) {
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, RELEASE_BATCH).await > 0 {
        let (mut releases, mut flushes) = (Vec::new(), Vec::new());
        for request in batch.drain(..) {
            match request {
                ReleaseRequest::Release(release) => releases.push(release),
                ReleaseRequest::Flush(done) => flushes.push(done),
            }
        }
        let call = async { if releases.is_empty() { Ok(()) } else { store.release(&releases).await } };
        if let Err(error) = supervisor.store("store.release", call).await {
            tracing::warn!(leases = releases.len(), error = %telemetry::chain(&error), "leases could not be released; they will expire");
        }
        for done in flushes {
            // The caller may have stopped waiting.
            let _ = done.send(());
        }
    }
}
