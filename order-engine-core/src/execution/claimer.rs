//! Claims due orders of a lane, as many as there are free slots, and delivers them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::execution::context::Context;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::openings::{ClaimedOrder, Deliver};
use crate::planted::planted;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::lease::{Claim, ClaimRequest, ClaimScope, Release, ReleaseReason};
use crate::telemetry;

/// The most orders that one claim takes, however many slots are free: a batch stays a short write.
const CLAIM_BATCH: usize = 256;
/// How long to wait after the store failed.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How long an order that cannot be decoded is left alone: it harms no other, and a newer program that can
/// decode it may come.
const UNDECODABLE_RETRY: Duration = Duration::from_mins(5);

/// Returns how many slots a worker has that was asked to have so many: one at least, so that it executes
/// orders.
pub(crate) fn valid_slots(slots: usize) -> usize {
    slots.clamp(1, Semaphore::MAX_PERMITS)
}

/// What came of a claim.
enum ClaimOutcome {
    /// It took as many orders as it could: there may be more.
    Full,
    /// It took fewer orders than it could.
    Drained { next_due_in: Option<Duration> },
    /// The receiver of the orders is gone.
    Undeliverable,
}

/// Claims due orders until the engine drains or `deliver` says that the receiver is gone.
///
/// Slots belong to the claimer, not to the receiver: an order that there is no slot for is not claimed, so
/// that other processes can take it.
pub(crate) async fn run(context: Arc<Context>, lane: Lane, slots: Arc<Semaphore>, deliver: Arc<Deliver>) {
    let open = || context.openings.open(Arc::clone(&slots), Arc::clone(&deliver));
    let opening = (lane == Lane::Execute).then(open);
    let set_idle = |is_idle| {
        if let Some(opening) = &opening {
            opening.set_idle(is_idle);
        }
    };
    let mut draining = context.tasks.shutdown.draining();
    let mut woken = context.wakers.subscribe(lane);
    let poll_interval = context.config.poll_interval;
    let mut pauses = context.pauses.changes();
    loop {
        pauses.mark_unchanged();
        if lane == Lane::Execute && context.pauses.stop_workers() {
            tokio::select! {
                biased;
                () = draining.wait() => return,
                _ = pauses.changed() => continue,
            }
        }
        let free = tokio::select! {
            biased;
            () = draining.wait() => return,
            free = free_slots(&slots) => match free {
                Some(free) => free,
                None => return,
            },
        };
        // The claim may miss an order that is accepted from here on; the next claim takes it.
        woken.mark_unchanged();
        let wait = match claim_and_deliver(&context, lane, free, &*deliver).await {
            Ok(ClaimOutcome::Full) => continue,
            Ok(ClaimOutcome::Undeliverable) => return,
            Ok(ClaimOutcome::Drained { next_due_in }) => {
                set_idle(true);
                next_due_in.map_or(poll_interval, |due_in| due_in.min(poll_interval))
            }
            Err(error) => {
                tracing::warn!(lane = lane.as_str(), error = %telemetry::chain(&error), "due orders could not be claimed");
                STORE_RETRY
            }
        };
        tokio::select! {
            biased;
            () = draining.wait() => return,
            _ = woken.changed() => {}
            () = context.tasks.runtime.clock.sleep(wait) => {}
        }
        set_idle(false);
    }
}

/// Waits for a free slot, and takes all that are free. Returns nothing if the semaphore is closed, which it
/// never is.
async fn free_slots(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let mut free = Arc::clone(slots).acquire_owned().await.ok()?;
    let more = slots.available_permits().min(CLAIM_BATCH - 1);
    // Another task may take a slot meanwhile; then one slot has to do for now.
    if let Ok(more) = Arc::clone(slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) {
        free.merge(more);
    }
    Some(free)
}

async fn claim_and_deliver(
    context: &Context,
    lane: Lane,
    mut free: OwnedSemaphorePermit,
    deliver: &Deliver,
) -> Result<ClaimOutcome, StoreError> {
    let limit = free.num_permits();
    let (orders, next_due_in) = claim(context, lane, ClaimScope::Any, limit).await?;
    let is_drained = orders.len() < limit;
    for order in orders {
        // A claim returns no more orders than it was asked for.
        let Some(slot) = free.split(1) else { break };
        if !deliver(ClaimedOrder { order, slot }) {
            return Ok(ClaimOutcome::Undeliverable);
        }
    }
    Ok(if is_drained { ClaimOutcome::Drained { next_due_in } } else { ClaimOutcome::Full })
}

/// Leases one order if it is due for a worker.
pub(crate) async fn claim_order(context: &Context, id: OrderId) -> Result<Option<LeasedOrder>, StoreError> {
    let (mut orders, _) = claim(context, Lane::Execute, ClaimScope::Order(id), 1).await?;
    Ok(orders.pop())
}

/// Leases due orders. Those that cannot be decoded are released for a while, and those that kill their
/// workers are put into quarantine.
async fn claim(
    context: &Context,
    lane: Lane,
    scope: ClaimScope,
    limit: usize,
) -> Result<(Vec<LeasedOrder>, Option<Duration>), StoreError> {
    let request = ClaimRequest {
        lane,
        scope,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        owner: context.tasks.runtime.entropy.next_u128(),
        duration: context.config.lease_duration,
    };
    let requested_at = context.local_now();
    let supervisor = &context.tasks.supervisor;
    let claims = supervisor.store("store.claim", context.store.claim(&request)).await?;
    context.store_clock.learn(requested_at, claims.as_of);
    let (mut orders, mut deadly, mut undecodable) = (Vec::new(), Vec::new(), Vec::new());
    for Claim { lease, claims_without_progress, order } in claims.claims {
        match order {
            Ok(order) => {
                let guard = context.leases.hold(lease, claims_without_progress, requested_at);
                let order = LeasedOrder::new(order, guard);
                let is_deadly = lane == Lane::Execute && strikes(&order) >= context.config.quarantine_after;
                if is_deadly { deadly.push(order) } else { orders.push(order) }
            }
            Err(error) => {
                tracing::error!(order.id = %lease.order_id, %error, "an order cannot be decoded");
                let reason = ReleaseReason::Undecodable;
                undecodable.push(Release { lease, due_in: UNDECODABLE_RETRY, reason });
            }
        }
    }
    join_all(deadly.into_iter().map(|order| quarantine(context, order))).await;
    if !undecodable.is_empty() {
        supervisor.store("store.release", context.store.release(&undecodable)).await?;
    }
    Ok((orders, claims.next_due_in))
}

fn strikes(order: &LeasedOrder) -> u32 {
    if planted!(ClaimsAreStrikes) {
        return order.lease().claims_without_progress().saturating_sub(1);
    }
    order.order().state.strikes()
}

/// Puts an order into quarantine that kills its workers.
async fn quarantine(context: &Context, mut order: LeasedOrder) {
    let (order_id, strikes) = (order.order().id, order.order().state.strikes());
    let message = format!(
        "{strikes} executions in a row killed their worker, made it panic or took longer than it allows"
    );
    if let Err(error) = order.quarantine(message, context.now()) {
        tracing::error!(order.id = %order_id, %error, "an order cannot be put into quarantine");
        return;
    }
    match order.commit(&context.committer).await {
        Ok(()) => tracing::error!(order.id = %order_id, "an order is put into quarantine"),
        Err(error) => {
            tracing::warn!(order.id = %order_id, error = %telemetry::chain(&error), "an order could not be put into quarantine");
        }
    }
}
