//! Claims due orders of a lane, as many as there are free slots, and hands them on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::engine::Inner;
use crate::execution::leased_order::LeasedOrder;
use crate::planted::planted;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::{Claim, ClaimRequest, ClaimScope, Release, ReleaseReason};

/// The most orders that one claim takes, however many slots are free: a batch stays a short write.
const CLAIM_BATCH: usize = 256;
/// How long to wait after the store failed.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How long an order that cannot be read is left alone: it harms no other, and a newer program
/// that can read it may come.
const UNREADABLE_RETRY: Duration = Duration::from_mins(5);

/// A leased order with the slot it takes.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) active: LeasedOrder,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Claims due orders until the engine stops or `deliver` refuses one.
///
/// Slots belong to the claimer, not to the caller of the orders: what has no free slot is not
/// claimed, so that other processes can take it.
pub(crate) async fn run<F>(engine: Arc<Inner>, lane: Lane, slots: Arc<Semaphore>, mut deliver: F)
where
    F: FnMut(Claimed) -> bool + Send,
{
    let mut stop = engine.stopping();
    let mut woken = engine.wakes(lane);
    loop {
        let taken = tokio::select! {
            biased;
            () = stop.wait() => return,
            taken = free_slots(&slots) => match taken {
                Some(taken) => taken,
                None => return,
            },
        };
        // Whatever wakes us from here on may be missed by the claim, and is then claimed next.
        woken.mark_unchanged();
        let wait = match claim(&engine, lane, taken, &mut deliver).await {
            Ok(Claiming::Full) => continue,
            Ok(Claiming::Refused) => return,
            Ok(Claiming::Drained { next_due_in }) => next_due_in
                .map_or(engine.config.poll_interval, |due_in| due_in.min(engine.config.poll_interval)),
            Err(error) => {
                tracing::warn!(lane = lane.as_str(), %error, "due orders could not be claimed");
                STORE_RETRY
            }
        };
        tokio::select! {
            biased;
            () = stop.wait() => return,
            _ = woken.changed() => {}
            () = engine.runtime.clock.sleep(wait) => {}
        }
    }
}

/// What a claim came to.
enum Claiming {
    /// As many as asked for: there may be more.
    Full,
    /// Fewer than asked for.
    Drained { next_due_in: Option<Duration> },
    /// Nobody takes orders any more.
    Refused,
}

/// Waits for a free slot, and takes all that are free. None if the semaphore is closed, which it never
/// is.
async fn free_slots(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let mut taken = Arc::clone(slots).acquire_owned().await.ok()?;
    let more = slots.available_permits().min(CLAIM_BATCH - 1);
    // Somebody else may take one meanwhile. Then one has to do for now.
    if let Ok(more) = Arc::clone(slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) {
        taken.merge(more);
    }
    Some(taken)
}

async fn claim<F>(
    engine: &Arc<Inner>,
    lane: Lane,
    mut free: OwnedSemaphorePermit,
    deliver: &mut F,
) -> Result<Claiming, StoreError>
where
    F: FnMut(Claimed) -> bool,
{
    let asked = free.num_permits();
    let (actives, next_due_in) = engine.claim(lane, ClaimScope::Any, asked).await?;
    let drained = actives.len() < asked;
    for active in actives {
        // A claim gives no more than was asked for.
        let Some(permit) = free.split(1) else { break };
        if !deliver(Claimed { active, permit }) {
            return Ok(Claiming::Refused);
        }
    }
    Ok(if drained { Claiming::Drained { next_due_in } } else { Claiming::Full })
}

impl Inner {
    /// Leases due orders. What cannot be read is left alone for a while.
    async fn claim(
        &self,
        lane: Lane,
        scope: ClaimScope,
        limit: usize,
    ) -> Result<(Vec<LeasedOrder>, Option<Duration>), StoreError> {
        let request = ClaimRequest {
            lane,
            scope,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            owner: self.runtime.entropy.next_u128(),
            duration: self.config.lease_duration,
        };
        let asked_at = self.runtime.now();
        let claims = self.supervisor.store("store.claim", self.store.claim(&request)).await?;
        self.store_clock.learn(asked_at, claims.as_of);
        let (mut actives, mut hopeless, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for Claim { lease, claims_without_progress, order } in claims.claims {
            match order {
                Ok(order) => {
                    let active =
                        LeasedOrder::new(order, self.keeper.hold(lease, claims_without_progress, asked_at));
                    let strikes = if planted!(ClaimsAreStrikes) {
                        claims_without_progress.saturating_sub(1)
                    } else {
                        active.order().state.strikes()
                    };
                    let is_hopeless = lane == Lane::Execute && strikes >= self.config.quarantine_after;
                    if is_hopeless { hopeless.push(active) } else { actives.push(active) }
                }
                Err(error) => {
                    tracing::error!(order.id = %lease.order_id, %error, "an order cannot be read");
                    unreadable.push(Release {
                        lease,
                        due_in: UNREADABLE_RETRY,
                        reason: ReleaseReason::Undecodable,
                    });
                }
            }
        }
        join_all(hopeless.into_iter().map(|active| self.quarantine(active))).await;
        if !unreadable.is_empty() {
            self.supervisor.store("store.release", self.store.release(&unreadable)).await?;
        }
        Ok((actives, claims.next_due_in))
    }

    /// Sets an order aside with which workers die: it must not take the next one with it.
    async fn quarantine(&self, mut active: LeasedOrder) {
        let order_id = active.order().id;
        let message = format!(
            "{} executions in a row killed their worker or made it panic",
            active.order().state.strikes()
        );
        let failure = Failure::new(FailureCode::QUARANTINED, message);
        if let Err(error) = active.record(OrderEvent::Quarantined { failure }, self.now()) {
            tracing::error!(order.id = %order_id, %error, "an order cannot be set aside");
            return;
        }
        match active.commit(&self.committer).await {
            Ok(()) => tracing::error!(order.id = %order_id, "an order is set aside for an operator"),
            Err(error) => tracing::warn!(order.id = %order_id, %error, "an order could not be set aside"),
        }
    }

    /// Leases one order if it is due for a worker.
    pub(crate) async fn claim_one(&self, id: OrderId) -> Result<Option<LeasedOrder>, StoreError> {
        let (mut actives, _) = self.claim(Lane::Execute, ClaimScope::Order(id), 1).await?;
        Ok(actives.pop())
    }
}
