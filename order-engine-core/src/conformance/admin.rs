//! Counting, rousing and forgetting.

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
use crate::ports::order_store::query::{OrderQuery, PurgeRequest, Purged};
use crate::ports::order_store::write::{Creation, Then};

/// Long after everything in the case.
const LATER_MS: u64 = 1_000_000_000;

/// A purge of everything that ended, with steps of this size.
fn purge_all(limit: u32) -> PurgeRequest {
    let moment = moment(LATER_MS);
    PurgeRequest { ended_before: moment, named_ended_before: moment, after: None, limit }
}

async fn listed(store: &Arc<dyn OrderStore>) -> Vec<OrderId> {
    let query = OrderQuery { limit: 100, ..OrderQuery::default() };
    store.list(&query).await.unwrap().into_iter().map(|order| order.unwrap().id).collect()
}

cases!(
    admin,
    /// What is due can be looked at without taking it.
    async fn due_orders_can_be_looked_at(harness: &impl Harness) {
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
    /// A wait can be cut short.
    async fn an_order_made_due_is_due_at_once(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        worker.release(worker.claim_one().await.lease, HOUR, ReleaseReason::Yielded).await;
        worker.finds_nothing().await;
        store.make_due(order.id).await.unwrap();
        assert_eq!(worker.claim_one().await.lease.order_id, order.id);
    },
    /// Making an order due takes no order from its worker and brings none back.
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
    /// The backlog tells what is due, what is not, and for how long.
    async fn the_backlog_is_counted(harness: &impl Harness) {
        let store = harness.store().await;
        assert_eq!(store.backlog().await.unwrap(), crate::ports::order_store::query::Backlog::default());
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
    /// A lane in which nothing is due has no age.
    async fn nothing_due_has_no_age(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        Worker::new(&store, 1).claim_one().await;
        let backlog = store.backlog().await.unwrap().execute;
        assert_eq!((backlog.orders, backlog.due, backlog.due_for), (1, 0, None));
    },
    /// An operator finds orders of unknown outcome, which go on being observed.
    async fn orders_of_unknown_outcome_are_found_and_due(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let order = create_one(&store, 2).await;
        let order = write_freely(&store, &order, AT_ONCE, &to_submitted()).await;
        let order = write_freely(&store, &order, AT_ONCE, &[outcome_unknown()]).await;
        let query = OrderQuery { attention: true, limit: 10, ..OrderQuery::default() };
        let found = store.list(&query).await.unwrap();
        assert_eq!(found, [Ok(order.as_ref().clone())]);
        assert_eq!(store.backlog().await.unwrap().attention, 1);
        let observer = Worker::new(&store, 1).in_lane(Lane::Observe);
        assert_eq!(observer.claim_one().await.lease.order_id, id(2));
    },
    /// How long a sink has waited is told by its oldest debt.
    async fn the_age_of_a_debt_is_told(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create_one(&store, 1).await;
        harness.elapse(SHORT).await;
        create_one(&store, 2).await;
        let owed = store.backlog().await.unwrap().sinks.remove(0);
        assert_eq!((&*owed.sink, owed.orders), ("ledger", 2));
        assert!(owed.pending_for.is_some_and(|age| age >= SHORT), "{:?}", owed.pending_for);
    },
    /// Orders that ended go with everything about them, those that did not stay.
    async fn a_purge_forgets_what_ended(harness: &impl Harness) {
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
    /// What ended at the moment or after it stays.
    async fn a_purge_keeps_what_ended_lately(harness: &impl Harness) {
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
    /// A name is kept for longer, so that a request that is repeated late makes no second order.
    async fn a_purge_keeps_names_for_longer(harness: &impl Harness) {
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
    /// However small its steps, a purge looks at every order once.
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
    /// An order of which a sink is still owed something is kept for it.
    async fn a_purge_keeps_what_a_sink_is_owed(harness: &impl Harness) {
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
