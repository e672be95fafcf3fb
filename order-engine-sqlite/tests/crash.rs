//! A process that is killed in the middle of its writes.
//!
//! This shows that nothing acknowledged is held back in the process. What survives a loss of power
//! rests on `synchronous=FULL`, which every connection is checked for.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::Database;
use order_engine_core::conformance::fixtures::{
    AT_ONCE, Worker, assert_stored, create_one, id, ids_of, load, to_confirmed, to_submitted, write_freely,
};
use order_engine_core::store::FeedRequest;
use order_engine_core::{FeedCursor, FeedScope, Lane, OrderQuery, OrderStore};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

/// In the process that is to be killed: the file, and the number of its first order.
const FILE: &str = "ORDER_ENGINE_TEST_FILE";
const FIRST: &str = "ORDER_ENGINE_TEST_FIRST";

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    if let (Ok(file), Ok(first)) = (std::env::var(FILE), std::env::var(FIRST)) {
        write_until_killed(Path::new(&file), first.parse().unwrap()).await;
    }
    let database = Database::new();
    let mut unfinished = Vec::new();
    let mut first = 1;
    for round in 0..3 {
        let acknowledged = run_and_kill(&database, first, 20 + 7 * round);
        let store = open(&database.path()).await;
        // The last write may be there, although it was not acknowledged.
        for n in first..=acknowledged.next {
            if n == acknowledged.next && store.last_seqs(&[id(n)]).await.unwrap() == [None] {
                continue;
            }
            let order = load(&store, id(n)).await;
            assert_stored(&store, &order).await;
            assert!(matches!(order.seq, 1 | 6 | 7), "order {n} stands between two writes");
            if order.seq < 7 {
                assert!(n >= acknowledged.confirmed, "the end of order {n} was acknowledged");
                unfinished.push(order.id);
            }
        }
        first = acknowledged.next + 1;
    }
    let store = open(&database.path()).await;
    let request = FeedRequest::new(FeedScope::All, FeedCursor::START, u32::MAX);
    let feed = store.read_feed(&request).await.unwrap();
    let listed = store.list(&OrderQuery::new(u32::MAX)).await.unwrap();
    let events: u64 = listed.into_iter().map(|order| order.unwrap().seq).sum();
    assert_eq!(feed.items.len() as u64, events, "the feed has every event that was written, and no other");
    // Others can go on with what was left.
    let worker = Worker::new(&store, 1);
    let mut left = ids_of(&worker.claim(100).await);
    left.extend(ids_of(&worker.in_lane(Lane::Observe).claim(100).await));
    left.sort();
    assert_eq!(left, unfinished);
}

async fn open(file: &Path) -> Arc<dyn OrderStore> {
    Arc::new(SqliteStore::open(SqliteOptions::new(file)).await.unwrap())
}

/// What had been acknowledged to a process when it was killed.
struct Acknowledged {
    /// The first order that was not acknowledged.
    next: u64,
    /// The first order whose end was not acknowledged.
    confirmed: u64,
}

fn run_and_kill(database: &Database, first: u64, orders: u64) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_loses_nothing_that_was_acknowledged", "--nocapture"])
        .env(FILE, database.path())
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Acknowledged { next: first, confirmed: first };
    for line in lines.map(Result::unwrap) {
        let number = |word: &str| Some(line.split_once(word)?.1.parse::<u64>().unwrap() + 1);
        acknowledged.next = number("created ").unwrap_or(acknowledged.next);
        acknowledged.confirmed = number("confirmed ").unwrap_or(acknowledged.confirmed);
        if acknowledged.confirmed == first + orders {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(acknowledged.confirmed >= first + orders);
    acknowledged
}

async fn write_until_killed(file: &Path, first: u64) -> ! {
    let store = open(file).await;
    for n in first.. {
        let order = create_one(&store, n).await;
        say(&format!("created {n}"));
        let order = write_freely(&store, &order, AT_ONCE, &to_submitted()).await;
        write_freely(&store, &order, AT_ONCE, &to_confirmed()[5..]).await;
        say(&format!("confirmed {n}"));
    }
    unreachable!("numbers do not end")
}

/// Standard output is a pipe to the process that kills this one.
fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").unwrap();
    out.flush().unwrap();
}
