//! What a restart of all processes leaves, by what the store says of itself.

use std::sync::Arc;

use super::Harness;
use super::cases::cases;
use super::feed::next_in_feed;
use super::fixtures::{
    HOUR, Relay, Worker, assert_stored, create, id, new_order_for, new_orders, register, request_named,
    routing_started, seqs_of, to_confirmed, write_freely,
};
use crate::domain::ids::UserId;
use crate::ports::controls::{Activity, PauseRequest, PauseScope};
use crate::ports::feed::FeedCursor;
use crate::ports::order_store::query::OrderQuery;
use crate::ports::order_store::write::{Creation, Then};
use crate::ports::order_store::{Durability, OrderStore};

/// Opens the data again after all handles are gone. Returns nothing if the store promises nothing; then it
/// answers all the same.
async fn restarted(harness: &impl Harness, store: Arc<dyn OrderStore>) -> Option<Arc<dyn OrderStore>> {
    let promised = store.durability();
    drop(store);
    let store = harness.reopen().await;
    assert_eq!(store.durability(), promised, "a restart changes nothing about the promise");
    assert!(store.list(&OrderQuery::new(1)).await.is_ok());
    (promised != Durability::Volatile).then_some(store)
}

cases!(
    /// Orders, their events and their client order ids are there after a restart.
    async fn orders_survive_a_restart(harness: &impl Harness) {
        let store = harness.store().await;
        let named = new_order_for(1, request_named("alice", "key"));
        create(&store, &[named.clone(), new_orders(2).remove(1)]).await;
        let ended = write_freely(&store, &named.order, Then::Keep, &to_confirmed()).await;
        let Some(store) = restarted(harness, store).await else { return };
        assert_stored(&store, &ended).await;
        let again = new_order_for(3, request_named("alice", "key"));
        let existing = store.create(&[again]).await.unwrap();
        assert!(matches!(&existing[..], [Ok(Creation::Existing(order))] if order.id == id(1)));
        assert_eq!(Worker::new(&store, 1).claim_one().await.lease.order_id, id(2));
    },

    /// An event that was written under a lease is there after a restart, and its holder may go on.
    async fn what_a_worker_wrote_survives_a_restart(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(1)).await;
        let worker = Worker::new(&store, 7);
        let claim = worker.claim_one().await;
        let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        drop(worker);
        let Some(store) = restarted(harness, store).await else { return };
        assert_stored(&store, &order).await;
        Worker::new(&store, 8).finds_nothing().await;
        assert!(Worker::new(&store, 7).renews(claim.lease).await);
    },

    /// Registered sinks and what they still lack are there after a restart.
    async fn the_outbox_survives_a_restart(harness: &impl Harness) {
        let store = harness.store().await;
        register(&store, "ledger").await;
        create(&store, &new_orders(2)).await;
        let relay = Relay::new(&store, "ledger", 1);
        let delivered = relay.claim(1).await.remove(0);
        assert!(relay.ack(&delivered).await);
        drop(relay);
        let Some(store) = restarted(harness, store).await else { return };
        let relay = Relay::new(&store, "ledger", 2).with_lease(HOUR);
        let left = relay.claim_one().await;
        assert_ne!(left.lease.order_id, delivered.lease.order_id);
        assert_eq!(seqs_of(&left), [1]);
    },

    /// What is paused stays paused over a restart.
    async fn pauses_survive_a_restart(harness: &impl Harness) {
        let store = harness.store().await;
        let scope = PauseScope::User(UserId::new("alice"));
        let request = PauseRequest { activity: Activity::Sending, scope, reason: "audit".into() };
        store.pause(&request).await.unwrap();
        let before = store.pauses().await.unwrap();
        let Some(store) = restarted(harness, store).await else { return };
        assert_eq!(store.pauses().await.unwrap(), before);
    },

    /// A cursor of the feed is valid after a restart, and new events come after it.
    async fn feed_cursors_survive_a_restart(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(2)).await;
        let first = next_in_feed(harness, &store, FeedCursor::START).await;
        let Some(store) = restarted(harness, store).await else { return };
        let second = next_in_feed(harness, &store, first.cursor).await;
        assert_ne!(second.update.unwrap().order.id, first.update.unwrap().order.id);
        let end = store.feed_end().await.unwrap();
        create(&store, &new_orders(3)[2..]).await;
        let third = next_in_feed(harness, &store, end).await;
        assert_eq!(third.update.unwrap().order.id, id(3));
    }
);
