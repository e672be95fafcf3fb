//! Listing orders.

use super::Harness;
use super::cases::cases;
use super::fixtures::{
    AT_ONCE, Worker, create, create_one, id, ids_of, new_order_for, new_orders, request_named, to_confirmed,
    write_freely,
};
use crate::domain::event::{OrderEvent, Status};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::OrderId;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::query::{OrderQuery, Sort};
use crate::ports::order_store::write::Then;

async fn ids(store: &dyn OrderStore, query: OrderQuery) -> Vec<OrderId> {
    store.list(&query).await.unwrap().into_iter().map(|order| order.unwrap().id).collect()
}

cases!(
    /// Pages of any size contain each order once, newest first.
    async fn lists_are_paged_newest_first_without_a_gap(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(7)).await;
        let whole: Vec<OrderId> = (1..=7).rev().map(id).collect();
        for limit in [1, 2, 3, 7, 8] {
            let mut paged: Vec<OrderId> = Vec::new();
            loop {
                let page =
                    ids(&*store, OrderQuery { before: paged.last().copied(), ..OrderQuery::new(limit) })
                        .await;
                assert!(page.len() <= limit as usize);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "pages of {limit}");
        }
    },

    /// The oldest orders come first if the list is to be so, and pages follow each other in that direction, too.
    async fn lists_are_paged_oldest_first_without_a_gap(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(7)).await;
        for limit in [1, 3, 8] {
            let mut query = OrderQuery::new(limit).with_sort(Sort::OldestFirst);
            let mut paged: Vec<OrderId> = Vec::new();
            loop {
                let page = ids(&*store, query.clone()).await;
                let Some(last) = page.last() else { break };
                query = query.past(*last);
                paged.extend(page);
            }
            assert_eq!(paged, [1, 2, 3, 4, 5, 6, 7].map(id), "pages of {limit}");
        }
    },

    /// A list between two orders contains neither of them, in both directions and beside other conditions.
    async fn lists_are_bounded_on_both_sides(harness: &impl Harness) {
        let store = harness.store().await;
        let orders: Vec<_> = (1..=6)
            .map(|n| {
                new_order_for(n, request_named(if n % 2 == 0 { "alice" } else { "bob" }, &format!("key {n}")))
            })
            .collect();
        create(&store, &orders).await;
        let between = OrderQuery::new(10).with_after(id(1)).with_before(id(6));
        let oldest_first = between.clone().with_sort(Sort::OldestFirst);
        assert_eq!(ids(&*store, between.clone()).await, [5, 4, 3, 2].map(id));
        assert_eq!(ids(&*store, oldest_first.clone()).await, [2, 3, 4, 5].map(id));
        assert_eq!(ids(&*store, between.with_user_id("alice".into())).await, [4, 2].map(id));
        assert_eq!(ids(&*store, oldest_first.with_user_id("bob".into())).await, [3, 5].map(id));
    },

    /// An order that is created between two pages does not shift the second one.
    async fn a_new_order_between_two_pages_shifts_nothing(harness: &impl Harness) {
        let store = harness.store().await;
        create(&store, &new_orders(4)).await;
        let first = ids(&*store, OrderQuery::new(2)).await;
        create_one(&store, 5).await;
        let second = ids(&*store, OrderQuery { before: first.last().copied(), ..OrderQuery::new(2) }).await;
        assert_eq!([first, second].concat(), [4, 3, 2, 1].map(id));
    },

    /// A list by a tag contains the orders with that tag, newest first, also beside other conditions.
    async fn lists_are_filtered_by_tag(harness: &impl Harness) {
        let store = harness.store().await;
        let tagged = |n, user: &str, tag: &str| {
            new_order_for(n, request_named(user, &format!("key {n}")).with_tag(tag))
        };
        let untagged = new_order_for(4, request_named("alice", "key 4"));
        create(&store, &[tagged(1, "alice", "a"), tagged(2, "bob", "a"), tagged(3, "alice", "b"), untagged])
            .await;
        let with = |tag: &str| OrderQuery::new(10).with_tag(tag.into());
        assert_eq!(ids(&*store, with("a")).await, [id(2), id(1)]);
        assert_eq!(ids(&*store, with("a").with_user_id("alice".into())).await, [id(1)]);
        assert_eq!(ids(&*store, with("a").with_before(id(2))).await, [id(1)]);
        assert_eq!(ids(&*store, with("a' OR 1=1 --")).await, []);
        let order = store.load(id(1)).await.unwrap().unwrap();
        write_freely(&store, &order, Then::Keep, &to_confirmed()).await;
        assert_eq!(ids(&*store, with("a").with_status(Status::Confirmed)).await, [id(1)]);
        assert_eq!(ids(&*store, with("a").with_status(Status::Pending)).await, [id(2)]);
    },

    /// A user's list contains that user's orders only.
    async fn lists_are_filtered_by_user(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = [(1, "alice"), (2, "bob"), (3, "alice")];
        let orders: Vec<_> =
            orders.map(|(n, user)| new_order_for(n, request_named(user, &format!("key {n}")))).into();
        create(&store, &orders).await;
        let of = |user: &str| OrderQuery::new(10).with_user_id(user.into());
        assert_eq!(ids(&*store, of("alice")).await, [id(3), id(1)]);
        assert_eq!(ids(&*store, of("bob")).await, [id(2)]);
        assert_eq!(ids(&*store, of("carol")).await, []);
    },

    /// An order is found by the client order id that its user gave it, and by no other user's.
    async fn an_order_is_found_by_its_name(harness: &impl Harness) {
        let store = harness.store().await;
        let orders = [(1, "alice"), (2, "bob")].map(|(n, user)| new_order_for(n, request_named(user, "key")));
        create(&store, &orders).await;
        create_one(&store, 3).await;
        let order = write_freely(&store, &orders[1].order, AT_ONCE, &to_confirmed()).await;
        let named =
            async |user: &str, name: &str| store.load_named(&user.into(), &name.into()).await.unwrap();
        assert_eq!(named("alice", "key").await.as_ref(), Some(&*orders[0].order));
        assert_eq!(named("bob", "key").await.as_ref(), Some(&*order));
        assert_eq!(named("carol", "key").await, None);
        assert_eq!(named("alice", "other").await, None);
    },

    /// A list by status contains the orders that have the status now.
    async fn lists_are_filtered_by_status(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let order = create_one(&store, 2).await;
        let with = |status| OrderQuery::new(10).with_status(status);
        assert_eq!(ids(&*store, with(Status::Pending)).await, [id(2), id(1)]);
        write_freely(&store, &order, AT_ONCE, &to_confirmed()).await;
        assert_eq!(ids(&*store, with(Status::Pending)).await, [id(1)]);
        assert_eq!(ids(&*store, with(Status::Confirmed)).await, [id(2)]);
    },

    /// Orders in quarantine are listed for the operator, and are not due.
    async fn orders_in_quarantine_are_found_and_not_due(harness: &impl Harness) {
        let store = harness.store().await;
        create_one(&store, 1).await;
        let order = create_one(&store, 2).await;
        let failure = Failure::new(FailureCode::QUARANTINED, "it panics");
        let order = write_freely(&store, &order, AT_ONCE, &[OrderEvent::Quarantined { failure }]).await;
        let query = OrderQuery::new(10).with_attention();
        assert_eq!(ids(&*store, query.clone()).await, [id(2)]);
        let worker = Worker::new(&store, 1);
        assert_eq!(ids_of(&worker.claim(9).await), [id(1)]);
        write_freely(&store, &order, AT_ONCE, &[OrderEvent::QuarantineLifted]).await;
        assert_eq!(ids(&*store, query).await, []);
        assert_eq!(ids_of(&worker.claim(9).await), [id(2)]);
    }
);
