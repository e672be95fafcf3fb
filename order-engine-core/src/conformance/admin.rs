//! The backlog, orders that are made due, and purges.

use std::sync::Arc;
use std::time::Duration;

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, HOUR, LONGER_THAN_SHORT, Relay, SHORT, Worker, cancelled, create, create_one, history, id,
    ids_of, moment, new_order, new_order_for, new_orders, outcome_unknown, register, request_named,
    to_confirmed, to_submitted, write_freely,
};
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::lease::ReleaseReason;
use crate::ports::order_store::query::{Backlog, OrderQuery, PurgeRequest, Purged};
use crate::ports::order_store::write::{Creation, Then};

/// Long after every event of a case.
const LATER_MS: u64 = 1_000_000_000;

/// Returns a purge of all orders that have ended, with steps of this size.
fn purge_all(limit: u32) -> PurgeRequest {
    let moment = moment(LATER_MS);
    PurgeRequest::new(moment, limit)
}

async fn listed(store: &Arc<dyn OrderStore>) -> Vec<OrderId> {
    let query = OrderQuery::new(100);
    store.list(&query).await.unwrap().into_iter().map(|order| order.unwrap().id).collect()
}

cases!(
    /// Due orders can be listed without leasing them.
    async fn due_orders_are_listed_without_a_lease(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        let worker = Worker::new(&store, 1);
        let held = worker.claim(1).await;
        let due = store.due_orders(Lane::Execute, 9).await.unwrap();
        assert_eq!(due.len(), 2);
        assert!(!due.contains(&held[0].lease.order_id));
        assert_eq!(store.due_orders(Lane::Execute, 1).await.unwrap(), due[..1]);
        assert_eq!(store.due_orders(Lane::Observe, 9).await.unwrap(), []);
        assert_eq!(ids_of(&worker.claim(9).await), due);
    },

    /// A wait can be ended early.
    async fn an_order_made_due_is_due_at_once(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        worker.release(worker.claim_one().await.lease, HOUR, ReleaseReason::Yielded).await;
        worker.finds_nothing().await;
        store.make_due(order.id).await.unwrap();
        assert_eq!(worker.claim_one().await.lease.order_id, order.id);
    },

    /// Making orders due neither ends a lease nor brings back an order that has ended.
    async fn only_waiting_orders_are_made_due(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let worker = Worker::new(&store, 1);
        let held = worker.claim(1).await.remove(0);
        let ended = worker.claim(1).await.remove(0);
        worker.write(&ended, Then::Keep, &[cancelled()]).await;
        for n in 1..=3 {
            store.make_due(id(n)).await.unwrap();
        }
        worker.finds_nothing().await;
        assert!(worker.renews(held.lease).await);
    },

    /// The backlog counts the orders of each lane and those that are due, with the age of the oldest.
    async fn the_backlog_is_counted(harness: &impl Harness) {
        let store = harness.store().await;
        assert_eq!(store.backlog().await.unwrap(), Backlog::default());
        create(&store, &new_orders(4)).await;
        let worker = Worker::new(&store, 1);
        let claims = worker.claim(2).await;
        worker.write(&claims[0], AT_ONCE, &to_submitted()).await;
        worker.release(claims[1].lease, SHORT, ReleaseReason::Yielded).await;
        harness.elapse(LONGER_THAN_SHORT).await;
        let held = worker.claim(1).await;
        let backlog = store.backlog().await.unwrap();
        assert_eq!((backlog.execute.orders, backlog.execute.due), (3, 2));
        assert!(backlog.execute.due_for.is_some_and(|age| age < HOUR), "{:?}", backlog.execute.due_for);
        assert_eq!((backlog.observe.orders, backlog.observe.due), (1, 1));
        assert!(backlog.observe.due_for.is_some_and(|age| age >= SHORT), "{:?}", backlog.observe.due_for);
        worker.write(&held[0], Then::Keep, &[cancelled()]).await;
        assert_eq!(store.backlog().await.unwrap().execute.orders, 2);
    },

    /// A lane in which no order is due has no age.
    async fn a_lane_without_due_orders_has_no_age(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        Worker::new(&store, 1).claim_one().await;
        let backlog = store.backlog().await.unwrap().execute;
        assert_eq!((backlog.orders, backlog.due, backlog.due_for), (1, 0, None));
    },

    /// Orders of unknown outcome are listed for the operator, and are still observed.
    async fn orders_of_unknown_outcome_are_found_and_due(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let order = create_one(&store, 2).await;
        let order = write_freely(&store, &order, AT_ONCE, &to_submitted()).await;
        let order = write_freely(&store, &order, AT_ONCE, &[outcome_unknown()]).await;
        let query = OrderQuery::new(10).with_attention();
        let found = store.list(&query).await.unwrap();
        assert_eq!(found, [Ok(order.as_ref().clone())]);
        assert_eq!(store.backlog().await.unwrap().attention, 1);
        let observer = Worker::new(&store, 1).in_lane(Lane::Observe);
        assert_eq!(observer.claim_one().await.lease.order_id, id(2));
    },

    /// The backlog of a sink has the age of its oldest entry.
    async fn the_backlog_has_the_age_of_the_oldest_entry(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        harness.elapse(SHORT).await;
        create_one(&store, 2).await;
        let ledger = store.backlog().await.unwrap().sinks.remove(0);
        assert_eq!((&*ledger.sink, ledger.orders), ("ledger", 2));
        assert!(ledger.pending_for.is_some_and(|age| age >= SHORT), "{:?}", ledger.pending_for);
    },

    /// A purge deletes orders that have ended, with all their data, and no others.
    async fn a_purge_deletes_orders_that_have_ended(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(3)).await;
        write_freely(&store, &new_order(1).order, AT_ONCE, &to_confirmed()).await;
        write_freely(&store, &new_order(3).order, AT_ONCE, &[cancelled()]).await;
        let purged = store.purge(&purge_all(10)).await.unwrap();
        assert_eq!(purged, Purged { orders: 2, next: None });
        assert_eq!(listed(&store).await, [id(2)]);
        assert_eq!(store.load(id(1)).await.unwrap(), None);
        assert!(history(&store, id(1)).await.is_empty());
        assert_eq!(Worker::new(&store, 1).claim_one().await.lease.order_id, id(2));
    },

    /// A purge keeps orders that ended at its time limit or after it.
    async fn a_purge_keeps_orders_that_ended_recently(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let ended = write_freely(&store, &order, AT_ONCE, &[cancelled()]).await;
        let request = |ended_before| PurgeRequest {
            ended_before,
            named_ended_before: ended_before,
            after: None,
            limit: 9,
        };
        let purge = |moment| {
            let store = Arc::clone(&store);
            async move { store.purge(&request(moment)).await.unwrap().orders }
        };
        assert_eq!(purge(ended.updated_at).await, 0);
        assert_eq!(purge(ended.updated_at + Duration::from_millis(1)).await, 1);
    },

    /// A client order id is kept for longer, so that a request that is repeated late creates no second order.
    async fn a_purge_keeps_client_order_ids_for_longer(harness: &impl Harness) {
        let store = harness.store().await;
        let named = new_order_for(1, request_named("alice", "key"));
        create(&store, &[named.clone(), new_order(2)]).await;
        for new in [&named, &new_order(2)] {
            write_freely(&store, &new.order, AT_ONCE, &[cancelled()]).await;
        }
        let early = PurgeRequest { named_ended_before: moment(0), ..purge_all(9) };
        assert_eq!(store.purge(&early).await.unwrap().orders, 1);
        let again = new_order_for(3, request_named("alice", "key"));
        let existing = store.create(std::slice::from_ref(&again)).await.unwrap().remove(0).unwrap();
        assert!(matches!(existing, Creation::Existing(order) if order.id == id(1)));
        assert_eq!(store.purge(&purge_all(9)).await.unwrap().orders, 1);
        create(&store, &[again]).await;
    },

    /// A purge in small steps looks at every order once.
    async fn a_purge_goes_in_small_steps(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(7)).await;
        for n in [1, 2, 3, 6] {
            write_freely(&store, &new_order(n).order, AT_ONCE, &[cancelled()]).await;
        }
        let mut request = purge_all(2);
        let mut steps = Vec::new();
        loop {
            let purged = store.purge(&request).await.unwrap();
            steps.push(purged.orders);
            assert!(steps.len() <= 5, "it looks at two orders a step");
            match purged.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        assert_eq!(steps.iter().sum::<u64>(), 4);
        assert!(steps.iter().all(|orders| *orders <= 2));
        assert_eq!(listed(&store).await, [7, 5, 4].map(id));
    },

    /// A purge keeps an order that still has an outbox entry.
    async fn a_purge_keeps_orders_with_outbox_entries(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, AT_ONCE, &[cancelled()]).await;
        assert_eq!(store.purge(&purge_all(9)).await.unwrap().orders, 0);
        let relay = Relay::new(&store, "ledger", 1);
        assert!(relay.ack(&relay.claim_one().await).await);
        assert_eq!(store.purge(&purge_all(9)).await.unwrap().orders, 1);
    }
);
