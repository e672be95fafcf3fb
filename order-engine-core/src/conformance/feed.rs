//! The feed: the events of many orders in one sequence that can be resumed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::{join, join_all};

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    FREELY, append, create, create_one, history, id, moment, new_order_for, new_orders, register,
    request_named, to_confirmed, to_submitted, write, write_freely,
};
use crate::domain::ids::OrderId;
use crate::domain::order::OrderUpdate;
use crate::ports::feed::{FeedCursor, FeedItem, FeedRequest, FeedScope};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::query::PurgeRequest;
use crate::ports::order_store::write::Then;

/// Reads a feed from a cursor until it has this many events. Returns them, and where to go on.
async fn read(
    harness: &impl Harness,
    store: &Arc<dyn OrderStore>,
    scope: &FeedScope,
    mut after: FeedCursor,
    count: usize,
    limit: u32,
) -> (Vec<OrderUpdate>, FeedCursor) {
    let mut updates = Vec::new();
    loop {
        let request = FeedRequest { scope: scope.clone(), after, limit };
        let page = store.read_feed(&request).await.expect("the store answers");
        assert!(page.items.len() <= limit as usize);
        for item in page.items {
            assert!(item.cursor > after, "cursors grow");
            after = item.cursor;
            updates.push(item.update.expect("the event can be read"));
        }
        assert!(page.next >= after, "the next page goes on behind the last item");
        after = page.next;
        if updates.len() >= count && page.is_last {
            return (updates, after);
        }
        if page.is_last {
            // What other transactions hold up comes when they have ended.
            harness.elapse(Duration::from_millis(10)).await;
            // Time on a manual clock passes without letting the writers run.
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the first item behind a cursor. It may take until other transactions have ended.
pub(super) async fn next_in_feed(
    harness: &impl Harness,
    store: &Arc<dyn OrderStore>,
    after: FeedCursor,
) -> FeedItem {
    let request = FeedRequest { scope: FeedScope::All, after, limit: 1 };
    loop {
        let page = store.read_feed(&request).await.expect("the store answers");
        if let Some(first) = page.items.into_iter().next() {
            return first;
        }
        harness.elapse(Duration::from_millis(10)).await;
    }
}

fn seqs(updates: &[OrderUpdate], id: OrderId) -> Vec<u64> {
    updates.iter().filter(|update| update.order.id == id).map(|update| update.event.seq).collect()
}

cases!(
    /// An empty store has an empty feed.
    async fn an_empty_feed_has_an_end(harness: &impl Harness) {
        let store = harness.store().await;
        let request = FeedRequest { scope: FeedScope::All, after: FeedCursor::START, limit: 10 };
        let page = store.read_feed(&request).await.unwrap();
        assert!(page.items.is_empty() && page.is_last);
        let end = store.feed_end().await.unwrap();
        assert!(end >= page.next);
    },

    /// Every event is in the feed once, with its order, whatever the size of the pages.
    async fn every_event_is_in_the_feed_once(harness: &impl Harness) {
        let store = harness.store().await;
        for n in 1..=3 {
            let order = create_one(&store, n).await;
            write_freely(&store, &order, Then::Keep, &to_submitted()).await;
        }
        for limit in [1, 2, 5, 100] {
            let (updates, _) = read(harness, &store, &FeedScope::All, FeedCursor::START, 18, limit).await;
            assert_eq!(updates.len(), 18, "pages of {limit}");
            for n in 1..=3 {
                assert_eq!(seqs(&updates, id(n)), [1, 2, 3, 4, 5, 6]);
                let stored = store.load(id(n)).await.unwrap().unwrap();
                let events: Vec<_> = updates.iter().filter(|update| update.order.id == id(n)).collect();
                assert!(events.iter().all(|update| update.order == stored.head()));
                assert!(events.iter().map(|update| &*update.event).eq(&history(&store, id(n)).await));
            }
        }
    },

    /// Nothing that was committed before a cursor was taken comes after it, and everything that was committed
    /// later does.
    async fn a_feed_goes_on_after_its_end(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let (_, after) = read(harness, &store, &FeedScope::All, FeedCursor::START, 1, 10).await;
        let end = store.feed_end().await.unwrap();
        write_freely(&store, &order, Then::Keep, &to_submitted()).await;
        create_one(&store, 2).await;
        for cursor in [after, end] {
            let (updates, _) = read(harness, &store, &FeedScope::All, cursor, 6, 4).await;
            assert_eq!((seqs(&updates, id(1)), seqs(&updates, id(2))), (vec![2, 3, 4, 5, 6], vec![1]));
        }
    },

    /// A user's feed has that user's events only, and its cursors are those of everybody's feed.
    async fn a_users_feed_has_that_users_events(harness: &impl Harness) {
        let store = harness.store().await;
        let users = [(1, "alice"), (2, "bob"), (3, "alice"), (4, "bob")];
        for (n, user) in users {
            let new = new_order_for(n, request_named(user, &format!("key {n}")));
            create(&store, std::slice::from_ref(&new)).await;
            write_freely(&store, &new.order, Then::Keep, &to_submitted()[..1]).await;
        }
        let alice = FeedScope::User("alice".into());
        for limit in [1, 3, 100] {
            let (updates, end) = read(harness, &store, &alice, FeedCursor::START, 4, limit).await;
            let of_alice: Vec<OrderId> = updates.iter().map(|update| update.order.id).collect();
            assert_eq!(of_alice.len(), 4, "pages of {limit}");
            assert_eq!((seqs(&updates, id(1)), seqs(&updates, id(3))), (vec![1, 2], vec![1, 2]));
            let (later, _) = read(harness, &store, &FeedScope::All, end, 0, 100).await;
            assert_eq!(seqs(&later, id(1)), [0_u64; 0]);
            assert_eq!(seqs(&later, id(3)), [0_u64; 0]);
        }
        let (nobodys, _) =
            read(harness, &store, &FeedScope::User("eve".into()), FeedCursor::START, 0, 9).await;
        assert!(nobodys.is_empty());
    },

    /// While many write at the same time, a reader that follows the feed misses nothing and sees each order's
    /// events in their order.
    async fn a_reader_misses_nothing_while_others_write(harness: &impl Harness) {
        const WRITERS: u64 = 4;
        const ORDERS: u64 = 8;
        let store = harness.store().await;
        register(&store, "ledger").await;
        let write_all = |writer: u64| async move {
            let store = harness.store().await;
            for n in 1..=ORDERS {
                let new = new_orders(writer * 100 + n).pop().expect("at least one");
                create(&store, std::slice::from_ref(&new)).await;
                let mut order = new.order;
                for event in to_confirmed() {
                    let next = append(&order, FREELY, Then::Keep, &[event]);
                    order = Arc::clone(&next.order);
                    assert_eq!(write(&store, next).await, Ok(()));
                }
            }
        };
        let total = usize::try_from(WRITERS * ORDERS * 7).unwrap();
        let reading = read(harness, &store, &FeedScope::All, FeedCursor::START, total, 7);
        let ((updates, _), _) = join(reading, join_all((1..=WRITERS).map(write_all))).await;
        let mut seen: BTreeMap<OrderId, u64> = BTreeMap::new();
        for update in &updates {
            let last = seen.entry(update.order.id).or_default();
            assert_eq!(update.event.seq, *last + 1, "order {}", update.order.id);
            *last += 1;
        }
        assert_eq!(updates.len(), total);
    },

    /// The events of a purged order are gone, and a cursor among them is still valid.
    async fn a_purge_takes_its_events_out_of_the_feed(harness: &impl Harness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        write_freely(&store, &order, Then::Keep, &to_confirmed()).await;
        let (_, middle) = read(harness, &store, &FeedScope::All, FeedCursor::START, 7, 3).await;
        create_one(&store, 2).await;
        let far = moment(0) + TimeDelta::days(1);
        let request = PurgeRequest::new(far, 10);
        assert_eq!(store.purge(&request).await.unwrap().orders, 1);
        for cursor in [FeedCursor::START, middle] {
            let (updates, _) = read(harness, &store, &FeedScope::All, cursor, 1, 10).await;
            assert_eq!((seqs(&updates, id(1)), seqs(&updates, id(2))), (vec![], vec![1]));
        }
    }
);
