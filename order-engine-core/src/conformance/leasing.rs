//! How long a lease lasts, and what it permits afterwards.

use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, HOUR, LONGER_THAN_SHORT, SHORT, Worker, append, assert_stored, create, create_one, id, ids_of,
    new_orders, order_of, routing_started, to_confirmed, with_epoch, write,
};
use crate::ports::order_store::lease::{Fence, Lease, Release, ReleaseReason};
use crate::ports::order_store::write::{AppendError, Guard, Then};

cases!(
    /// A lease keeps its order until it expires.
    async fn a_running_lease_is_not_taken_over(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        Worker::new(&store, 2).finds_nothing().await;
        assert!(worker.renews(claim.lease).await);
    },

    /// After a lease has expired, another worker claims the order under a higher epoch.
    async fn an_expired_lease_is_claimed_again_under_a_higher_epoch(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let first = Worker::new(&store, 1).with_lease(SHORT).claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let second = Worker::new(&harness.store().await, 2).claim_one().await;
        assert_eq!(second.lease.order_id, first.lease.order_id);
        assert!(second.lease.fence.epoch > first.lease.fence.epoch);
    },

    /// A worker whose order was taken over can neither append, renew nor release, and does not disturb its
    /// successor.
    async fn a_lost_lease_permits_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let paused = Worker::new(&store, 1).with_lease(SHORT);
        let lost = paused.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let successor = Worker::new(&store, 2);
        let current = successor.claim_one().await;

        let stale = append(order_of(&lost), Guard::Fence(lost.lease.fence), AT_ONCE, &[routing_started(1)]);
        assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
        assert!(!paused.renews(lost.lease).await);
        paused.release(lost.lease, Duration::ZERO, ReleaseReason::WorkerPanicked).await;

        paused.finds_nothing().await;
        let order = successor.write(&current, Then::Keep, &[routing_started(1)]).await;
        assert_stored(&store, &order).await;
    },

    /// A write under an expired lease succeeds as long as no other worker has claimed the order.
    async fn an_expired_lease_writes_until_it_is_taken_over(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let claim = worker.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        assert_stored(&store, &order).await;
        // The write did not prolong the lease.
        assert_eq!(ids_of(&Worker::new(&store, 2).claim(1).await), [order.id]);
    },

    /// A renewal of an expired lease succeeds as long as no other worker has claimed the order.
    async fn an_expired_lease_is_renewed_until_it_is_taken_over(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let claim = worker.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        assert!(worker.renews(claim.lease).await);
        Worker::new(&store, 2).finds_nothing().await;
    },

    /// A renewed lease lasts from its renewal on.
    async fn a_renewed_lease_lasts_longer(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let claim = worker.claim_one().await;
        assert!(worker.renews(claim.lease).await);
        harness.elapse(LONGER_THAN_SHORT).await;
        Worker::new(&store, 2).finds_nothing().await;
        worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
    },

    /// A renewal sets the expiry even if the lease would have lasted longer.
    async fn a_renewal_can_shorten_a_lease(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        assert_eq!(store.renew(&[claim.lease], SHORT).await.unwrap(), [true]);
        harness.elapse(LONGER_THAN_SHORT).await;
        Worker::new(&store, 2).claim_one().await;
    },

    /// Each renewal has a result of its own, in the order of the request.
    async fn renewals_are_answered_one_by_one(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let worker = Worker::new(&store, 1);
        let leases: Vec<Lease> = worker.claim(3).await.iter().map(|claim| claim.lease).collect();
        worker.release(leases[1], HOUR, ReleaseReason::Yielded).await;
        let stale = Lease { fence: with_epoch(leases[2].fence, 7), ..leases[2] };
        let unknown = Lease { order_id: id(9), ..leases[0] };
        let asked = [leases[2], leases[1], unknown, stale, leases[0]];
        assert_eq!(store.renew(&asked, HOUR).await.unwrap(), [true, false, false, false, true]);
    },

    /// An order that is released without a delay can be claimed at once.
    async fn a_released_order_is_due_at_once(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        worker.release(claim.lease, Duration::ZERO, ReleaseReason::Yielded).await;
        Worker::new(&store, 2).claim_one().await;
    },

    /// A released lease permits nothing, even if no other worker has claimed the order since.
    async fn a_released_lease_permits_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        worker.release(claim.lease, HOUR, ReleaseReason::Yielded).await;
        assert!(!worker.renews(claim.lease).await);
        let late = append(order_of(&claim), Guard::Fence(claim.lease.fence), AT_ONCE, &[routing_started(1)]);
        assert_eq!(write(&store, late).await, Err(AppendError::StaleFence));
        // A second release does not end the wait.
        worker.release(claim.lease, Duration::ZERO, ReleaseReason::Yielded).await;
        worker.finds_nothing().await;
    },

    /// Only the current lease can be released: any other release leaves the order to its holder.
    async fn a_lost_lease_cannot_be_released(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let current = worker.claim_one().await.lease;
        let wrong = [
            Lease { fence: with_epoch(current.fence, current.fence.epoch + 1), ..current },
            Lease { fence: Fence { owner: 2, ..current.fence }, ..current },
            Lease { order_id: id(9), ..current },
        ];
        for lease in wrong {
            worker.release(lease, Duration::ZERO, ReleaseReason::WorkerPanicked).await;
            worker.finds_nothing().await;
        }
        assert!(worker.renews(current).await);
    },

    /// A lease that is gone does not keep the others from being released.
    async fn leases_are_released_one_by_one(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(3).await;
        worker.write(&claims[1], Then::Keep, &to_confirmed()).await;
        let releases: Vec<Release> = claims
            .iter()
            .map(|claim| Release {
                lease: claim.lease,
                due_in: Duration::ZERO,
                reason: ReleaseReason::Yielded,
            })
            .collect();
        store.release(&releases).await.unwrap();
        let mut again = ids_of(&worker.claim(3).await);
        again.sort();
        let mut expected = vec![claims[0].lease.order_id, claims[2].lease.order_id];
        expected.sort();
        assert_eq!(again, expected);
    }
);
