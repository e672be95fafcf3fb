//! Whose turn it is when more orders are due than a claim takes.

use chrono::TimeDelta;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    HOUR, LONGER_THAN_SHORT, SHORT, Worker, create, id, ids_of, new_order, new_order_for, request,
    to_confirmed, write_freely,
};
use crate::domain::priority::Priority;
use crate::ports::order_store::lease::{ClaimScope, ReleaseReason};
use crate::ports::order_store::write::{NewOrder, Then};

fn with_priority(n: u64, priority: Priority) -> NewOrder {
    let new = new_order_for(n, request().with_priority(priority));
    new.with_handicap(priority.handicap())
}

cases!(
    /// An order within its handicap waits for those whose turn has come, and is claimed when there are none.
    async fn a_handicap_lets_others_go_first(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &[new_order(1).with_handicap(HOUR), new_order(2).with_handicap(HOUR)]).await;
        create(&store, &[new_order(3)]).await;
        let worker = Worker::new(&store, 1);
        assert_eq!(ids_of(&worker.claim(1).await), [id(3)]);
        assert_eq!(ids_of(&worker.claim(2).await), [id(1), id(2)]);
    },

    /// When an order's handicap is over, it goes before those that became due later.
    async fn a_handicap_ends(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &[new_order(1).with_handicap(SHORT)]).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        create(&store, &[new_order(2)]).await;
        assert_eq!(ids_of(&Worker::new(&store, 1).claim(1).await), [id(1)]);
    },

    /// A handicap counts from the acceptance, whatever happens meanwhile: an order that was claimed and
    /// released waits for others as before.
    async fn a_release_keeps_the_handicap(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &[new_order(1).with_handicap(HOUR)]).await;
        let worker = Worker::new(&store, 1);
        let lease = worker.claim_one().await.lease;
        worker.release(lease, std::time::Duration::ZERO, ReleaseReason::Yielded).await;
        create(&store, &[new_order(2)]).await;
        assert_eq!(ids_of(&worker.claim(1).await), [id(2)]);
    },

    /// High priority goes before normal, and normal before low, whichever came first.
    async fn priorities_go_first(harness: &impl Harness) {
        let store = harness.store().await;
        for (n, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High)] {
            create(&store, &[with_priority(n, priority)]).await;
        }
        let worker = Worker::new(&store, 1);
        for n in [3, 2, 1] {
            assert_eq!(ids_of(&worker.claim(1).await), [id(n)]);
        }
    },

    /// A priority is worth a time: an order with a handicap longer than that goes last all the same.
    async fn a_high_priority_shortens_a_handicap(harness: &impl Harness) {
        let store = harness.store().await;
        let late = with_priority(1, Priority::High).with_handicap(HOUR);
        create(&store, &[late, with_priority(2, Priority::High).with_handicap(SHORT), new_order(3)]).await;
        let worker = Worker::new(&store, 1);
        assert_eq!(ids_of(&worker.claim(1).await), [id(2)]);
        assert_eq!(ids_of(&worker.claim(1).await), [id(3)]);
        assert_eq!(ids_of(&worker.claim(1).await), [id(1)]);
    },

    /// No priority makes an order due that waits or is held.
    async fn a_high_priority_makes_nothing_due(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &[with_priority(1, Priority::High), with_priority(2, Priority::High), new_order(3)])
            .await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        assert_eq!(ids_of(&claims), [id(1), id(2)]);
        worker.release(claims[1].lease, HOUR, ReleaseReason::Yielded).await;
        assert_eq!(ids_of(&worker.claim(5).await), [id(3)]);
        worker.finds_nothing().await;
    },

    /// An order that must not begin yet is not due, and then it is.
    async fn an_order_waits_for_its_beginning(harness: &impl Harness) {
        let store = harness.store().await;
        let now = store.now().await.unwrap();
        let beginning = |n, delta: TimeDelta| new_order_for(n, request().with_not_before(now + delta));
        let soon = TimeDelta::from_std(SHORT).unwrap();
        create(&store, &[beginning(1, TimeDelta::hours(1)), beginning(2, soon), beginning(3, -soon)]).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.ask(ClaimScope::Any, 5).await;
        let claimed = ids_of(&claims.claims);
        assert!(claimed.contains(&id(3)));
        // A slow store finds the second one due by now.
        let next = claims.next_due_in;
        assert!(claimed.contains(&id(2)) || next.is_some_and(|next| next <= SHORT), "{next:?}");
        harness.elapse(LONGER_THAN_SHORT).await;
        let taken = [ids_of(&claims.claims), ids_of(&worker.claim(5).await)].concat();
        assert_eq!(taken, [id(3), id(2)]);
        assert!(worker.claim_order(id(1)).await.is_empty());
    },

    /// An order that ended has no turn any more.
    async fn an_ended_order_has_no_turn(harness: &impl Harness) {
        let store = harness.store().await;
        let new = with_priority(1, Priority::High);
        create(&store, std::slice::from_ref(&new)).await;
        write_freely(&store, &new.order, Then::Keep, &to_confirmed()).await;
        Worker::new(&store, 1).finds_nothing().await;
    }
);
