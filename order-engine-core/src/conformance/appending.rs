//! What an append writes, and how it changes the order's lease and due time.

use std::sync::Arc;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, FREELY, HOUR, LONGER_THAN_SHORT, SHORT, Worker, append, assert_stored, attempt_failed,
    cancelled, create, create_one, history, id, ids_of, load, new_order, new_orders, order_of, route_chosen,
    routing_started, to_confirmed, to_submitted, write, write_freely,
};
use crate::domain::codec::ItemRejected;
use crate::domain::event::OrderEvent;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::state::step::Lane;
use crate::domain::verdict::DeathProof;
use crate::ports::order_store::lease::Fence;
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};

async fn is_refused(harness: &impl Harness, spoil: impl FnOnce(&mut Append)) {
    let store = harness.store().await;
    let order = create_one(&store, 1).await;
    let mut bad = append(&order, FREELY, AT_ONCE, &[routing_started(1), route_chosen()]);
    spoil(&mut bad);
    let result = write(&store, bad).await;
    assert!(matches!(result, Err(AppendError::Rejected(ItemRejected { .. }))), "{result:?}");
    assert_stored(&store, &order).await;
}

fn append_to_stranger() -> Append {
    append(&new_order(2).order, FREELY, AT_ONCE, &[routing_started(1), route_chosen()])
}

cases!(
    /// After each event the stored state is the fold of the stored events.
    async fn the_state_is_the_fold_of_the_events(harness: &impl Harness) {
        let store = harness.store().await;
        let mut order = create_one(&store, 1).await;
        for event in to_confirmed() {
            order = write_freely(&store, &order, Then::Keep, &[event]).await;
            assert_stored(&store, &order).await;
        }
        assert_eq!(order.seq, 7);
        assert!(order.status().is_terminal());
    },

    /// Events that are appended together are stored in their order.
    async fn an_append_of_several_events_writes_them_all(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &to_submitted()).await;
        assert_stored(&store, &order).await;
        let kinds: Vec<&str> =
            history(&store, order.id).await.iter().map(|event| event.event.kind()).collect();
        let expected: Vec<&str> = to_submitted().iter().map(OrderEvent::kind).collect();
        assert_eq!(kinds[1..], expected);
    },

    /// A state does not change without an event.
    async fn an_append_without_events_is_refused(harness: &impl Harness) {
        is_refused(harness, |append| append.events.clear()).await;
    },

    /// A history has no gap.
    async fn events_that_leave_a_gap_are_refused(harness: &impl Harness) {
        is_refused(harness, |append| drop(append.events.remove(0))).await;
    },

    /// A history contains the events of its own order only.
    async fn an_event_of_another_order_is_refused(harness: &impl Harness) {
        is_refused(harness, |append| {
            let stranger = append_to_stranger();
            append.events[1] = Arc::clone(&stranger.events[1]);
        })
        .await;
    },

    /// An order that was never created cannot be appended to.
    async fn an_append_to_an_unknown_order_is_not_found(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        assert_eq!(write(&store, append_to_stranger()).await, Err(AppendError::NotFound));
        let fence = Fence { epoch: 1, owner: 1 };
        let fenced = Append { guard: Guard::Fence(fence), ..append_to_stranger() };
        assert_eq!(write(&store, fenced).await, Err(AppendError::NotFound));
        assert_eq!(history(&store, id(2)).await, []);
        assert_eq!(store.last_seqs(&[id(2)]).await.unwrap(), [None]);
    },

    /// A refused append changes neither the order nor its history, its lease or its due time.
    async fn a_refused_append_changes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        let stale = append(order_of(&claim), Guard::Fence(claim.lease.fence), AT_ONCE, &[cancelled()]);
        assert_eq!(write(&store, stale).await, Err(AppendError::StaleRevision { actual: 2 }));
        assert_stored(&store, &order).await;
        worker.finds_nothing().await;
        assert!(worker.renews(claim.lease).await);
    },

    /// `Then::Keep` neither ends nor prolongs the lease, however often the worker writes.
    async fn keep_keeps_the_lease_and_its_expiry(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let mut claim = worker.claim_one().await;
        for event in [routing_started(1), route_chosen()] {
            claim.order = Ok(worker.write(&claim, Then::Keep, &[event]).await);
        }
        assert_eq!(store.renew(&[claim.lease], SHORT).await.unwrap(), [true]);
        claim.order = Ok(worker.write(&claim, Then::Keep, &[OrderEvent::BuildStarted]).await);
        worker.finds_nothing().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let successor = Worker::new(&store, 2).claim_one().await;
        assert_eq!(order_of(&successor), order_of(&claim));
    },

    /// `Then::Release` ends the lease: the next worker may claim the order.
    async fn release_ends_the_lease(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, AT_ONCE, &[routing_started(1)]).await;
        assert!(!worker.renews(claim.lease).await);
        let late = append(&order, Guard::Fence(claim.lease.fence), AT_ONCE, &[route_chosen()]);
        assert_eq!(write(&store, late).await, Err(AppendError::StaleFence));
        assert_eq!(order_of(&Worker::new(&store, 2).claim_one().await), &order);
    },

    /// A release with a delay makes the order wait: a backoff is a row that is due later.
    async fn release_for_later_is_due_later(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        for (claim, due_in) in claims.iter().zip([SHORT, HOUR]) {
            let then = Then::Release { due_in };
            worker.write(claim, then, &[routing_started(1), attempt_failed()]).await;
        }
        worker.finds_nothing().await;
        harness.elapse(LONGER_THAN_SHORT).await;
        assert_eq!(ids_of(&worker.claim(2).await), [claims[0].lease.order_id]);
    },

    /// An order is in the lane that its state requires.
    async fn the_lane_follows_the_state(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let executor = Worker::new(&store, 1);
        let observer = Worker::new(&store, 2).in_lane(Lane::Observe);
        write_freely(&store, &order, AT_ONCE, &to_submitted()).await;
        executor.finds_nothing().await;
        let claim = observer.claim_one().await;
        let failure = Failure::new(FailureCode::TRANSACTION_FAILED, "Below the minimum");
        let died = OrderEvent::TransactionDied {
            proof: DeathProof::Reverted,
            failure,
            class: FailureClass::Requote,
        };
        let order = observer.write(&claim, AT_ONCE, &[died]).await;
        observer.finds_nothing().await;
        assert_eq!(order_of(&executor.claim_one().await), &order);
    },

    /// A leased order changes its lane as well, so that the observers take over if the worker dies after the
    /// submission.
    async fn a_leased_order_changes_its_lane_too(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let worker = Worker::new(&store, 1).with_lease(SHORT);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &to_submitted()).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        worker.finds_nothing().await;
        let observer = Worker::new(&store, 2).in_lane(Lane::Observe);
        assert_eq!(order_of(&observer.claim_one().await), &order);
    },

    /// A terminal event ends the lease, and the order is never due again, whatever the append asks for.
    async fn a_terminal_event_ends_the_lease_in_any_case(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(3).await;
        for (claim, then) in claims.iter().zip([Then::Keep, AT_ONCE, Then::Release { due_in: SHORT }]) {
            let order = worker.write(claim, then, &to_confirmed()).await;
            assert!(!worker.renews(claim.lease).await);
            assert_eq!(load(&store, order.id).await, *order);
        }
        harness.elapse(LONGER_THAN_SHORT).await;
        worker.finds_nothing().await;
        worker.in_lane(Lane::Observe).finds_nothing().await;
    }
);
