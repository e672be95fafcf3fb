//! Transactions of which a kill left the first commands in the append-only file, and which a later
//! transaction completes when the server loads that file again.

// Each test runs on one thread, and its state is what its first part returns.
#![allow(clippy::future_not_send, clippy::ptr_arg)]

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::{append_only_file, open, run};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, FREELY, HOUR, Relay, Worker, append, assert_stored, cancelled, create, create_one, history, id,
    load, new_order, new_order_for, new_orders, outcome_unknown, register, request, request_named,
    routing_started, seqs_of, to_confirmed, to_submitted, write, write_freely,
};
use order_engine_core::store::{
    Append, AppendError, Claim, Creation, Delivery, FeedRequest, FirstLease, Guard, NonceReservation,
    PurgeRequest, ReleaseReason, Then,
};
use order_engine_core::{
    AccountNonce, FeedCursor, FeedScope, NewOrder, Order, OrderEvent, OrderId, OrderQuery, OrderState,
    OrderStore, Priority, Status,
};
use order_engine_redis::RedisOptions;
use order_engine_redis::testing::{DURABLE, RedisServer};

type Store = Arc<dyn OrderStore>;

/// Returns where each command in a part of the file ends.
fn command_ends(bytes: &[u8]) -> Vec<usize> {
    let line = |from: usize| {
        let length = bytes[from..].windows(2).position(|pair| pair == b"\r\n").unwrap();
        let number = std::str::from_utf8(&bytes[from + 1..from + length]).unwrap();
        (number.parse::<usize>().unwrap(), from + length + 2)
    };
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (arguments, mut next) = line(at);
        for _ in 0..arguments {
            let (length, text) = line(next);
            next = text + length + 2;
        }
        ends.push(next);
        at = next;
    }
    ends
}

fn is_command(bytes: &[u8], name: &str) -> bool {
    bytes.ends_with(format!("\r\n{name}\r\n").as_bytes())
}

/// Returns whether the file has a transaction without its end.
fn is_open(bytes: &[u8]) -> bool {
    let (mut is_open, mut from) = (false, 0);
    for end in command_ends(bytes) {
        let command = &bytes[from..end];
        is_open = (is_open || is_command(command, "MULTI")) && !is_command(command, "EXEC");
        from = end;
    }
    is_open
}

/// Returns where the first transaction can be torn so that the server leaves it open: one byte after each of
/// its commands but the last.
fn cuts(written: &[u8]) -> Vec<usize> {
    let (mut cuts, mut from) = (Vec::new(), 0);
    for end in command_ends(written) {
        if is_command(&written[from..end], "EXEC") {
            break;
        }
        cuts.push(end + 1);
        from = end;
    }
    assert!(cuts.len() > 1, "there is a transaction");
    cuts
}

/// Tears the first transaction of `torn` at each place where it can be torn, as if its caller got no reply.
/// Each time, the server starts, `later` writes to what is there, the server is killed and starts once more,
/// and `check` checks the result.
async fn torn_anywhere<S>(
    before: impl AsyncFn(Store, &RedisServer) -> S,
    torn: impl AsyncFn(Store, &S),
    later: impl AsyncFn(Store, &S),
    check: impl AsyncFn(Store, &S),
) {
    let server = RedisServer::start(&DURABLE);
    let start = open(server.options()).await;
    let state = before(Arc::clone(&start), &server).await;
    let file = append_only_file(&server);
    let intact = std::fs::read(&file).unwrap();
    torn(start, &state).await;
    let written = std::fs::read(&file).unwrap().split_off(intact.len());
    for cut in cuts(&written) {
        server.kill();
        std::fs::write(&file, [&intact[..], &written[..cut]].concat()).unwrap();
        server.restart();
        assert!(is_open(&std::fs::read(&file).unwrap()), "the server leaves the transaction open");
        later(open(server.options()).await, &state).await;
        server.kill();
        server.restart();
        let store = open(server.options()).await;
        println!("torn after {cut} of {} bytes", written.len());
        assert_consistent(&server).await;
        check(Arc::clone(&store), &state).await;
        goes_on(&store).await;
        assert_consistent(&server).await;
    }
}

/// Writes something else, which completes the torn transaction in the file.
async fn something_else<S>(store: Store, _: &S) {
    create_one(&store, 99).await;
}

/// Returns the numbers of the first event and of the last one of each write in a row, which follow each other.
fn writes_of(row: &BTreeMap<String, String>) -> Vec<(u64, u64)> {
    let first_seqs = row.keys().filter_map(|field| field.strip_prefix('e')?.parse::<u64>().ok());
    let last_seq = |first| row[&format!("e{first}")].split(' ').next().unwrap().parse::<u64>().unwrap();
    let writes: BTreeMap<u64, u64> = first_seqs.map(|first| (first, last_seq(first))).collect();
    let mut next = 1;
    for (first, last) in &writes {
        assert_eq!(*first, next, "{row:?}");
        next = last + 1;
    }
    writes.into_iter().collect()
}

/// Checks that every row has its history, and that each index has exactly the orders that belong into it.
async fn assert_consistent(server: &RedisServer) {
    let keys: Vec<String> = run(server, &["KEYS", "*"]).await;
    let of = |kind: &str| -> Vec<String> {
        let prefix = format!("{{order-engine}}:{kind}:");
        keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let members = async |key: String| -> BTreeSet<String> {
        run(server, &["ZRANGE", &format!("{{order-engine}}:{key}"), "0", "-1"]).await
    };
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut client_order_ids: BTreeSet<(String, String, String)> = BTreeSet::new();
    let mut nonces: BTreeSet<(String, String, String)> = BTreeSet::new();
    let rows: BTreeSet<String> = of("order").into_iter().collect();
    for id in &rows {
        let row: BTreeMap<String, String> =
            run(server, &["HGETALL", &format!("{{order-engine}}:order:{id}")]).await;
        let [_, seq, status, lane, attention, _] = row["summary"].split(' ').collect::<Vec<_>>()[..] else {
            panic!("{row:?}")
        };
        let writes = writes_of(&row);
        assert_eq!(writes.last().unwrap().1.to_string(), seq, "the history of {id}");
        let mut belongs = vec!["orders".to_owned(), format!("user:{}", row["user"])];
        belongs.push(format!("status:{status}"));
        let has_turn = row["lease"].split(' ').count() > 3;
        if lane != "-" && has_turn {
            belongs.extend([format!("turn_due:{lane}"), format!("turn:{lane}")]);
        } else if lane != "-" {
            belongs.push(format!("due:{lane}"));
        }
        if let Some(tag) = row.get("tag") {
            belongs.push(format!("tag:{tag}"));
        }
        for (first, last) in writes {
            let digits = last.to_string();
            let letter = char::from(b'@' + u8::try_from(digits.len()).unwrap());
            wanted.entry("feed".to_owned()).or_default().insert(format!("{id} {letter}{digits} {first}"));
        }
        if attention != "-" {
            belongs.push("attention".to_owned());
        }
        let outbox: BTreeMap<String, String> =
            run(server, &["HGETALL", &format!("{{order-engine}}:outbox:{id}")]).await;
        for sink in outbox.keys() {
            belongs.extend([format!("outbox_due:{sink}"), format!("outbox_pending:{sink}")]);
        }
        for index in belongs {
            wanted.entry(index).or_default().insert(id.clone());
        }
        if let Some(client) = row.get("client_order_id") {
            client_order_ids.insert((row["user"].clone(), client.clone(), id.clone()));
        }
        for line in row.get("nonces").map_or("", String::as_str).lines() {
            let (nonce, account) = line.split_once(' ').unwrap();
            nonces.insert((account.to_owned(), nonce.to_owned(), id.clone()));
        }
    }
    for id in of("outbox") {
        assert!(rows.contains(&id), "outbox entries of {id}, which is gone");
    }
    let mut indexes = vec!["orders".to_owned(), "attention".to_owned(), "feed".to_owned()];
    for kind in ["user", "tag", "status", "due", "turn_due", "turn", "outbox_due", "outbox_pending"] {
        indexes.extend(of(kind).into_iter().map(|name| format!("{kind}:{name}")));
    }
    for index in &indexes {
        let found = members(index.clone()).await;
        assert_eq!(found, wanted.remove(index).unwrap_or_default(), "{index}");
    }
    assert!(wanted.is_empty(), "missing: {wanted:?}");
    let mut stored = BTreeSet::new();
    for user in of("client_order_ids") {
        let found: BTreeMap<String, String> =
            run(server, &["HGETALL", &format!("{{order-engine}}:client_order_ids:{user}")]).await;
        stored.extend(found.into_iter().map(|(client, id)| (user.clone(), client, id)));
    }
    assert_eq!(stored, client_order_ids);
    let mut reserved = BTreeSet::new();
    for account in of("nonces") {
        let found: BTreeMap<String, String> =
            run(server, &["HGETALL", &format!("{{order-engine}}:nonces:{account}")]).await;
        let id = |owner: &str| owner.split_once(' ').unwrap().0.to_owned();
        reserved.extend(found.into_iter().map(|(nonce, owner)| (account.clone(), nonce, id(&owner))));
    }
    assert_eq!(reserved, nonces);
}

/// Checks that no order is stuck: each has a history that leads to its state, and accepts another event.
async fn goes_on(store: &Store) {
    let everything = OrderQuery::new(99);
    for order in store.list(&everything).await.unwrap() {
        let order = order.unwrap();
        assert_stored(store, &order).await;
        if order.state.lane().is_some() {
            let next = if order.status() == Status::Submitted { outcome_unknown() } else { cancelled() };
            let is_flagged = order.state.attention().is_some() && order.status() == Status::Submitted;
            if !is_flagged {
                let order = write_freely(store, &order, AT_ONCE, &[next]).await;
                assert_stored(store, &order).await;
            }
        }
    }
}

/// Delivers all that waits for a sink, and returns the numbers of the events of each order.
async fn delivered(store: &Store, sink: &str) -> BTreeMap<OrderId, BTreeSet<u64>> {
    let relay = Relay::new(store, sink, 9);
    let mut delivered: BTreeMap<OrderId, BTreeSet<u64>> = BTreeMap::new();
    loop {
        let deliveries = relay.claim(99).await;
        if deliveries.is_empty() {
            return delivered;
        }
        for delivery in deliveries {
            delivered.entry(delivery.lease.order_id).or_default().extend(seqs_of(&delivery));
            assert!(relay.ack(&delivery).await);
        }
    }
}

/// Returns orders of which one has its turn when it is due, one before that, and one after it.
fn orders_of_each_turn() -> [NewOrder; 3] {
    let high = new_order_for(2, request().with_priority(Priority::High));
    [new_order(1), high, new_order(3).with_handicap(HOUR)]
}

async fn claimed_orders(store: Store, _: &RedisServer) -> Vec<Claim> {
    register(&store, "ledger").await;
    create(&store, &orders_of_each_turn()).await;
    Worker::new(&store, 1).claim(3).await
}

/// Writes to three orders at once: one is submitted and needs attention, one ends, one goes on.
async fn writes_of_a_worker(store: Store, claims: &Vec<Claim>) {
    let unclear: Vec<OrderEvent> = to_submitted().into_iter().chain([outcome_unknown()]).collect();
    let events = [unclear, to_confirmed(), vec![routing_started(1)]];
    let appends: Vec<_> = claims.iter().zip(&events).map(|(claim, events)| fenced(claim, events)).collect();
    assert!(store.append(&appends).await.unwrap().iter().all(Result::is_ok));
}

fn fenced(claim: &Claim, events: &[OrderEvent]) -> Append {
    append(claim.order.as_ref().unwrap(), Guard::Fence(claim.lease.fence), Then::Keep, events)
}

async fn sinks_have_all_events(store: Store, _: &Vec<Claim>) {
    let delivered = delivered(&store, "ledger").await;
    for n in 1..=3 {
        let order = load(&store, id(n)).await;
        assert!(delivered[&order.id].iter().copied().eq(1..=order.seq), "{delivered:?}");
    }
}

#[tokio::test]
async fn a_torn_append_is_written_whole_or_not_at_all() {
    torn_anywhere(claimed_orders, writes_of_a_worker, something_else, sinks_have_all_events).await;
}

#[tokio::test]
async fn what_is_written_after_a_torn_append_holds() {
    let later = async |store: Store, claims: &Vec<Claim>| {
        let events = [vec![cancelled()], vec![routing_started(1), cancelled()], to_submitted()[..3].to_vec()];
        for (claim, events) in claims.iter().zip(events) {
            write(&store, fenced(claim, &events)).await.unwrap();
        }
    };
    let check = async |store: Store, claims: &Vec<Claim>| {
        for (claim, (status, seq)) in
            claims.iter().zip([(Status::Failed, 2), (Status::Failed, 3), (Status::Building, 4)])
        {
            let order = load(&store, claim.lease.order_id).await;
            assert_eq!((order.status(), order.seq), (status, seq));
            let events = history(&store, order.id).await;
            assert_eq!(OrderState::replay(&events), Ok(order.state));
        }
        sinks_have_all_events(store, claims).await;
    };
    torn_anywhere(claimed_orders, writes_of_a_worker, later, check).await;
}

/// Returns the append of an order's events with a nonce.
fn reserving(order: &Order, nonce: u64, events: &[OrderEvent]) -> Append {
    let nonce = AccountNonce::new("a", nonce);
    append(order, FREELY, AT_ONCE, events).with_reservation(Some(NonceReservation::new(
        "main".into(),
        nonce,
        0,
    )))
}

/// Reserves the next nonce for a new order, and returns which one it is.
async fn next_nonce(store: &Store, n: u64) -> u64 {
    let order = create_one(store, n).await;
    let mut nonce = 0;
    loop {
        let append = reserving(&order, nonce, &[routing_started(1)]);
        match store.append(&[append]).await.unwrap().remove(0) {
            Ok(()) => return nonce,
            Err(AppendError::NonceTaken { free }) => nonce = free,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Creates three orders, of which the third has the nonce 0.
async fn orders_and_a_nonce(store: Store, _: &RedisServer) {
    register(&store, "ledger").await;
    create(&store, &new_orders(3)).await;
    write(&store, reserving(&new_order(3).order, 0, &[routing_started(1)])).await.unwrap();
}

/// Reserves the nonces 1 and 2 with one call for two orders.
async fn two_nonces(store: Store, (): &()) {
    let orders = [new_order(1).order, new_order(2).order];
    let appends =
        [reserving(&orders[0], 1, &[routing_started(1)]), reserving(&orders[1], 2, &to_submitted())];
    assert_eq!(store.append(&appends).await.unwrap(), [Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_torn_append_has_its_nonce_if_it_is_written() {
    let check = async |store: Store, (): &()| {
        let written = [load(&store, id(1)).await.seq > 1, load(&store, id(2)).await.seq > 1];
        // The first order is written before the second one.
        let next = match written {
            [false, _] => 1,
            [true, false] => 2,
            [true, true] => 3,
        };
        assert_eq!(next_nonce(&store, 4).await, next, "{written:?}");
    };
    torn_anywhere(orders_and_a_nonce, two_nonces, something_else, check).await;
}

#[tokio::test]
async fn a_nonce_that_was_taken_after_a_torn_append_stays_with_its_order() {
    let later = async |store: Store, (): &()| {
        assert_eq!([next_nonce(&store, 4).await, next_nonce(&store, 5).await], [1, 2]);
    };
    let check = async |store: Store, (): &()| assert_eq!(next_nonce(&store, 6).await, 3);
    torn_anywhere(orders_and_a_nonce, two_nonces, later, check).await;
}

#[tokio::test]
async fn a_torn_append_leaves_no_gap_if_its_order_is_written_since() {
    for events in [vec![routing_started(1)], vec![routing_started(1), cancelled()]] {
        let later = async |store: Store, (): &()| {
            // As many events as the torn append of the first order has, or one more.
            write_freely(&store, &new_order(1).order, AT_ONCE, &events).await;
            write_freely(&store, &new_order(2).order, AT_ONCE, &[cancelled()]).await;
        };
        let check = async |store: Store, (): &()| {
            assert_eq!([next_nonce(&store, 4).await, next_nonce(&store, 5).await], [1, 2]);
        };
        torn_anywhere(orders_and_a_nonce, two_nonces, later, check).await;
    }
}

#[tokio::test]
async fn a_nonce_that_is_reserved_again_after_a_torn_append_is_reserved() {
    let later = async |store: Store, (): &()| two_nonces(store, &()).await;
    let check = async |store: Store, (): &()| assert_eq!(next_nonce(&store, 4).await, 3);
    torn_anywhere(orders_and_a_nonce, two_nonces, later, check).await;
}

/// Redis treats what follows a torn transaction as part of it: without a repair, the next kill would lose an
/// answered write of one command.
#[tokio::test]
async fn an_answered_write_of_one_command_after_a_torn_one_survives() {
    let later = async |store: Store, claims: &Vec<Claim>| {
        register(&store, "late").await;
        assert!(Worker::new(&store, 1).renews(claims[0].lease).await);
    };
    let check = async |store: Store, _: &Vec<Claim>| {
        let backlog = store.backlog().await.unwrap();
        assert!(backlog.sinks.iter().any(|sink| &*sink.sink == "late"), "{backlog:?}");
    };
    torn_anywhere(claimed_orders, writes_of_a_worker, later, check).await;
}

async fn one_order(store: Store, _: &RedisServer) {
    register(&store, "ledger").await;
    create_one(&store, 1).await;
}

async fn three_creations(store: Store, (): &()) {
    let named = |n, key| new_order_for(n, request_named("alice", key).with_tag(key));
    let lease = Some(FirstLease::new(7, HOUR));
    let orders = [named(2, "a").with_lease(lease), named(3, "b").with_handicap(HOUR), new_order(4)];
    create(&store, &orders).await;
}

async fn ids_in(store: &Store) -> BTreeSet<OrderId> {
    let everything = OrderQuery::new(99);
    store.list(&everything).await.unwrap().into_iter().map(|order| order.unwrap().id).collect()
}

/// Their creator got no reply, and every query since has answered that they do not exist.
#[tokio::test]
async fn orders_of_a_torn_creation_are_deleted() {
    let check = async |store: Store, (): &()| {
        assert_eq!(ids_in(&store).await, BTreeSet::from([1, 99].map(id)));
        assert_eq!(Worker::new(&store, 1).claim(9).await.len(), 2);
        create(&store, &[new_order_for(12, request_named("alice", "a"))]).await;
    };
    torn_anywhere(one_order, three_creations, something_else, check).await;
}

/// A client that got no reply repeats its request, and must not get two orders of one name.
#[tokio::test]
async fn orders_that_are_created_again_after_a_torn_creation_are_there_once() {
    let named = |n, key| new_order_for(n, request_named("alice", key));
    let later = async |store: Store, (): &()| {
        create(&store, &[named(12, "a"), named(13, "b"), new_order(4)]).await;
    };
    let check = async |store: Store, (): &()| {
        assert_eq!(ids_in(&store).await, BTreeSet::from([1, 4, 12, 13].map(id)));
        let repeated = store.create(&[named(22, "a"), named(23, "b")]).await.unwrap();
        for (creation, wanted) in repeated.into_iter().zip([id(12), id(13)]) {
            assert!(matches!(creation, Ok(Creation::Existing(order)) if order.id == wanted));
        }
        let delivered = delivered(&store, "ledger").await;
        assert_eq!(delivered.into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([1, 4, 12, 13].map(id)));
        assert_eq!(Worker::new(&store, 1).claim(9).await.len(), 4);
    };
    torn_anywhere(one_order, three_creations, later, check).await;
}

#[tokio::test]
async fn a_sink_gets_the_events_after_a_torn_acknowledgement() {
    let before = async |store: Store, server: &RedisServer| {
        one_order(Arc::clone(&store), server).await;
        let relay = Relay::new(&store, "ledger", 1).with_lease(Duration::ZERO);
        relay.claim_one().await
    };
    let torn = async |store: Store, delivery: &Delivery| {
        assert!(Relay::new(&store, "ledger", 1).ack(delivery).await);
    };
    let later = async |store: Store, _: &Delivery| {
        write_freely(&store, &new_order(1).order, AT_ONCE, &[routing_started(1)]).await;
    };
    let check = async |store: Store, _: &Delivery| {
        assert!(delivered(&store, "ledger").await[&id(1)].contains(&2));
    };
    torn_anywhere(before, torn, later, check).await;
}

#[tokio::test]
async fn a_sink_that_is_registered_again_after_a_torn_unregistration_gets_all_events() {
    let torn = async |store: Store, (): &()| {
        assert_eq!(store.unregister_sink("ledger", 9).await.unwrap(), 1);
    };
    let later = async |store: Store, (): &()| {
        register(&store, "ledger").await;
        write_freely(&store, &new_order(1).order, AT_ONCE, &[routing_started(1)]).await;
    };
    let check = async |store: Store, (): &()| {
        assert!(delivered(&store, "ledger").await[&id(1)].contains(&2));
    };
    torn_anywhere(one_order, torn, later, check).await;
}

/// Deletes all orders that ended, and returns how many it deleted.
async fn purge_everything(store: &Store) -> u64 {
    let moment = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    store.purge(&PurgeRequest::new(moment, 9)).await.unwrap().orders
}

#[tokio::test]
async fn a_torn_purge_leaves_orders_whole_or_nothing_of_them() {
    let before = async |store: Store, _: &RedisServer| {
        let orders = [1, 2].map(|n| new_order_for(n, request_named("alice", &n.to_string()).with_tag("a")));
        create(&store, &orders).await;
        for (new, nonce) in orders.iter().zip(0..) {
            write(&store, reserving(&new.order, nonce, &to_confirmed())).await.unwrap();
        }
    };
    let purge = async |store: Store, (): &()| {
        purge_everything(&store).await;
    };
    let check = async |store: Store, (): &()| {
        purge_everything(&store).await;
        assert_eq!(ids_in(&store).await, BTreeSet::from([id(99)]));
        assert_eq!(next_nonce(&store, 4).await, 0);
    };
    torn_anywhere(before, purge, something_else, check).await;
}

#[tokio::test]
async fn a_torn_release_flags_no_order_that_was_written_since() {
    let before = async |store: Store, _: &RedisServer| {
        create_one(&store, 1).await;
        Worker::new(&store, 1).claim(1).await
    };
    let torn = async |store: Store, claims: &Vec<Claim>| {
        Worker::new(&store, 1).release(claims[0].lease, HOUR, ReleaseReason::Undecodable).await;
    };
    let later = async |store: Store, claims: &Vec<Claim>| {
        Worker::new(&store, 1).write(&claims[0], AT_ONCE, &[routing_started(1)]).await;
    };
    let check = async |store: Store, _: &Vec<Claim>| {
        assert_eq!(store.backlog().await.unwrap().attention, 0);
    };
    torn_anywhere(before, torn, later, check).await;
}

#[tokio::test]
async fn a_torn_claim_takes_no_order_from_the_next_claimer() {
    let before = async |store: Store, _: &RedisServer| create(&store, &orders_of_each_turn()).await;
    let torn = async |store: Store, (): &()| {
        assert_eq!(Worker::new(&store, 1).claim(9).await.len(), 3);
    };
    let later = async |store: Store, (): &()| {
        let worker = Worker::new(&store, 2);
        for claim in worker.claim(9).await {
            worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
        }
    };
    let check = async |store: Store, (): &()| {
        for n in 1..=3 {
            assert_eq!(load(&store, id(n)).await.seq, 2);
        }
        Worker::new(&store, 3).finds_nothing().await;
    };
    torn_anywhere(before, torn, later, check).await;
}

/// Reads the feed from a cursor to its end. Returns the events, and where to go on.
async fn read_feed(store: &Store, mut after: FeedCursor) -> (Vec<(OrderId, u64)>, FeedCursor) {
    let mut events = Vec::new();
    loop {
        let request = FeedRequest::new(FeedScope::All, after, 3);
        let page = store.read_feed(&request).await.unwrap();
        events.extend(
            page.items.into_iter().map(|item| (item.cursor.order_id, item.update.unwrap().event.seq)),
        );
        after = page.next;
        if page.is_last {
            return (events, after);
        }
    }
}

/// Checks that a reader who stopped after some events of the feed gets all others, each once and each order's
/// in their order, and that the feed has no more than the histories.
async fn continues_the_feed(store: &Store, (read, cursor): &(Vec<(OrderId, u64)>, FeedCursor)) {
    let stored: BTreeSet<OrderId> = ids_in(store).await;
    let mut seen: BTreeMap<OrderId, u64> = BTreeMap::new();
    let (rest, _) = read_feed(store, *cursor).await;
    for (id, seq) in read.iter().chain(&rest).filter(|(id, _)| stored.contains(id)) {
        let last = seen.entry(*id).or_default();
        assert_eq!(*seq, *last + 1, "{id}: {read:?}, then {rest:?}");
        *last += 1;
    }
    assert!(rest.iter().all(|(id, _)| stored.contains(id)), "{rest:?}");
    for id in stored {
        assert_eq!(seen.get(&id), Some(&load(store, id).await.seq), "{id}");
    }
    let (all, _) = read_feed(store, FeedCursor::START).await;
    assert_eq!(all.len() as u64, seen.values().sum::<u64>(), "{all:?}");
}

/// What a reader of the feed had read when the server was killed for the second time.
type Reader = RefCell<(Vec<(OrderId, u64)>, FeedCursor)>;

/// The reader has read beyond the place at which the torn write takes effect in the end.
#[tokio::test]
async fn a_reader_of_the_feed_misses_no_event_of_a_torn_append() {
    let before = async |store: Store, server: &RedisServer| -> (Vec<Claim>, Reader) {
        (claimed_orders(store, server).await, Reader::default())
    };
    let torn = async |store: Store, (claims, _): &(Vec<Claim>, Reader)| {
        writes_of_a_worker(store, claims).await;
    };
    let later = async |store: Store, (claims, reader): &(Vec<Claim>, Reader)| {
        // One of the orders is written to again, so that its torn events never happened.
        write(&store, fenced(&claims[0], &[routing_started(1), cancelled()])).await.unwrap();
        create_one(&store, 99).await;
        reader.replace(read_feed(&store, FeedCursor::START).await);
    };
    let check = async |store: Store, (_, reader): &(Vec<Claim>, Reader)| {
        continues_the_feed(&store, &reader.take()).await;
    };
    torn_anywhere(before, torn, later, check).await;
}

#[tokio::test]
async fn a_reader_of_the_feed_sees_nothing_of_a_torn_creation() {
    let before = async |store: Store, server: &RedisServer| -> Reader {
        one_order(store, server).await;
        Reader::default()
    };
    let torn = async |store: Store, _: &Reader| three_creations(store, &()).await;
    let later = async |store: Store, reader: &Reader| {
        create(&store, &[new_order(4)]).await;
        reader.replace(read_feed(&store, FeedCursor::START).await);
    };
    let check = async |store: Store, reader: &Reader| {
        continues_the_feed(&store, &reader.take()).await;
        assert_eq!(ids_in(&store).await, BTreeSet::from([1, 4].map(id)));
    };
    torn_anywhere(before, torn, later, check).await;
}

#[tokio::test]
async fn a_reader_of_the_feed_reads_no_event_again_after_a_torn_purge() {
    let before = async |store: Store, _: &RedisServer| -> Reader {
        create(&store, &new_orders(2)).await;
        for n in 1..=2 {
            write_freely(&store, &new_order(n).order, AT_ONCE, &to_confirmed()).await;
        }
        Reader::default()
    };
    let torn = async |store: Store, _: &Reader| assert_eq!(purge_everything(&store).await, 2);
    let later = async |store: Store, reader: &Reader| {
        create_one(&store, 99).await;
        reader.replace(read_feed(&store, FeedCursor::START).await);
    };
    let check = async |store: Store, reader: &Reader| continues_the_feed(&store, &reader.take()).await;
    torn_anywhere(before, torn, later, check).await;
}

/// A repair is a write too, and can be torn as well.
#[tokio::test]
async fn a_torn_repair_is_done_again() {
    let before = async |store: Store, server: &RedisServer| {
        claimed_orders(Arc::clone(&store), server).await;
        // These notes say that an append to two orders was torn, and the creation of a third one.
        let note = format!("append\n{}\n1\n{}\n1", id(1), id(2));
        let _: u32 = run(
            server,
            &["HSET", "{order-engine}:intents", "7", &note, "8", &format!("create\n{}\n0", id(4))],
        )
        .await;
        for n in [1, 2, 4] {
            let row = format!("{{order-engine}}:order:{}", id(n));
            let _: u32 = run(server, &["HSET", &row, "e4", "4 2 []"]).await;
            let _: u32 =
                run(server, &["ZADD", "{order-engine}:status:routing", "0", &id(n).to_string()]).await;
        }
        server.options()
    };
    let torn = async |_: Store, options: &RedisOptions| {
        open(options.clone()).await;
    };
    torn_anywhere(before, torn, something_else, async |_: Store, _: &RedisOptions| ()).await;
}

/// Whatever added an event beyond the order's own number.
#[tokio::test]
async fn an_event_beyond_its_order_is_not_read_and_not_delivered_and_overwritten() {
    let server = RedisServer::start(&DURABLE);
    let store = open(server.options()).await;
    register(&store, "ledger").await;
    let order = create_one(&store, 1).await;
    let row = format!("{{order-engine}}:order:{}", id(1));
    let ghost = r#"2 2 [{"words":"of a torn write"}]"#;
    let _: u64 = run(&server, &["HSET", &row, "e2", ghost]).await;
    assert_stored(&store, &order).await;
    let relay = Relay::new(&store, "ledger", 1);
    let delivery = relay.claim_one().await;
    assert_eq!(seqs_of(&delivery), [1]);
    assert!(relay.ack(&delivery).await);
    relay.finds_nothing().await;
    let order = write_freely(&store, &order, AT_ONCE, &[cancelled()]).await;
    assert_stored(&store, &order).await;
    assert_eq!(seqs_of(&relay.claim_one().await), [2]);
}

/// An order whose history is gone needs an operator, and must not be tried in silence for ever.
#[tokio::test]
async fn an_order_ahead_of_its_history_gets_attention() {
    let server = RedisServer::start(&DURABLE);
    let store = open(server.options()).await;
    create(&store, &new_orders(2)).await;
    for n in 1..=2 {
        write_freely(&store, &new_order(n).order, AT_ONCE, &[routing_started(1)]).await;
        let row = format!("{{order-engine}}:order:{}", id(n));
        let _: u64 = run(&server, &["HDEL", &row, "e2"]).await;
    }
    // A worker that claims it gets an error, as for any order that cannot be decoded.
    let worker = Worker::new(&store, 1);
    let claim = worker.claim_order(id(1)).await.remove(0);
    assert!(claim.order.as_ref().unwrap_err().message.contains("history"), "{claim:?}");
    worker.release(claim.lease, HOUR, ReleaseReason::Undecodable).await;
    // So does an operator who writes to it first.
    let refused = write(&store, append(&load(&store, id(2)).await, FREELY, AT_ONCE, &[cancelled()])).await;
    assert!(refused.is_err());
    let attention = OrderQuery::new(9).with_attention();
    assert_eq!(store.list(&attention).await.unwrap().len(), 2);
    assert_eq!(store.backlog().await.unwrap().attention, 2);
}
