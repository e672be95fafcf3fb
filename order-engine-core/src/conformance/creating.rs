//! Creating orders, each at most once.

use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, HOUR, LONGER_THAN_SHORT, SHORT, Worker, append, assert_stored, create, create_one, history, id,
    ids_of, new_order, new_order_for, new_orders, request, request_named, routing_started, to_confirmed,
    write, write_freely,
};
use crate::domain::amount::Amount;
use crate::domain::event::EventRecord;
use crate::domain::order::Order;
use crate::domain::priority::Priority;
use crate::ports::order_store::lease::Lease;
use crate::ports::order_store::write::{AppendError, Creation, FirstLease, Guard, NewOrder, Then};

/// Returns the result of a creation that finds this order in the store.
fn existing(order: &Order) -> Creation {
    Creation::Existing(Box::new(order.clone()))
}

cases!(
    /// A new order is read back as it was created, with its first event.
    async fn a_new_order_is_stored_as_it_was_given(harness: &impl Harness) {
        let store = harness.store().await;
        let new = new_order_for(1, request_named("alice", "first"));
        create(&store, std::slice::from_ref(&new)).await;
        assert_stored(&store, &new.order).await;
        assert_eq!(history(&store, new.order.id).await, [EventRecord::clone(&new.event)]);
        assert_eq!(store.last_seqs(&[new.order.id]).await.unwrap(), [Some(1)]);
    },

    /// A new order can be claimed at once.
    async fn a_new_order_is_due_at_once(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let claim = Worker::new(&store, 1).claim_one().await;
        assert_eq!(claim.lease.order_id, order.id);
    },

    /// An order that is created under a lease is its creator's, until the lease expires.
    async fn a_new_order_may_be_leased_at_once(harness: &impl Harness) {
        let store = harness.store().await;
        let leased = |n, duration| new_order(n).with_lease(Some(FirstLease::new(7, duration)));
        let urgent = new_order_for(3, request().with_priority(Priority::High))
            .with_lease(Some(FirstLease::new(7, HOUR)));
        let own = leased(1, HOUR);
        create(&store, &[own.clone(), urgent, new_order(4)]).await;
        let other = Worker::new(&store, 8);
        assert_eq!(ids_of(&other.claim(9).await), [id(4)]);
        let lease = |n| Lease::new(id(n), FirstLease::new(7, HOUR).fence());
        assert!(Worker::new(&store, 7).renews(lease(1)).await);
        let lost = leased(2, SHORT);
        create(&store, std::slice::from_ref(&lost)).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let claims = other.claim(9).await;
        assert_eq!(ids_of(&claims), [id(2)], "a head start does not count against a lease");
        assert_eq!((claims[0].lease.fence.epoch, claims[0].claims_without_progress), (2, 2));
        let guard = |n| Guard::Fence(lease(n).fence);
        let stale = append(&lost.order, guard(2), AT_ONCE, &[routing_started(1)]);
        assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
        let own = append(&own.order, guard(1), AT_ONCE, &[routing_started(1)]);
        let own_order = Arc::clone(&own.order);
        assert_eq!(write(&store, own).await, Ok(()));
        assert_stored(&store, &own_order).await;
    },

    /// A request that is an order already takes no lease of it.
    async fn a_repeated_request_takes_no_lease(harness: &impl Harness) {
        let store = harness.store().await;
        let first = new_order_for(1, request_named("alice", "key"));
        create(&store, std::slice::from_ref(&first)).await;
        let again =
            new_order_for(2, request_named("alice", "key")).with_lease(Some(FirstLease::new(7, HOUR)));
        let results = store.create(std::slice::from_ref(&again)).await.unwrap();
        assert_eq!(results, [Ok(existing(&first.order))]);
        assert_eq!(Worker::new(&store, 1).claim_one().await.lease.order_id, id(1));
    },

    /// A repeated request returns the order of the first one.
    async fn a_used_client_order_id_returns_the_existing_order(harness: &impl Harness) {
        let store = harness.store().await;
        let first = new_order_for(1, request_named("alice", "key"));
        create(&store, std::slice::from_ref(&first)).await;
        let again = new_order_for(2, request_named("alice", "key"));
        let results = store.create(std::slice::from_ref(&again)).await.unwrap();
        assert_eq!(results, [Ok(existing(&first.order))]);
        assert_eq!(store.load(again.order.id).await.unwrap(), None);
        assert_eq!(history(&store, again.order.id).await, []);
    },

    /// Another request with a used client order id returns the first order, so that the engine can compare
    /// the two.
    async fn a_used_client_order_id_with_another_payload_returns_the_existing_order(harness: &impl Harness) {
        let store = harness.store().await;
        let first = new_order_for(1, request_named("alice", "key"));
        create(&store, std::slice::from_ref(&first)).await;
        let mut other = request_named("alice", "key");
        other.amount = Amount::new(1);
        let results = store.create(&[new_order_for(2, other)]).await.unwrap();
        assert_eq!(results, [Ok(existing(&first.order))]);
        assert_stored(&store, &first.order).await;
    },

    /// Within one call the first item creates the order, and the later ones return it.
    async fn a_client_order_id_twice_in_one_batch_creates_one_order(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = [
            new_order_for(1, request_named("alice", "key")),
            new_order_for(2, request_named("alice", "key")),
            new_order_for(3, request_named("alice", "other")),
            new_order_for(4, request_named("alice", "key")),
        ];
        let results = store.create(&orders).await.unwrap();
        let (created, first) = (Ok(Creation::Created), Ok(existing(&orders[0].order)));
        assert_eq!(results, [created.clone(), first.clone(), created, first]);
        assert_eq!(
            store.last_seqs(&[id(1), id(2), id(3), id(4)]).await.unwrap(),
            [Some(1), None, Some(1), None]
        );
    },

    /// The end of an order does not free its client order id.
    async fn a_client_order_id_stays_used_after_the_order_has_ended(harness: &impl Harness) {
        let store = harness.store().await;
        let first = new_order_for(1, request_named("alice", "key"));
        create(&store, std::slice::from_ref(&first)).await;
        let ended = write_freely(&store, &first.order, AT_ONCE, &to_confirmed()).await;
        let results = store.create(&[new_order_for(2, request_named("alice", "key"))]).await.unwrap();
        assert_eq!(results, [Ok(existing(&ended))]);
    },

    /// Two users may use the same client order id.
    async fn client_order_ids_are_per_user(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = [
            new_order_for(1, request_named("alice", "key")),
            new_order_for(2, request_named("bob", "key")),
            // Neither the pair's text nor its order may be confused.
            new_order_for(3, request_named("key", "alice")),
            new_order_for(4, request_named("alicek", "ey")),
        ];
        create(&store, &orders).await;
        assert_eq!(store.last_seqs(&[id(1), id(2), id(3), id(4)]).await.unwrap(), [Some(1); 4]);
    },

    /// Client order ids that look alike are different ids.
    async fn client_order_ids_are_compared_exactly(harness: &impl Harness) {
        let store = harness.store().await;
        // The last two are an accented letter as one character and as two.
        let keys = ["key", "Key", "key ", " key", "k\u{e9}y", "ke\u{301}y", "1", "1.0", "01"];
        let orders: Vec<NewOrder> =
            (1..).zip(keys).map(|(n, key)| new_order_for(n, request_named("alice", key))).collect();
        create(&store, &orders).await;
    },

    /// Each request without a client order id creates an order.
    async fn orders_without_a_client_order_id_never_collide(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        create(&store, &[new_order_for(4, request())]).await;
        assert_eq!(store.last_seqs(&[id(1), id(2), id(3), id(4)]).await.unwrap(), [Some(1); 4]);
    },

    /// A repeated request returns the order with its current status.
    async fn the_existing_order_is_returned_in_its_current_state(harness: &impl Harness) {
        let store = harness.store().await;
        let first = new_order_for(1, request_named("alice", "key"));
        create(&store, std::slice::from_ref(&first)).await;
        let now = write_freely(&store, &first.order, AT_ONCE, &[routing_started(1)]).await;
        let results = store.create(&[new_order_for(2, request_named("alice", "key"))]).await.unwrap();
        assert_eq!(results, [Ok(existing(&now))]);
    },

    /// A creation whose reply was lost can be repeated, with or without a client order id.
    async fn a_repeated_creation_returns_the_existing_order(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = [new_order(1), new_order_for(2, request_named("alice", "key"))];
        create(&store, &orders).await;
        let results = store.create(&orders).await.unwrap();
        assert_eq!(results, [Ok(existing(&orders[0].order)), Ok(existing(&orders[1].order))]);
        for new in &orders {
            assert_eq!(history(&store, new.order.id).await.len(), 1);
        }
    },

    /// A repeated creation changes neither the order nor its lease.
    async fn a_repeated_creation_changes_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        let new = new_order(1);
        create(&store, std::slice::from_ref(&new)).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        let results = store.create(std::slice::from_ref(&new)).await.unwrap();
        assert_eq!(results, [Ok(existing(&order))]);
        assert_stored(&store, &order).await;
        assert!(worker.renews(claim.lease).await);
        worker.finds_nothing().await;
    },

    /// An order that contradicts its event is refused, and the others are written.
    async fn an_inconsistent_order_does_not_affect_the_rest_of_the_batch(harness: &impl Harness) {
        let store = harness.store().await;
        let [first, mut bad, last] = [new_order(1), new_order(2), new_order(3)];
        bad.event = Arc::clone(&first.event);
        let results = store.create(&[first, bad, last]).await.unwrap();
        assert_eq!(results[0], Ok(Creation::Created));
        assert!(results[1].is_err(), "{:?}", results[1]);
        assert_eq!(results[2], Ok(Creation::Created));
        assert_eq!(store.last_seqs(&[id(1), id(2), id(3)]).await.unwrap(), [Some(1), None, Some(1)]);
    },

    /// A call without items is answered, and changes nothing.
    async fn calls_without_items_do_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        assert_eq!(store.create(&[]).await.unwrap(), []);
        assert_eq!(store.append(&[]).await.unwrap(), []);
        assert_eq!(store.renew(&[], Duration::from_secs(1)).await.unwrap(), Vec::<bool>::new());
        store.release(&[]).await.unwrap();
        assert_eq!(store.last_seqs(&[]).await.unwrap(), []);
        let worker = Worker::new(&store, 1);
        assert!(worker.claim(0).await.is_empty());
        assert_eq!(worker.claim_one().await.lease.fence.epoch, 1, "it was never claimed before");
    }
);
