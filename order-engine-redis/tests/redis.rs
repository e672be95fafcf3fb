//! What only the Redis store has: keys that other clients may damage, and claims in pages.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::{Scratch, open, run};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, HOUR, Worker, append, assert_stored, cancelled, create, create_one, history, id, ids_of,
    load, new_order, new_order_for, new_orders, order_of, outcome_unknown, register, request, request_named,
    routing_started, to_confirmed, to_submitted, write, write_freely,
};
use order_engine_core::store::{
    Append, AppendError, ClaimScope, FeedPage, FeedRequest, Guard, NonceReservation, PauseRequest,
    PurgeRequest, ReleaseReason, Then,
};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    AccountNonce, Activity, FeedCursor, FeedScope, Fence, Lane, Order, OrderQuery, OrderStore, PauseScope,
    Priority, Status, StoreErrorKind,
};
use order_engine_redis::testing::RedisServer;
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};

#[tokio::test]
async fn prefixes_and_databases_share_nothing() {
    let server = RedisServer::start(&[]);
    let other_prefix = server.options().with_prefix("other").unwrap();
    let other_database = server.url().replace("/0", "/3");
    let other_database = RedisOptions::new(&other_database).unwrap();
    create_one(&open(server.options()).await, 1).await;
    for options in [other_prefix, other_database] {
        let store: Arc<dyn OrderStore> = Arc::new(RedisStore::open(options).await.unwrap());
        assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [None]);
        create_one(&store, 1).await;
    }
}

/// Every key begins with the prefix, so that one grant covers them all.
#[tokio::test]
async fn every_key_is_under_the_prefix_and_none_expires() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    register(&store, "ledger").await;
    let named = new_order_for(1, request_named("alice", "key"));
    create(&store, std::slice::from_ref(&named)).await;
    write_freely(&store, &named.order, AT_ONCE, &to_submitted()).await;
    store.check().await.unwrap();
    let keys: Vec<String> = run(&server, &["KEYS", "*"]).await;
    assert!(keys.len() > 8, "{keys:?}");
    for key in &keys {
        assert!(key.starts_with("{order-engine}:"), "{key}");
        assert_eq!(run::<i64>(&server, &["TTL", key]).await, -1, "{key}");
    }
}

/// A purge deletes all that there is of an order.
#[tokio::test]
async fn a_purge_leaves_no_key() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    let named = new_order_for(1, request_named("alice", "key"));
    create(&store, std::slice::from_ref(&named)).await;
    write_freely(&store, &named.order, AT_ONCE, &to_confirmed()).await;
    let before = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    let everything = PurgeRequest::new(before, u32::MAX);
    assert_eq!(store.purge(&everything).await.unwrap().orders, 1);
    let mut left: Vec<String> = run(&server, &["KEYS", "*"]).await;
    left.sort();
    assert_eq!(left, ["intents", "schema_version"].map(|key| format!("{{order-engine}}:{key}")));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.open().await);
    let () = scratch.run("SET", "schema_version", &["2"]).await;
    let error = RedisStore::open(scratch.options.clone()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Incompatible, "{error}");
    assert!(chain(&error).to_string().contains("newer version of this software"), "{error}");
    // Hints do not depend on the schema.
    RedisFanout::open(scratch.options.clone()).await.unwrap();
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    create(&store, &new_orders(200)).await;
    let () = run(&server, &["SCRIPT", "FLUSH"]).await;
    // Several runs of one script at once, each of which must run once.
    create(&store, &(201..=400).map(new_order).collect::<Vec<_>>()).await;
    let () = run(&server, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(Worker::new(&store, 1).claim(1_000).await.len(), 400);
    let () = run(&server, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(store.backlog().await.unwrap().execute.orders, 400);
}

/// Whatever stands in the due set, the orders that can be leased are.
#[tokio::test]
async fn damage_holds_up_no_other_order() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(6)).await;
    let due = "due:execute";
    let _: u32 = scratch.run("ZADD", due, &["1", "no id at all", "2", &id(99).to_string()]).await;
    // A key that holds something else, a history that is gone, and an epoch beyond Lua's numbers.
    let () = scratch.run("SET", &format!("order:{}", id(1)), &["text"]).await;
    let _: u32 = scratch.run("HDEL", &format!("order:{}", id(2)), &["e1"]).await;
    let _: u32 =
        scratch.run("HSET", &format!("order:{}", id(3)), &["lease", "18446744073709551615  0"]).await;
    let () = scratch.run("RENAME", &format!("order:{}", id(4)), &[&scratch.key("order:no id at all")]).await;
    let worker = Worker::new(&store, 1);
    let claimed: BTreeSet<_> = ids_of(&worker.claim(3).await).into_iter().collect();
    let rest: BTreeSet<_> = ids_of(&worker.claim(9).await).into_iter().collect();
    assert_eq!(claimed.union(&rest).copied().collect::<Vec<_>>(), [id(2), id(5), id(6)]);

    let appends: Vec<_> =
        [1, 2, 5].map(|n| append(&new_order(n).order, FREELY, AT_ONCE, &[routing_started(1)])).to_vec();
    let results = store.append(&appends).await.unwrap();
    assert!(matches!(results[0], Err(AppendError::Rejected(_))), "{results:?}");
    assert!(matches!(results[1], Err(AppendError::Rejected(_))), "{results:?}");
    assert_eq!(results[2], Ok(()));
    assert_eq!(load(&store, id(2)).await.seq, 1);
    let listed = store.list(&OrderQuery::new(99)).await.unwrap();
    assert_eq!(listed.iter().filter(|order| order.is_ok()).count(), 4);
}

#[tokio::test]
async fn damage_to_an_account_holds_up_no_other_one_and_no_purge() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(3)).await;
    let reserving = |n, account: &str| {
        let nonce = AccountNonce::new(account, 0);
        append(&new_order(n).order, FREELY, AT_ONCE, &[cancelled()])
            .with_reservation(Some(NonceReservation::new("main".into(), nonce, 0)))
    };
    assert_eq!(store.append(&[reserving(1, "a")]).await.unwrap(), [Ok(())]);
    let () = scratch.run("SET", r#"nonces:["main","a"]"#, &["text"]).await;
    let results = store.append(&[reserving(2, "a"), reserving(3, "b")]).await.unwrap();
    assert!(matches!(results[0], Err(AppendError::Rejected(_))), "{results:?}");
    assert_eq!(results[1], Ok(()));
    assert_eq!(load(&store, id(2)).await.seq, 1);
    let ended_before = store.now().await.unwrap() + TimeDelta::hours(1);
    let purged = store.purge(&PurgeRequest::new(ended_before, 9)).await.unwrap();
    assert_eq!(purged.orders, 2);
}

/// The same for the orders whose turn is another time than they are due.
#[tokio::test]
async fn damage_among_the_turns_holds_up_no_other_order() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &[1, 2, 3, 4, 5].map(|n| new_order(n).with_handicap(HOUR))).await;
    let _: u32 = scratch.run("ZADD", "turn:execute", &["1", "no id at all", "2", &id(98).to_string()]).await;
    let _: u32 =
        scratch.run("ZADD", "turn_due:execute", &["1", "no id either", "2", &id(99).to_string()]).await;
    // An order without a turn, one without a due time, and a row that says nothing of its turn.
    let _: u32 = scratch.run("ZREM", "turn:execute", &[&id(1).to_string()]).await;
    let _: u32 = scratch.run("ZADD", "turn:execute", &["3", &id(2).to_string()]).await;
    let _: u32 = scratch.run("ZREM", "turn_due:execute", &[&id(2).to_string()]).await;
    let _: u32 = scratch.run("HSET", &format!("order:{}", id(3)), &["lease", "0  0 soon"]).await;
    let () = scratch.run("SET", &format!("order:{}", id(4)), &["text"]).await;
    let worker = Worker::new(&store, 1);
    let mut claimed = BTreeSet::new();
    for _ in 0..4 {
        claimed.extend(ids_of(&worker.claim(3).await));
    }
    assert_eq!(claimed.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5].map(id));
    worker.finds_nothing().await;
}

/// Returns how many commands the server has run.
async fn commands(server: &RedisServer) -> u64 {
    let stats: String = run(server, &["INFO", "commandstats"]).await;
    stats.split(":calls=").skip(1).map(|rest| rest.split(',').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_claim_reads_what_it_takes_whatever_else_is_stored() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    let worker = Worker::new(&store, 1);
    let high = |n| new_order_for(n, request().with_priority(Priority::High));
    let mut next = 1;
    let mut found = Vec::new();
    for count in [20, 400] {
        let numbers = next..next + count;
        next += 3 * count;
        // Leased orders of each turn, and orders that wait for their turn.
        let leased: Vec<_> = numbers.clone().flat_map(|n| [new_order(3 * n), high(3 * n + 1)]).collect();
        create(&store, &leased).await;
        assert_eq!(worker.claim(u32::try_from(leased.len()).unwrap()).await.len(), leased.len());
        create(&store, &numbers.map(|n| new_order(3 * n + 2).with_handicap(HOUR)).collect::<Vec<_>>()).await;
        let first = 1_000_000 + next;
        create(&store, &[new_order(first), high(first + 1)]).await;
        let before = commands(&server).await;
        let claims = worker.claim(3).await;
        assert_eq!(ids_of(&claims)[..2], [id(first + 1), id(first)]);
        assert_eq!(claims.len(), 3);
        found.push(commands(&server).await - before);
    }
    assert_eq!(found[0], found[1], "the number of commands of a claim");
}

#[tokio::test]
async fn numbers_beyond_what_lua_can_count_are_refused() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let order = create_one(&store, 1).await;
    let mut beyond = append(&order, FREELY, AT_ONCE, &[routing_started(1)]);
    beyond.expected_seq = 1 << 53;
    Arc::make_mut(&mut beyond.order).seq = (1 << 53) + 1;
    Arc::make_mut(&mut beyond.events[0]).seq = (1 << 53) + 1;
    assert!(matches!(write(&store, beyond).await, Err(AppendError::Rejected(_))));
    assert_stored(&store, &order).await;

    let worker = Worker::new(&store, 1);
    let claim = worker.claim_one().await;
    let mut beyond = claim.lease;
    beyond.fence.epoch = u64::MAX;
    let stale = append(order_of(&claim), Guard::Fence(beyond.fence), AT_ONCE, &[cancelled()]);
    assert_eq!(write(&store, stale).await, Err(AppendError::StaleFence));
    assert_eq!(store.renew(&[beyond, claim.lease], HOUR).await.unwrap(), [false, true]);
    worker.release(beyond, Duration::ZERO, ReleaseReason::Yielded).await;
    worker.finds_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_orders_due_at_once_are_drained() {
    const ORDERS: u64 = 20_000;
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let orders = new_orders(ORDERS);
    for batch in orders.chunks(1_000) {
        create(&store, batch).await;
    }
    let worker = Worker::new(&store, 1);
    // More than the server gives in one run of a script, and a last page that is not full.
    let mut claimed = Vec::new();
    loop {
        let claims = worker.ask(ClaimScope::Any, 1_500).await;
        if claims.claims.is_empty() {
            break;
        }
        let appends: Vec<_> = claims
            .claims
            .iter()
            .map(|claim| {
                append(order_of(claim), Guard::Fence(claim.lease.fence), Then::Keep, &to_confirmed())
            })
            .collect();
        assert!(store.append(&appends).await.unwrap().iter().all(Result::is_ok));
        claimed.extend(ids_of(&claims.claims));
    }
    // No order is claimed twice. The orders of one batch became due within the same few milliseconds, in any
    // order.
    assert_eq!(claimed.len() as u64, ORDERS);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len() as u64, ORDERS);
    assert_eq!(store.backlog().await.unwrap(), order_engine_core::Backlog::default());
    for lane in [Lane::Execute, Lane::Observe] {
        assert!(store.due_orders(lane, 10).await.unwrap().is_empty());
    }
    let confirmed = OrderQuery::new(3_000).with_status(Status::Confirmed);
    let listed = store.list(&confirmed).await.unwrap();
    let newest: Vec<_> = (ORDERS - 2_999..=ORDERS).rev().map(id).collect();
    assert_eq!(listed.into_iter().map(|order| order.unwrap().id).collect::<Vec<_>>(), newest);
}

/// A claim of more orders than one run of a script takes.
#[tokio::test]
async fn a_claim_of_many_orders_takes_the_longest_due_first() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(600)).await;
    // The order with the largest id became due first.
    let _: u32 = scratch.run("ZADD", "due:execute", &["1", &id(600).to_string()]).await;
    let worker = Worker::new(&store, 1);
    let first = worker.claim(300).await;
    assert_eq!(first.len(), 300);
    assert_eq!(first[0].lease.order_id, id(600));
    assert_eq!(worker.claim(600).await.len(), 300);
    assert!(worker.claim(600).await.is_empty());
}

#[tokio::test]
async fn a_lease_that_ends_at_once_is_given_once_a_call() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(700)).await;
    let worker = Worker::new(&store, 1).with_lease(Duration::ZERO);
    let claims = worker.claim(700).await;
    let ids: BTreeSet<_> = ids_of(&claims).into_iter().collect();
    assert_eq!(ids.len(), claims.len());
    // Of each order, the claim is the current one.
    let leases: Vec<_> = claims.iter().map(|claim| claim.lease).collect();
    assert!(store.renew(&leases, HOUR).await.unwrap().into_iter().all(|is_current| is_current));
}

#[tokio::test]
async fn a_user_with_many_orders_is_listed_by_status() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let orders: Vec<_> =
        (1..=1_200).map(|n| new_order_for(n, request_named("alice", &n.to_string()))).collect();
    create(&store, &orders).await;
    create(&store, &[new_order_for(1_201, request_named("bob", "key"))]).await;
    let end = append(&orders[4].order, FREELY, AT_ONCE, &[cancelled()]);
    write(&store, end).await.unwrap();
    let found = |status, limit| {
        let query = OrderQuery::new(limit).with_user_id("alice".into()).with_status(status);
        let store = Arc::clone(&store);
        async move {
            let listed = store.list(&query).await.unwrap();
            listed.into_iter().map(|order| order.unwrap().id).collect::<Vec<_>>()
        }
    };
    assert_eq!(found(Status::Failed, 10).await, [id(5)]);
    assert_eq!(found(Status::Pending, 5_000).await.len(), 1_199);
    assert_eq!(found(Status::Confirmed, 10).await, []);
    assert_eq!(history(&store, id(5)).await.len(), 2);
}

async fn feed(store: &Arc<dyn OrderStore>, scope: FeedScope, after: FeedCursor, limit: u32) -> FeedPage {
    store.read_feed(&FeedRequest::new(scope, after, limit)).await.unwrap()
}

#[tokio::test]
async fn a_users_feed_goes_through_a_bounded_part_at_a_time() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let of = |n, user: &str| new_order_for(n, request_named(user, &n.to_string()));
    create(&store, &(1..=600).map(|n| of(n, "bob")).collect::<Vec<_>>()).await;
    create(&store, &[of(601, "alice")]).await;
    let alice = FeedScope::User("alice".into());
    let first = feed(&store, alice.clone(), FeedCursor::START, 10).await;
    assert!(first.items.is_empty() && !first.is_last);
    let second = feed(&store, alice, first.next, 10).await;
    assert_eq!(second.items.len(), 1);
    assert!(second.is_last);
}

/// Returns an append of so many events, as if an order did nothing but begin to route.
fn many_events(order: &Order, count: u64) -> Append {
    let mut append = append(&new_order(1).order, FREELY, Then::Keep, &[routing_started(1)]);
    append.expected_seq = order.seq;
    Arc::make_mut(&mut append.order).seq = order.seq + count;
    let first = append.events[0].clone();
    append.events = (1..=count)
        .map(|n| {
            let mut event = (*first).clone();
            event.seq = order.seq + n;
            Arc::new(event)
        })
        .collect();
    append
}

#[tokio::test]
async fn a_page_of_a_history_begins_and_ends_anywhere_in_a_write() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let mut order = create_one(&store, 1).await;
    for count in [3, 100, 1, 2] {
        let append = many_events(&order, count);
        order = Arc::clone(&append.order);
        write(&store, append).await.unwrap();
    }
    assert_eq!(order.seq, 107);
    for after in 0..=108 {
        for limit in [1, 2, 50, 200] {
            let page = store.events(id(1), after, limit).await.unwrap();
            let seqs: Vec<u64> = page.iter().map(|event| event.seq).collect();
            let last = order.seq.min(after + u64::from(limit));
            assert_eq!(seqs, (after + 1..=last).collect::<Vec<_>>(), "{limit} events after {after}");
        }
    }
}

/// Whatever is wrong with some items, the others are written, and each gets its own answer.
#[tokio::test]
async fn items_beside_refused_ones_are_written_in_batches_of_any_size() {
    for count in [1, 63, 64, 65, 128, 129] {
        let scratch = Scratch::new();
        let store = scratch.open().await;
        let orders = new_orders(count + 3);
        create(&store, &orders).await;
        let damaged = orders.len() as u64;
        let _: u32 =
            scratch.run("HSET", &format!("order:{}", id(damaged)), &["summary", "of something else"]).await;
        let of = |n: u64| append(&new_order(n).order, FREELY, AT_ONCE, &[routing_started(1)]);
        let mut appends: Vec<_> = (1..=count).map(of).collect();
        let fence = Fence { epoch: 7, owner: 7 };
        let stale = append(&new_order(count + 1).order, Guard::Fence(fence), AT_ONCE, &[cancelled()]);
        let mut gap = of(count + 2);
        gap.expected_seq = 9;
        let middle = appends.len() / 2;
        for refused in [of(999_999), stale, gap, of(damaged)] {
            appends.insert(middle, refused);
        }
        let results = store.append(&appends).await.unwrap();
        for (n, (append, result)) in appends.iter().zip(&results).enumerate() {
            let is_refused = (middle..middle + 4).contains(&n);
            assert_eq!(result.is_err(), is_refused, "item {n} of {count}: {result:?}");
            if !is_refused {
                assert_eq!(load(&store, append.order.id).await, *append.order);
            }
        }
        assert!(matches!(results[middle], Err(AppendError::Rejected(_))), "{results:?}");
        assert!(matches!(results[middle + 1], Err(AppendError::Rejected(_))), "{results:?}");
        assert_eq!(results[middle + 2], Err(AppendError::StaleFence));
        assert_eq!(results[middle + 3], Err(AppendError::NotFound));
        let routing = store.list(&OrderQuery::new(999).with_status(Status::Routing)).await.unwrap();
        assert_eq!(routing.len() as u64, count);
        let attention = store.list(&OrderQuery::new(9).with_attention()).await.unwrap();
        assert_eq!(attention.iter().filter(|order| order.is_err()).count(), 1, "{attention:?}");
    }
}

/// The later write of a call builds on the earlier one, and the indexes show the last one.
#[tokio::test]
async fn an_order_may_be_written_twice_in_a_call() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let order = create_one(&store, 1).await;
    let claim = Worker::new(&store, 1).claim_one().await;
    let first = append(&order, Guard::Fence(claim.lease.fence), Then::Keep, &to_submitted());
    let second = append(&first.order, FREELY, AT_ONCE, &[outcome_unknown()]);
    let again = append(&order, FREELY, AT_ONCE, &[cancelled()]);
    let last_seq = second.order.seq;
    let results = store.append(&[first.clone(), again, second.clone()]).await.unwrap();
    let stale = Err(AppendError::StaleRevision { actual: first.order.seq });
    assert_eq!(results, [Ok(()), stale, Ok(())]);
    assert_stored(&store, &second.order).await;
    assert_eq!(feed(&store, FeedScope::All, FeedCursor::START, 99).await.items.len() as u64, last_seq);
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.execute.orders, backlog.observe.orders, backlog.attention), (0, 1, 1));
    for (status, count) in [(Status::Pending, 0), (Status::Submitted, 1)] {
        let listed = store.list(&OrderQuery::new(9).with_status(status)).await.unwrap();
        assert_eq!(listed.len(), count, "{status:?}");
    }
    assert_eq!(Worker::new(&store, 2).in_lane(Lane::Observe).claim(9).await.len(), 1);
}

/// Events of one write share a position, and a page may end between them.
#[tokio::test]
async fn a_page_of_the_feed_ends_anywhere_in_a_write() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(2)).await;
    let many: Vec<_> =
        (1..=2).map(|n| append(&new_order(n).order, FREELY, Then::Keep, &to_confirmed())).collect();
    assert!(store.append(&many).await.unwrap().iter().all(Result::is_ok));
    for limit in [1, 3, 5, 13, 14] {
        let (mut after, mut read) = (FeedCursor::START, Vec::new());
        loop {
            let page = feed(&store, FeedScope::All, after, limit).await;
            read.extend(page.items.iter().map(|item| (item.cursor.order_id, item.cursor.seq)));
            after = page.next;
            if page.is_last {
                break;
            }
        }
        let appended = [1, 2].into_iter().flat_map(|n| (2..=7).map(move |seq| (id(n), seq)));
        let expected: Vec<_> = [(id(1), 1), (id(2), 1)].into_iter().chain(appended).collect();
        assert_eq!(read, expected, "pages of {limit}");
    }
    // A cursor whose event is gone is between its neighbours.
    let last_write = feed(&store, FeedScope::All, FeedCursor::START, 14).await.items.pop().unwrap().cursor;
    let between = FeedCursor { order_id: id(1), seq: 99, ..last_write };
    assert_eq!(feed(&store, FeedScope::All, between, 14).await.items.len(), 6);
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_has_its_place_in_the_feed() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    create(&store, &new_orders(6)).await;
    let _: u32 = scratch.run("HSET", &format!("order:{}", id(1)), &["e1", "1 99 {}"]).await;
    let _: u32 = scratch.run("HSET", &format!("order:{}", id(2)), &["head", "0 - 99 {}"]).await;
    let () = scratch.run("SET", &format!("order:{}", id(3)), &["text"]).await;
    let _: u32 = scratch.run("HDEL", &format!("order:{}", id(4)), &["e1"]).await;
    // Nothing is known of this one.
    let _: u32 = scratch.run("DEL", &format!("order:{}", id(5)), &[]).await;
    let page = feed(&store, FeedScope::All, FeedCursor::START, 10).await;
    assert!(page.is_last);
    let found: Vec<_> = page
        .items
        .iter()
        .map(|item| {
            (item.cursor.order_id, item.update.as_ref().err().map(|error| error.error.message.as_str()))
        })
        .collect();
    assert_eq!(found.iter().map(|(order_id, _)| *order_id).collect::<Vec<_>>(), [1, 2, 3, 4, 6].map(id));
    for ((_, error), why) in found.iter().zip(["newer", "newer", "something else", "history"]) {
        assert!(error.is_some_and(|error| error.contains(why)), "{error:?}");
    }
    assert_eq!(found[4].1, None);
}

#[tokio::test]
async fn a_pause_that_only_a_newer_program_knows_is_passed_by() {
    let scratch = Scratch::new();
    let store = scratch.open().await;
    let pause = PauseRequest::new(Activity::Routing, PauseScope::All, "maintenance");
    store.pause(&pause).await.unwrap();
    for field in [r#"dreaming {"kind":"all"}"#, r#"routing {"kind":"galaxy"}"#, "rest"] {
        let _: u32 = scratch.run("HSET", "pauses", &[field, "1 later"]).await;
    }
    let pauses = store.pauses().await.unwrap();
    assert_eq!(pauses.len(), 1);
    assert_eq!((pauses[0].activity, pauses[0].reason.as_str()), (Activity::Routing, "maintenance"));
}
