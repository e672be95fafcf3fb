//! Which orders a claim leases, and how claims are counted.

use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, LONGER_THAN_SHORT, SHORT, Worker, append, create, create_one, id, ids_of,
    new_order, new_orders, order_of, routing_started, to_confirmed, to_submitted, write, write_freely,
};
use crate::domain::state::step::Lane;
use crate::ports::order_store::lease::{ClaimScope, ReleaseReason};
use crate::ports::order_store::write::Then;

cases!(
    /// While a lease runs, no worker can claim the order, its holder included.
    async fn a_claimed_order_cannot_be_claimed_again(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        worker.claim_one().await;
        worker.finds_nothing().await;
        Worker::new(&harness.store().await, 2).finds_nothing().await;
        assert!(worker.claim_order(id(1)).await.is_empty());
    },

    /// A claim returns the order in its current state.
    async fn a_claim_returns_the_current_order(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let order = write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        assert_eq!(order_of(&claim), &order);
    },

    /// Each claim of an order has a higher epoch than the one before.
    async fn each_claim_raises_the_epoch(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let mut last = 0;
        for owner in [1, 2, 1] {
            let worker = Worker::new(&store, owner);
            let lease = worker.claim_one().await.lease;
            assert!(lease.fence.epoch > last);
            last = lease.fence.epoch;
            worker.release(lease, Duration::ZERO, ReleaseReason::Yielded).await;
        }
    },

    /// A claim never leases more orders than its limit.
    async fn a_claim_leases_at_most_its_limit(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(5)).await;
        let worker = Worker::new(&store, 1);
        assert_eq!(worker.claim(0).await.len(), 0);
        assert_eq!(worker.claim(2).await.len(), 2);
        assert_eq!(worker.claim(2).await.len(), 2);
        assert_eq!(worker.claim(2).await.len(), 1);
        assert_eq!(worker.claim(u32::MAX).await.len(), 0);
    },

    /// Orders are claimed in the order in which they became due, whatever their ids.
    async fn the_order_that_is_due_longest_is_claimed_first(harness: &impl Harness) {
        let store = harness.store().await;
        for n in [3, 1, 2] {
            create(&store, &[new_order(n)]).await;
            harness.elapse(Duration::from_millis(2)).await;
        }
        let worker = Worker::new(&store, 1);
        assert_eq!(ids_of(&worker.claim(2).await), [id(3), id(1)]);
        assert_eq!(ids_of(&worker.claim(2).await), [id(2)]);
    },

    /// A claim in one lane leases no order of the other.
    async fn lanes_are_separate(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let sent = create_one(&store, 2).await;
        write_freely(&store, &sent, AT_ONCE, &to_submitted()).await;
        let worker = Worker::new(&store, 1);
        assert_eq!(ids_of(&worker.clone().in_lane(Lane::Observe).claim(10).await), [id(2)]);
        assert_eq!(ids_of(&worker.claim(10).await), [id(1)]);
    },

    /// An order that has ended cannot be claimed, in either lane, with or without its id.
    async fn a_terminal_order_is_never_due(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        for lane in [Lane::Execute, Lane::Observe] {
            let worker = Worker::new(&store, 1).in_lane(lane);
            worker.finds_nothing().await;
            assert!(worker.claim_order(order.id).await.is_empty());
        }
    },

    /// A claim of one order leaves all others as they are.
    async fn a_claim_of_one_order_leases_no_other(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(4)).await;
        let worker = Worker::new(&store, 1);
        for n in [4, 2] {
            assert_eq!(ids_of(&worker.claim_order(id(n)).await), [id(n)]);
        }
        let mut rest = ids_of(&worker.claim(10).await);
        rest.sort();
        assert_eq!(rest, [id(1), id(3)]);
    },

    /// A claim of one order leases it neither while it is leased nor while it waits.
    async fn a_claim_of_one_order_leases_it_only_when_due(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let holder = Worker::new(&store, 1);
        holder.claim_order(id(1)).await;
        let waiting = holder.claim_order(id(2)).await.remove(0);
        holder.release(waiting.lease, HOUR, ReleaseReason::Yielded).await;
        let worker = Worker::new(&store, 2);
        for (n, claimed) in [(1, vec![]), (2, vec![]), (3, vec![id(3)])] {
            assert_eq!(ids_of(&worker.claim_order(id(n)).await), claimed);
        }
    },

    /// A claim of one order respects the lane and the limit like any other claim.
    async fn a_claim_of_one_order_respects_its_lane_and_its_limit(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let worker = Worker::new(&store, 1);
        for n in 1..=3 {
            assert!(worker.clone().in_lane(Lane::Observe).claim_order(id(n)).await.is_empty());
            assert!(worker.ask(ClaimScope::Order(id(n)), 0).await.claims.is_empty());
            assert_eq!(worker.claim_order(id(n)).await.len(), 1);
        }
    },

    /// A claim of an unknown order leases nothing, and neither does a second claim of a leased one.
    async fn a_claim_of_an_unknown_order_leases_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        assert!(worker.claim_order(id(9)).await.is_empty());
        let claims = worker.claim_order(id(1)).await;
        assert_eq!(ids_of(&claims), [id(1)]);
        assert_eq!((claims[0].lease.fence.epoch, claims[0].claims_without_progress), (1, 1));
        assert!(worker.claim_order(id(1)).await.is_empty());
    },

    /// The claims of an order are counted until one makes progress, so that a crash loop is visible.
    async fn claims_without_progress_are_counted(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        for count in 1..=3 {
            let worker = Worker::new(&store, u128::from(count)).with_lease(SHORT);
            assert_eq!(worker.claim_one().await.claims_without_progress, count);
            harness.elapse(LONGER_THAN_SHORT).await;
        }
    },

    /// A write under the lease is progress: the next claim counts from one again.
    async fn progress_resets_the_count_of_claims(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        worker.claim_one().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let second = worker.claim_one().await;
        assert_eq!(second.claims_without_progress, 2);
        worker.write(&second, Then::Keep, &[routing_started(1)]).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        assert_eq!(worker.claim_one().await.claims_without_progress, 1);
    },

    /// A claim whose worker panicked counts.
    async fn a_claim_released_after_a_panic_counts(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        for count in 1..=3 {
            let claim = worker.claim_one().await;
            assert_eq!(claim.claims_without_progress, count);
            worker.release(claim.lease, Duration::ZERO, ReleaseReason::WorkerPanicked).await;
        }
    },

    /// A claim that the worker yields, for instance because it shuts down, does not count.
    async fn a_yielded_claim_does_not_count(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        for _ in 0..3 {
            let claim = worker.claim_one().await;
            assert_eq!(claim.claims_without_progress, 1);
            worker.release(claim.lease, Duration::ZERO, ReleaseReason::Yielded).await;
        }
    },

    /// A write by a host, such as the request for a cancel, is no progress of the worker's claim.
    async fn a_write_without_a_lease_is_no_progress(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        worker.claim_one().await;
        let outside = append(&order, FREELY, Then::Keep, &[routing_started(1)]);
        assert_eq!(write(&store, outside).await, Ok(()));
        harness.elapse(LONGER_THAN_SHORT).await;
        assert_eq!(worker.claim_one().await.claims_without_progress, 2);
    }
);
