//! Leases held by this process: renewed by one task for all, and given back when dropped.

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
use crate::resilience::supervisor::Supervisor;

/// All leases that this process holds.
#[derive(Debug)]
pub(crate) struct LeaseManager {
    runtime: Runtime,
    duration: Duration,
    held: Mutex<BTreeMap<OrderId, Holding>>,
    give_backs: mpsc::UnboundedSender<GiveBack>,
}

#[derive(Debug)]
struct Holding {
    lease: Lease,
    /// Until when the lease is certainly ours, on this process' clock: it was asked for, or
    /// renewed, at most one lease duration before.
    until: DateTime<Utc>,
    lost: watch::Sender<bool>,
}

/// A lease of this process. While it lives, it is renewed; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct LeaseGuard {
    keeper: Arc<LeaseManager>,
    lease: Lease,
    lost: watch::Receiver<bool>,
    /// Claims of the order in a row that brought nothing, this one included.
    claims_without_progress: u32,
    /// After what time the order is due again once the lease is given back.
    due_in: Duration,
    /// Why the lease brought nothing, if it is to be said.
    reason: Option<ReleaseReason>,
    /// Whether the store already ended the lease, so that nothing is left to give back.
    ended: bool,
}

/// What the task that gives leases back is asked.
#[derive(Debug)]
pub(crate) enum GiveBack {
    /// To give back a lease.
    Lease(Release),
    /// To say when everything before is given back.
    Flush(oneshot::Sender<()>),
}

/// The leases that are to be given back.
pub(crate) type GiveBacks = mpsc::UnboundedReceiver<GiveBack>;

/// How long an order rests after its first panic; doubled with each further one.
const PANIC_REST: Duration = Duration::from_secs(1);

/// How long an order rests after so many panics in a row.
pub(crate) fn panic_rest(panics: u32) -> Duration {
    PANIC_REST.saturating_mul(2_u32.saturating_pow(panics.saturating_sub(1)))
}

/// How many leases are given back in one write.
const GIVE_BACK_BATCH: usize = 256;

impl LeaseManager {
    pub(crate) fn new(runtime: Runtime, duration: Duration) -> (Arc<Self>, GiveBacks) {
        // Bounded by the leases held, each of which is given back once.
        let (give_backs, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { runtime, duration, held: Mutex::default(), give_backs }), receiver)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<OrderId, Holding>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a lease that was asked for at `asked_at`.
    pub(crate) fn hold(
        self: &Arc<Self>,
        lease: Lease,
        claims_without_progress: u32,
        asked_at: DateTime<Utc>,
    ) -> LeaseGuard {
        let (sender, lost) = watch::channel(false);
        let holding = Holding { lease, until: asked_at + self.duration, lost: sender };
        if let Some(former) = self.held().insert(lease.order_id, holding) {
            // This process claimed the order anew: its former lease had expired.
            former.lost.send_replace(true);
        }
        LeaseGuard {
            keeper: Arc::clone(self),
            lease,
            lost,
            claims_without_progress,
            due_in: Duration::ZERO,
            reason: None,
            ended: false,
        }
    }

    /// How long to wait between two looks at the leases: three looks a duration, so that one may
    /// fail.
    pub(crate) fn interval(&self) -> Duration {
        self.duration / 3
    }

    /// Renews what is older than one interval, and gives up what could not be renewed in time.
    ///
    /// Most orders are done long before their first renewal is due, and cost nothing here.
    pub(crate) async fn renew(&self, store: &dyn OrderStore) {
        let now = self.runtime.now();
        let fresh_until = now + self.duration - self.interval();
        let ageing: Vec<Lease> = self
            .held()
            .values()
            .filter(|holding| holding.until < fresh_until)
            .map(|holding| holding.lease)
            .collect();
        if !ageing.is_empty() && !planted!(LeasesAreNotRenewed) {
            match store.renew(&ageing, self.duration).await {
                Ok(current) => self.renewed(ageing.iter().zip(current), now + self.duration),
                Err(error) => tracing::warn!(leases = ageing.len(), %error, "leases could not be renewed"),
            }
        }
        self.give_up_expired();
    }

    fn renewed<'a>(&self, leases: impl Iterator<Item = (&'a Lease, bool)>, until: DateTime<Utc>) {
        let mut held = self.held();
        for (lease, current) in leases {
            if let Some(holding) = held.get_mut(&lease.order_id).filter(|holding| holding.lease == *lease) {
                if current {
                    holding.until = until;
                } else {
                    holding.lost.send_replace(true);
                }
            }
        }
    }

    fn give_up_expired(&self) {
        let now = self.runtime.now();
        for holding in self.held().values().filter(|holding| holding.until <= now) {
            holding.lost.send_replace(true);
        }
    }

    /// Waits until all leases that were dropped so far are given back.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.give_backs.send(GiveBack::Flush(done)).is_ok() {
            // An error says that the task is gone; then there is nothing to wait for.
            let _ = flushed.await;
        }
    }

    fn forget(&self, lease: Lease) {
        let mut held = self.held();
        if held.get(&lease.order_id).is_some_and(|holding| holding.lease == lease) {
            held.remove(&lease.order_id);
        }
    }
}

impl LeaseGuard {
    pub(crate) const fn lease(&self) -> Lease {
        self.lease
    }

    /// Waits until the lease is lost, or may be.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            // The sender is gone only when the lease was replaced by a newer one of this process.
            let _ = lost.wait_for(|lost| *lost).await;
        }
    }

    /// How the lease is given back. After a panic the order rests, longer each time, so that it does
    /// not keep a worker busy with panicking.
    fn release(&self, panicked: bool) -> Release {
        let reason = if panicked { Some(ReleaseReason::WorkerPanicked) } else { self.reason };
        let Some(reason) = reason else {
            return Release { lease: self.lease, due_in: self.due_in, reason: ReleaseReason::Yielded };
        };
        let rest = panic_rest(self.claims_without_progress);
        Release { lease: self.lease, due_in: rest.min(self.keeper.duration), reason }
    }

    /// How many claims of the order in a row brought nothing, this one included.
    pub(crate) const fn claims_without_progress(&self) -> u32 {
        self.claims_without_progress
    }

    /// Notes that the order itself is why the lease brings nothing. After so many in a row an operator
    /// should look at it.
    pub(crate) const fn fail(&mut self, attention_after: u32) {
        let is_hopeless = self.claims_without_progress > attention_after;
        self.reason =
            Some(if is_hopeless { ReleaseReason::Undecodable } else { ReleaseReason::WorkerPanicked });
    }

    /// Lets the order rest for a while once the lease is given back.
    pub(crate) const fn rest_for(&mut self, due_in: Duration) {
        self.due_in = due_in;
    }

    /// Whether the lease is lost, or may be.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Notes that the store has ended the lease, so that nothing is left to give back.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.keeper.forget(self.lease);
        if !self.ended && !self.is_lost() {
            let release = self.release(std::thread::panicking());
            // Without a receiver the engine is gone, and the lease expires by itself.
            let _ = self.keeper.give_backs.send(GiveBack::Lease(release));
        }
    }
}

/// Gives back dropped leases until nobody can drop one any more.
pub(crate) async fn give_back(supervisor: Arc<Supervisor>, store: Arc<dyn OrderStore>, mut asked: GiveBacks) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, GIVE_BACK_BATCH).await > 0 {
        let (mut releases, mut flushes) = (Vec::new(), Vec::new());
        for item in batch.drain(..) {
            match item {
                GiveBack::Lease(release) => releases.push(release),
                GiveBack::Flush(done) => flushes.push(done),
            }
        }
        let call = async { if releases.is_empty() { Ok(()) } else { store.release(&releases).await } };
        if let Err(error) = supervisor.store("store.release", call).await {
            tracing::warn!(leases = releases.len(), %error, "leases could not be given back; they will expire");
        }
        for done in flushes {
            // Whoever waited may be gone.
            let _ = done.send(());
        }
    }
}
