//! When orders become due, and the next due time that a claim returns.

use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    HOUR, LONGER_THAN_SHORT, SHORT, Worker, create, create_one, id, ids_of, new_orders, to_confirmed,
    write_freely,
};
use crate::domain::state::step::Lane;
use crate::ports::order_store::lease::{ClaimScope, ReleaseReason};
use crate::ports::order_store::write::Then;

cases!(
    /// A lane in which no order waits has no next due time.
    async fn an_empty_lane_has_no_next_due_time(harness: &impl Harness) {
        let store = harness.store().await;
        let worker = Worker::new(&store, 1);
        assert_eq!(worker.ask(ClaimScope::Any, 1).await.next_due_in, None);
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, Then::Keep, &to_confirmed()).await;
        assert_eq!(worker.ask(ClaimScope::Any, 1).await.next_due_in, None);
    },

    /// If more orders are due than the limit allows, the next due time is now.
    async fn orders_beyond_the_limit_are_due_now(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let claims = Worker::new(&store, 1).ask(ClaimScope::Any, 2).await;
        assert_eq!(claims.claims.len(), 2);
        assert_eq!(claims.next_due_in, Some(Duration::ZERO));
    },

    /// A worker that sleeps until the next due time never sleeps past an order.
    async fn the_next_due_time_is_never_too_late(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        worker.release(claims[0].lease, HOUR, ReleaseReason::Yielded).await;
        worker.release(claims[1].lease, SHORT, ReleaseReason::Yielded).await;
        let wait = worker.ask(ClaimScope::Any, 2).await.next_due_in.expect("two orders wait");
        assert!(wait <= SHORT, "{wait:?}");
        harness.elapse(LONGER_THAN_SHORT).await;
        assert_eq!(ids_of(&worker.claim(2).await), [claims[1].lease.order_id]);
    },

    /// The next due time considers the expiry of leases, so that a dead worker's order is claimed in time.
    async fn the_expiry_of_a_lease_is_a_due_time(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        Worker::new(&store, 1).with_lease(SHORT).claim_one().await;
        let wait = Worker::new(&store, 2).ask(ClaimScope::Any, 1).await.next_due_in;
        assert!(wait.is_some_and(|wait| wait <= SHORT), "{wait:?}");
    },

    /// The next due time of a lane ignores the orders of the other one.
    async fn the_next_due_time_belongs_to_its_lane(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let observer = Worker::new(&store, 1).in_lane(Lane::Observe);
        assert_eq!(observer.ask(ClaimScope::Any, 1).await.next_due_in, None);
    },

    /// A claim of one order returns the next due time of the whole lane, since its caller sleeps for all
    /// orders.
    async fn a_claim_of_one_order_returns_the_next_due_time_of_the_lane(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let claims = Worker::new(&store, 1).ask(ClaimScope::Order(id(1)), 10).await;
        assert_eq!(ids_of(&claims.claims), [id(1)]);
        assert_eq!(claims.next_due_in, Some(Duration::ZERO));
    },

    /// A wait ends by itself.
    async fn an_order_waits_until_it_is_due_and_no_longer(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        worker.release(claims[0].lease, SHORT, ReleaseReason::Yielded).await;
        worker.release(claims[1].lease, HOUR, ReleaseReason::Yielded).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        assert_eq!(ids_of(&worker.claim(2).await), [claims[0].lease.order_id]);
    },

    /// The longest possible duration is a wait, and does not overflow into a time in the past.
    async fn the_longest_wait_does_not_overflow(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        worker.release(claims[0].lease, Duration::MAX, ReleaseReason::Yielded).await;
        assert_eq!(store.renew(&[claims[1].lease], Duration::MAX).await.unwrap(), [true]);
        let asked = worker.ask(ClaimScope::Any, 2).await;
        assert!(asked.claims.is_empty());
        assert!(asked.next_due_in.is_some_and(|wait| wait > HOUR), "{:?}", asked.next_due_in);
    }
);
