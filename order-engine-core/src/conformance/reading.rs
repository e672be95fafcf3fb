//! Reading orders and their events.

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, Worker, assert_stored, create, create_one, history, id, load, new_orders, routing_started,
    to_confirmed, to_submitted, write_freely,
};
use crate::domain::event::EventRecord;
use crate::ports::order_store::write::Then;

cases!(
    /// Pages of any size contain each event once, in order.
    async fn events_are_paged_without_a_gap(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let order = write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        let whole = history(&store, order.id).await;
        assert!(whole.iter().map(|event| event.seq).eq(1..=7));
        for limit in [1, 2, 3, 7, 8] {
            let mut paged: Vec<EventRecord> = Vec::new();
            loop {
                let after = paged.last().map_or(0, |event| event.seq);
                let page = store.events(order.id, after, limit).await.unwrap();
                assert!(page.len() <= limit as usize);
                assert!(page.iter().all(|event| event.seq > after));
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "pages of {limit}");
        }
    },

    /// A page after the last event is empty, however far after it.
    async fn there_are_no_events_after_the_last(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        for after in [1, 2, u64::from(u32::MAX), i64::MAX.cast_unsigned(), u64::MAX] {
            assert_eq!(store.events(order.id, after, 10).await.unwrap(), [], "after {after}");
        }
        assert_eq!(store.events(order.id, 0, 0).await.unwrap(), []);
    },

    /// An unknown order is not found, which is no error.
    async fn reads_of_unknown_orders_find_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        assert_eq!(store.load(id(2)).await.unwrap(), None);
        assert_eq!(store.last_seqs(&[id(2)]).await.unwrap(), [None]);
        assert_eq!(history(&store, id(2)).await, []);
    },

    /// Results are in the order of the requested ids.
    async fn results_are_in_the_order_of_the_request(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = new_orders(3);
        create(&store, &orders).await;
        write_freely(&store, &orders[1].order, AT_ONCE, &[routing_started(1)]).await;
        let asked = [id(3), id(9), id(2), id(3), id(1)];
        for (order_id, found) in asked.iter().zip([true, false, true, true, true]) {
            let loaded = store.load(*order_id).await.unwrap();
            assert_eq!(loaded.map(|order| order.id), found.then_some(*order_id));
        }
        assert_eq!(store.last_seqs(&asked).await.unwrap(), [Some(1), None, Some(2), Some(1), Some(1)]);
    },

    /// A subscriber that gets no hint finds every event when it reads.
    async fn a_lost_hint_loses_no_event(harness: &impl Harness) {
        let (store, subscriber) = (harness.store().await, harness.store().await);
        let mut order = create_one(&store, 1).await;
        let mut seen = history(&subscriber, order.id).await;
        for event in to_confirmed() {
            order = write_freely(&store, &order, Then::Keep, &[event]).await;
            assert_eq!(subscriber.last_seqs(&[order.id]).await.unwrap(), [Some(order.seq)]);
            let last = seen.last().map_or(0, |event| event.seq);
            seen.extend(subscriber.events(order.id, last, 10).await.unwrap());
        }
        assert!(seen.iter().map(|event| event.seq).eq(1..=order.seq));
    },

    /// What one process has written, another reads and continues.
    async fn another_handle_sees_what_was_written(harness: &impl Harness) {
        let (here, there) = (harness.store().await, harness.store().await);
        let order = create_one(&here, 1).await;
        assert_eq!(load(&there, order.id).await, *order);
        let worker = Worker::new(&there, 1);
        let claim = worker.claim_one().await;
        Worker::new(&here, 2).finds_nothing().await;
        let order = worker.write(&claim, Then::Keep, &to_submitted()).await;
        assert_stored(&here, &order).await;
        assert!(Worker::new(&here, 1).renews(claim.lease).await, "a lease belongs to no handle");
    },

    /// The check of a store that works succeeds.
    async fn the_check_of_a_healthy_store_succeeds(harness: &impl Harness) {
        let store = harness.store().await;
        assert!(store.check().await.is_ok());
        create_one(&store, 1).await;
        assert!(harness.store().await.check().await.is_ok());
    }
);
