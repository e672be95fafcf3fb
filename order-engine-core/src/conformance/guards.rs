//! Writes that are refused: under a stale lease, or at a stale revision.

use std::sync::Arc;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, REVOKING, Worker, append, assert_stored, cancelled, create_one, order_of,
    route_chosen, routing_started, to_submitted, with_epoch, write, write_freely,
};
use crate::domain::event::OrderEvent;
use crate::domain::state::step::Lane;
use crate::ports::order_store::lease::{Fence, ReleaseReason};
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};

cases!(
    /// A write under an earlier or a later epoch than the current one is refused.
    async fn a_stale_epoch_is_refused(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let current = Worker::new(&store, 1).claim_one().await.lease.fence;
        for epoch in [0, current.epoch - 1, current.epoch + 1] {
            let guard = Guard::Fence(with_epoch(current, epoch));
            let stale = append(&order, guard, Then::Keep, &[routing_started(1)]);
            assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence), "epoch {epoch}");
        }
        assert_stored(&store, &order).await;
    },

    /// A write by another owner under the current epoch is refused: epochs repeat after a store has lost its
    /// last writes.
    async fn another_owner_of_the_same_epoch_is_refused(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let owner = u128::MAX - 1;
        let claim = Worker::new(&store, owner).claim_one().await;
        // These are neighbouring numbers, and owners that agree in one half of their bits.
        for other in [0, owner + 1, owner - 1, owner & u128::from(u64::MAX), owner ^ (1 << 127)] {
            let guard = Guard::Fence(Fence { owner: other, ..claim.lease.fence });
            let stale = append(&order, guard, Then::Keep, &[routing_started(1)]);
            assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence), "owner {other:x}");
        }
        Worker::new(&store, owner).write(&claim, Then::Keep, &[routing_started(1)]).await;
    },

    /// A write under a lease is refused if the order has none.
    async fn a_fence_of_an_unleased_order_is_refused(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        for fence in [Fence { epoch: 0, owner: 0 }, Fence { epoch: 1, owner: 1 }] {
            let unheld = append(&order, Guard::Fence(fence), Then::Keep, &[routing_started(1)]);
            assert_eq!(write(&store, unheld).await, Err(AppendError::StaleFence));
        }
    },

    /// A holder whose order has advanced learns the current revision, reads the order again and goes on.
    async fn a_stale_revision_is_answered_with_the_current_one(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let mut claim = worker.claim_one().await;
        let moved = write_freely(&store, order_of(&claim), Then::Keep, &to_submitted()).await;
        let guard = Guard::Fence(claim.lease.fence);
        let stale = append(order_of(&claim), guard, Then::Keep, &[routing_started(1)]);
        assert_eq!(write(&store, stale).await, Err(AppendError::StaleRevision { actual: 6 }));
        claim.order = Ok(moved);
        let order = worker.write(&claim, Then::Keep, &[OrderEvent::SubmissionAccepted]).await;
        assert_stored(&store, &order).await;
    },

    /// A write at a revision that does not exist yet is refused.
    async fn a_future_revision_is_answered_with_the_current_one(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let next = append(&order, FREELY, Then::Keep, &[routing_started(1)]).order;
        let skipping = append(&next, FREELY, Then::Keep, &[route_chosen()]);
        assert_eq!(write(&store, skipping).await, Err(AppendError::StaleRevision { actual: 1 }));
        assert_stored(&store, &order).await;
    },

    /// A worker that has lost its lease learns that first, since reading the order again would not help it.
    async fn a_stale_fence_is_reported_before_a_stale_revision(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let fence = Worker::new(&store, 1).claim_one().await.lease.fence;
        write_freely(&store, &order, Then::Keep, &[routing_started(1)]).await;
        let guard = Guard::Fence(with_epoch(fence, fence.epoch + 1));
        let stale = append(&order, guard, Then::Keep, &[routing_started(1)]);
        assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
    },

    /// A write that compares the revision only, such as a cancel, needs no lease.
    async fn a_write_by_revision_needs_no_lease(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let order = write_freely(&store, &order, Then::Keep, &[cancelled()]).await;
        assert_stored(&store, &order).await;
    },

    /// A write without a lease is refused if its revision is stale.
    async fn a_stale_revision_without_a_lease_is_refused(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let moved = write_freely(&store, &order, Then::Keep, &[routing_started(1)]).await;
        for guard in [FREELY, REVOKING] {
            let stale = append(&order, guard, Then::Keep, &[cancelled()]);
            assert_eq!(write(&store, stale).await, Err(AppendError::StaleRevision { actual: 2 }));
        }
        assert_stored(&store, &moved).await;
    },

    /// A write without a lease, such as the request for a cancel, leaves the lease to its holder.
    async fn a_write_without_a_lease_keeps_the_lease(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let mut claim = worker.claim_one().await;
        claim.order = Ok(worker.write(&claim, Then::Keep, &to_submitted()).await);
        let order = write_freely(&store, order_of(&claim), Then::Keep, &[OrderEvent::CancelRequested]).await;
        Worker::new(&store, 2).in_lane(Lane::Observe).finds_nothing().await;
        assert!(worker.renews(claim.lease).await);
        claim.order = Ok(order);
        worker.write(&claim, Then::Keep, &[OrderEvent::SubmissionAccepted]).await;
    },

    /// After a revocation the former holder can write nothing, and the order is due at once.
    async fn a_revoking_write_ends_the_lease(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let revoking = append(order_of(&claim), REVOKING, Then::Keep, &[routing_started(1)]);
        let order = Arc::clone(&revoking.order);
        assert_eq!(write(&store, revoking).await, Ok(()));

        let late = append(&order, Guard::Fence(claim.lease.fence), Then::Keep, &[route_chosen()]);
        assert_eq!(write(&store, late).await, Err(AppendError::StaleFence));
        assert!(!worker.renews(claim.lease).await);
        let next = Worker::new(&store, 2).claim_one().await;
        assert_eq!(order_of(&next), &order);
        assert!(next.lease.fence.epoch > claim.lease.fence.epoch + 1, "the revocation raised the epoch, too");
    },

    /// A revoking write may set the time at which the order is due.
    async fn a_revoking_write_can_make_the_order_wait(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let then = Then::Release { due_in: HOUR };
        let revoking = append(order_of(&claim), REVOKING, then, &[routing_started(1)]);
        assert_eq!(write(&store, revoking).await, Ok(()));
        assert!(!worker.renews(claim.lease).await);
        worker.finds_nothing().await;
    },

    /// A revoking write that is refused leaves the lease to its holder.
    async fn a_refused_revocation_revokes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        let first = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        let late = append(&first, REVOKING, Then::Keep, &[cancelled()]);
        assert_eq!(write(&store, late).await, Err(AppendError::StaleRevision { actual: 2 }));
        assert!(worker.renews(claim.lease).await);
        assert_stored(&store, &order).await;
    },

    /// A revoking write to an order without a lease leaves its due time as it is.
    async fn a_revoking_write_keeps_the_due_time_of_an_unleased_order(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        worker.release(claim.lease, HOUR, ReleaseReason::Yielded).await;
        let revoking = append(order_of(&claim), REVOKING, Then::Keep, &[routing_started(1)]);
        assert_eq!(write(&store, revoking).await, Ok(()));
        worker.finds_nothing().await;
    },

    /// `Then::Keep` neither ends the wait of an order without a lease nor begins one.
    async fn keep_keeps_the_due_time_of_an_unleased_order(harness: &impl Harness) {
        let store = harness.store().await;
        let waiting = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        worker.release(claim.lease, HOUR, ReleaseReason::Yielded).await;
        write_freely(&store, &waiting, Then::Keep, &[routing_started(1)]).await;
        worker.finds_nothing().await;
        let due = create_one(&store, 2).await;
        let due = write_freely(&store, &due, Then::Keep, &[routing_started(1)]).await;
        assert_eq!(order_of(&worker.claim_one().await), &due);
    },

    /// A write without a lease may release the order: that ends its lease and sets its due time.
    async fn release_without_a_lease_sets_the_due_time(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let released = Append {
            then: Then::Release { due_in: HOUR },
            ..append(order_of(&claim), FREELY, Then::Keep, &[routing_started(1)])
        };
        let order = Arc::clone(&released.order);
        assert_eq!(write(&store, released).await, Ok(()));
        assert!(!worker.renews(claim.lease).await);
        worker.finds_nothing().await;
        let order = write_freely(&store, &order, AT_ONCE, &[route_chosen()]).await;
        assert_eq!(order_of(&worker.claim_one().await), &order);
    }
);
