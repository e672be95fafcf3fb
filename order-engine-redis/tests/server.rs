//! Servers that are set up wrongly, and servers that fail.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{open, recovered, run};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, Relay, Worker, assert_stored, create, create_one, id, ids_of, new_order, new_orders, register,
    routing_started, to_confirmed, write_freely,
};
use order_engine_core::store::{Creation, FeedRequest, Then};
use order_engine_core::telemetry::chain;
use order_engine_core::testing::{Link, Proxy};
use order_engine_core::{
    Durability, FeedCursor, FeedScope, OrderQuery, OrderStore, StoreError, StoreErrorKind,
};
use order_engine_redis::testing::{DURABLE, RedisServer};
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};

async fn fails_to_open(options: RedisOptions) -> StoreError {
    RedisStore::open(options).await.unwrap_err()
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    let error = fails_to_open(server.options()).await;
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(chain(&error).to_string().contains("cluster-enabled no"), "{error}");
    assert!(chain(&error).to_string().contains(&server.port().to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_may_evict_is_refused_whatever_its_memory() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::start(&["--maxmemory-policy", policy]);
        let error = fails_to_open(server.options()).await;
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(chain(&error).to_string().contains("maxmemory-policy noeviction"), "{error}");
        // Hints are not kept, so nothing of them can be evicted.
        RedisFanout::open(server.options()).await.unwrap();
    }
}

#[tokio::test]
async fn durability_is_what_the_server_is_set_to() {
    let durable = RedisServer::start(&DURABLE);
    let full = durable.options().with_required_durability(Durability::Full);
    assert_eq!(RedisStore::open(full).await.unwrap().durability(), Durability::Full);
    for (settings, advice) in [
        (&["--appendonly", "no"][..], "set 'appendonly yes'"),
        (&["--appendonly", "yes"], "set 'appendfsync always'"),
        (
            &["--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"],
            "set 'no-appendfsync-on-rewrite no'",
        ),
    ] {
        let server = RedisServer::start(settings);
        let store = RedisStore::open(server.options()).await.unwrap();
        assert_eq!(store.durability(), Durability::BoundedLoss);
        let error = fails_to_open(server.options().with_required_durability(Durability::Full)).await;
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        assert!(chain(&error).to_string().contains(advice), "{error}");
    }
}

/// The settings of the README by which Redis rewrites its file less often.
#[tokio::test]
async fn settings_that_save_work_weaken_nothing() {
    let settings = ["--save", "", "--auto-aof-rewrite-min-size", "1gb", "--rdbcompression", "no"];
    let rarely = ["--auto-aof-rewrite-percentage", "400"];
    let server = RedisServer::start(&[&DURABLE[..], &settings, &rarely].concat());
    let full = server.options().with_required_durability(Durability::Full);
    let store: Arc<dyn OrderStore> = Arc::new(RedisStore::open(full.clone()).await.unwrap());
    let order = create_one(&store, 1).await;
    let () = run(&server, &["BGREWRITEAOF"]).await;
    assert_eq!(RedisStore::open(full).await.unwrap().durability(), Durability::Full);
    let order = write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
    server.kill();
    server.restart();
    assert_stored(&open(server.options()).await, &order).await;
}

/// The grants are exactly those of the README.
#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let server = RedisServer::start(&DURABLE);
    let grants = "~{order-engine}* &{order-engine}:* -@all +@read +@write +@scripting +@connection +publish \
        +subscribe +time +info +role +config|get";
    for (name, grants, durability) in [
        ("engine", grants.to_owned(), Durability::Full),
        ("blind", grants.replace("+config|get", ""), Durability::BoundedLoss),
    ] {
        let mut words = vec!["ACL", "SETUSER", name, "on", ">secret"];
        words.extend(grants.split_whitespace());
        let () = run(&server, &words).await;
        let url = server.url().replace("redis://", &format!("redis://{name}:secret@"));
        let options = RedisOptions::new(&url).unwrap();
        let store: Arc<dyn OrderStore> = Arc::new(RedisStore::open(options.clone()).await.unwrap());
        assert_eq!(store.durability(), durability, "{name}");
        everything_works(&store, if name == "engine" { 1 } else { 100 }).await;
        RedisFanout::open(options.clone()).await.unwrap();
        if durability != Durability::Full {
            let error = fails_to_open(options.with_required_durability(Durability::Full)).await;
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
            assert!(chain(&error).to_string().contains("CONFIG GET is forbidden"), "{error}");
        }
    }
}

async fn everything_works(store: &Arc<dyn OrderStore>, first: u64) {
    register(store, "ledger").await;
    let orders: Vec<_> = (first..first + 3).map(new_order).collect();
    create(store, &orders).await;
    let worker = Worker::new(store, 1);
    let claims = worker.claim(3).await;
    assert_eq!(claims.len(), 3);
    assert!(worker.renews(claims[0].lease).await);
    worker.release(claims[1].lease, Duration::ZERO, order_engine_core::store::ReleaseReason::Yielded).await;
    store.make_due(id(first)).await.unwrap();
    let order = worker.write(&claims[0], Then::Keep, &to_confirmed()).await;
    assert_stored(store, &order).await;
    let relay = Relay::new(store, "ledger", 1);
    for delivery in relay.claim(9).await {
        assert!(relay.ack(&delivery).await);
    }
    assert_eq!(store.list(&OrderQuery::new(2)).await.unwrap().len(), 2);
    assert!(store.backlog().await.unwrap().execute.orders > 0);
    assert_eq!(store.unregister_sink("ledger", 9).await.unwrap(), 0);
    let now = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    let purge = order_engine_core::store::PurgeRequest::new(now, 9);
    assert_eq!(store.purge(&purge).await.unwrap().orders, 1);
    store.check().await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_are_no_outage() {
    let server = RedisServer::start(&["--requirepass", "secret"]);
    let options = RedisOptions::new(&server.url().replace("redis://", "redis://:wrong@")).unwrap();
    for options in [options, server.options()] {
        let error = fails_to_open(options).await;
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(!chain(&error).to_string().contains("secret"), "{error}");
    }
    let right = RedisOptions::new(&server.url().replace("redis://", "redis://:secret@")).unwrap();
    assert!(RedisStore::open(right).await.unwrap().check().await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = RedisServer::start(&[]);
    server.kill();
    let error = fails_to_open(server.options()).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(chain(&error).to_string().contains(&format!("redis://127.0.0.1:{}/0", server.port())), "{error}");
}

#[tokio::test]
async fn a_restarted_server_has_everything() {
    let server = RedisServer::start(&DURABLE);
    let store = open(server.options()).await;
    create(&store, &new_orders(2)).await;
    let worker = Worker::new(&store, 1);
    let claim = worker.claim(1).await.remove(0);
    let order = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;
    server.kill();
    server.restart();
    // The same store works again: its next call uses another connection.
    assert_stored(&store, &order).await;
    assert_eq!(ids_of(&worker.claim(9).await), [id(2)]);
    assert!(worker.renews(claim.lease).await);
}

/// A write on a broken connection is not repeated, because its outcome is unknown.
#[tokio::test]
async fn a_cut_connection_costs_one_write_and_no_read() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    create_one(&store, 1).await;
    let () = run(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [Some(1)]);
    let () = run(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    if let Err(error) = store.create(&[new_order(2)]).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    create_one(&store, 3).await;
}

#[tokio::test]
async fn a_server_that_comes_back_weaker_is_not_written_to() {
    let mut server = RedisServer::start(&DURABLE);
    let store = open(server.options()).await;
    let order = create_one(&store, 1).await;
    // As long as the connection lasts, only the check notices.
    let () = run(&server, &["CONFIG", "SET", "appendfsync", "no"]).await;
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(chain(&error).to_string().contains("set 'appendfsync always'"), "{error}");

    server.restart_with(&["--appendfsync", "everysec"]);
    // The first write may find its connection broken.
    let _ = store.create(&[new_order(2)]).await;
    let error = store.create(&[new_order(3)]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");

    server.restart_with(&["--appendfsync", "always"]);
    recovered(&store).await;
    assert_eq!(store.last_seqs(&[id(3)]).await.unwrap(), [None]);
    assert_stored(&store, &order).await;
}

/// Waits until INFO of a server has this line.
async fn reports(server: &RedisServer, line: &str) {
    until_info(server, line, true).await;
}

/// Waits until INFO of a server has this line, or does not have it.
async fn until_info(server: &RedisServer, line: &str, has_line: bool) {
    let waiting = async {
        while run::<String>(server, &["INFO"]).await.contains(line) != has_line {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, waiting).await.expect("INFO changes in time");
}

/// Checks that a server promises less than `Full`: the check of an open store fails, and so does opening a
/// store that requires it.
async fn promises_less(store: &Arc<dyn OrderStore>, server: &RedisServer, words: &str) {
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(chain(&error).to_string().contains(words), "{error}");
    let error = fails_to_open(server.options().with_required_durability(Durability::Full)).await;
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(chain(&error).to_string().contains(words), "{error}");
    let open = RedisStore::open(server.options()).await.unwrap();
    assert_eq!(open.durability(), Durability::BoundedLoss);
}

/// Replication is asynchronous: a replica that is promoted may lack an answered write.
#[tokio::test]
async fn with_a_replica_a_promotion_may_lose_what_was_answered() {
    let server = RedisServer::start(&DURABLE);
    let store = open(server.options()).await;
    assert_eq!(store.durability(), Durability::Full);
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await.unwrap();
    let port = proxy.address().port().to_string();
    let replica = RedisServer::start(&[&["--replicaof", "127.0.0.1", &port][..], &DURABLE].concat());
    reports(&replica, "master_link_status:up").await;
    create_one(&store, 1).await;
    promises_less(&store, &server, "detach its replicas").await;

    proxy.set(Link::Silent);
    create_one(&store, 2).await;
    server.kill();
    let () = run(&replica, &["REPLICAOF", "NO", "ONE"]).await;
    let promoted = open(replica.options()).await;
    assert_eq!(promoted.last_seqs(&[id(2)]).await.unwrap(), [None], "the order is lost");

    // Without its replica the server is fully durable again.
    drop(replica);
    server.restart();
    recovered(&store).await;
    assert_eq!(store.last_seqs(&[id(2)]).await.unwrap(), [Some(1)]);
}

/// Until the first rewrite is over, no file in the list has the writes since.
#[tokio::test]
async fn before_its_file_is_complete_a_killed_server_loses_answered_writes() {
    let mut server = RedisServer::start(&["--appendfsync", "always", "--rdb-key-save-delay", "3000000"]);
    create(&open(server.options()).await, &new_orders(3)).await;
    let () = run(&server, &["CONFIG", "SET", "appendonly", "yes"]).await;
    let store = open(server.options()).await;
    create_one(&store, 4).await;
    reports(&server, "aof_rewrite_in_progress:1").await;
    assert_eq!(store.durability(), Durability::BoundedLoss);
    let error = fails_to_open(server.options().with_required_durability(Durability::Full)).await;
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(chain(&error).to_string().contains("wait until the rewrite is over"), "{error}");
    server.kill();
    server.restart_with(&["--appendonly", "yes"]);
    assert_eq!(open(server.options()).await.last_seqs(&[id(4)]).await.unwrap(), [None], "the order is lost");
}

#[tokio::test]
async fn once_its_file_is_complete_a_server_is_fully_durable() {
    let server = RedisServer::start(&["--appendfsync", "always"]);
    create(&open(server.options()).await, &new_orders(3)).await;
    let () = run(&server, &["CONFIG", "SET", "appendonly", "yes"]).await;
    until_info(&server, "aof_last_rewrite_time_sec:-1", false).await;
    let store = RedisStore::open(server.options().with_required_durability(Durability::Full)).await.unwrap();
    assert_eq!(store.durability(), Durability::Full);
}

/// The old files stay in the list until an ordinary rewrite is over.
#[tokio::test]
async fn an_ordinary_rewrite_does_not_weaken_durability() {
    let server = RedisServer::start(&[&DURABLE[..], &["--rdb-key-save-delay", "3000000"]].concat());
    let full = server.options().with_required_durability(Durability::Full);
    let store = open(full.clone()).await;
    create(&store, &new_orders(3)).await;
    let _: String = run(&server, &["BGREWRITEAOF"]).await;
    reports(&server, "aof_rewrite_in_progress:1").await;
    store.check().await.unwrap();
    let () = run(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    recovered(&store).await;
    assert_eq!(open(full).await.durability(), Durability::Full);
    create_one(&store, 4).await;
    server.kill();
    server.restart();
    recovered(&store).await;
    assert_eq!(store.last_seqs(&[id(4)]).await.unwrap(), [Some(1)]);
}

/// A server does not report which rewrite runs. After a change of its settings, only a store that found it
/// fully durable since can know that the rewrite is an ordinary one.
#[tokio::test]
async fn a_rewrite_after_a_changed_setting_is_ordinary_to_a_store_that_checked_since() {
    let server = RedisServer::start(&DURABLE);
    let store = open(server.options().with_required_durability(Durability::Full)).await;
    create(&store, &new_orders(3)).await;
    let () = run(&server, &["CONFIG", "SET", "rdb-key-save-delay", "3000000"]).await;
    store.check().await.unwrap();
    let _: String = run(&server, &["BGREWRITEAOF"]).await;
    reports(&server, "aof_rewrite_in_progress:1").await;
    store.check().await.unwrap();
    let () = run(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    recovered(&store).await;
    let stranger = open(server.options()).await;
    assert_eq!(stranger.durability(), Durability::BoundedLoss);
    // Turning the file off and on again starts a first rewrite.
    let () = run(&server, &["CONFIG", "SET", "appendonly", "no"]).await;
    let () = run(&server, &["CONFIG", "SET", "appendonly", "yes"]).await;
    promises_less(&store, &server, "wait until the rewrite is over").await;
}

#[tokio::test]
async fn a_full_server_is_unavailable_and_readable() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    let order = create_one(&store, 1).await;
    let () = run(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = store.create(&[new_order(2)]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert_eq!(store.check().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_stored(&store, &order).await;
    assert_eq!(store.backlog().await.unwrap().execute.orders, 1);
    let () = run(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(store.last_seqs(&[id(2)]).await.unwrap(), [None]);
    create_one(&store, 2).await;
}

/// After a fail-over the server's name leads to another server. Here the same server changes its role.
#[tokio::test]
async fn a_read_only_replica_is_noticed_and_left() {
    let server = RedisServer::start(&[]);
    let store = open(server.options()).await;
    create_one(&store, 1).await;
    let gone = RedisServer::start(&[]);
    let port = gone.port().to_string();
    gone.kill();
    let () = run(&server, &["REPLICAOF", "127.0.0.1", &port]).await;
    for _ in 0..3 {
        let error = store.create(&[new_order(2)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    let error = fails_to_open(server.options()).await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(chain(&error).to_string().contains("read-only replica"), "{error}");
    let () = run(&server, &["REPLICAOF", "NO", "ONE"]).await;
    recovered(&store).await;
    create_one(&store, 2).await;
}

#[tokio::test]
async fn a_paused_server_costs_each_call_its_time_and_no_more() {
    let server = RedisServer::start(&[]);
    let short = Duration::from_secs(1);
    let options = server.options().with_operation_timeout(short).with_connect_timeout(short);
    let store: Arc<dyn OrderStore> = Arc::new(RedisStore::open(options).await.unwrap());
    let order = create_one(&store, 1).await;
    server.pause();
    for _ in 0..2 {
        let error = store.create(&[new_order(2)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert_eq!(store.last_seqs(&[id(2)]).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
    server.unpause();
    recovered(&store).await;
    // The outcome is unknown to the caller: the order is written whole or not at all.
    let written = store.last_seqs(&[id(2)]).await.unwrap();
    let events = store.events(id(2), 0, 10).await.unwrap();
    assert_eq!(events.len() as u64, written[0].unwrap_or(0));
    assert_stored(&store, &order).await;
    write_freely(&store, &order, AT_ONCE, &[routing_started(1)]).await;
}

#[tokio::test]
async fn whatever_the_network_does_a_write_is_whole_and_the_store_goes_on() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await.unwrap();
    let short = Duration::from_secs(1);
    let options = RedisOptions::new(&format!("redis://{}", proxy.address())).unwrap();
    let store = open(options.with_operation_timeout(short).with_connect_timeout(short)).await;
    for (n, link) in (1..).zip([Link::Cut, Link::Silent, Link::RepliesLost]) {
        proxy.set(link);
        let error = store.create(&[new_order(n)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{link:?}: {error}");
        proxy.set(Link::Up);
        recovered(&store).await;
        let written = store.last_seqs(&[id(n)]).await.unwrap()[0];
        assert_eq!(store.events(id(n), 0, 9).await.unwrap().len() as u64, written.unwrap_or(0));
        if link == Link::RepliesLost {
            assert_eq!(written, Some(1), "the request arrived");
        }
        // Whatever its outcome, the write can be repeated.
        let repeated = store.create(&[new_order(n)]).await.unwrap().remove(0).unwrap();
        assert_eq!(repeated == Creation::Created, written.is_none());
    }
}

/// A reader that has passed what the server lost is given what is written afterwards.
#[tokio::test]
async fn a_feed_goes_on_after_a_server_lost_everything() {
    let server = RedisServer::start(&["--appendonly", "no"]);
    let store = open(server.options()).await;
    create(&store, &new_orders(3)).await;
    let request = |after| FeedRequest::new(FeedScope::All, after, 10);
    let read = store.read_feed(&request(FeedCursor::START)).await.unwrap();
    assert_eq!(read.items.len(), 3);
    server.kill();
    server.restart();
    let store = open(server.options()).await;
    assert_eq!(store.last_seqs(&[id(1)]).await.unwrap(), [None]);
    create_one(&store, 4).await;
    let after = store.read_feed(&request(read.next)).await.unwrap();
    assert_eq!(after.items.iter().map(|item| item.cursor.order_id).collect::<Vec<_>>(), [id(4)]);
}
