//! A server that is killed under load, again and again, while the same processes go on.
//!
//! `REDIS_KILLS=1000` is its long form, of a quarter of an hour; a few times unless set.

mod common;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::append_only_file;
use common::service::{Chain, Service, request};
use order_engine_core::store::FeedRequest;
use order_engine_core::testing::{Link, Proxy};
use order_engine_core::{
    Backlog, Durability, EngineConfig, FeedCursor, FeedScope, OrderId, OrderStore, Runtime, Status,
    Submission, SubmitError,
};
use order_engine_redis::testing::{DURABLE, RedisServer};
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};

/// How many times one server is killed. After that a new one is used, because each start loads all orders.
const KILLS_A_SERVER: u32 = 50;
/// At one of this many kills the test waits until the workers work again.
const WATCHED: u32 = 10;
/// The number of clients that send orders.
const CLIENTS: usize = 128;
/// How long the processes may take to recover once the server is back.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long the last orders may take to end.
const PATIENCE: Duration = Duration::from_mins(2);

fn kills() -> u32 {
    std::env::var("REDIS_KILLS").map_or(5, |kills| kills.parse().unwrap())
}

/// Returns a random wait, so that a kill comes in the middle of any work.
fn moment(longest_ms: u128) -> Duration {
    let random = Runtime::tokio().entropy.next_u128() % longest_ms;
    Duration::from_millis(20 + u64::try_from(random).unwrap())
}

fn config() -> EngineConfig {
    let mut config = EngineConfig::default();
    // Orders whose claim lost its reply are claimed again soon.
    config.lease_duration = Duration::from_secs(2);
    config
}

async fn open(options: RedisOptions) -> Arc<dyn OrderStore> {
    let options = options.with_required_durability(Durability::Full);
    Arc::new(RedisStore::open(options).await.unwrap())
}

/// Submits an order like a client that repeats its request until it has an answer.
async fn submit(service: &Service, name: String) -> OrderId {
    loop {
        match service.engine.submit(request(name.clone())).await {
            Ok(Submission::Created(order) | Submission::Existing(order)) => return order.id,
            Err(SubmitError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until an order has ended, however often the subscription fails, and returns the numbers of its
/// events.
async fn to_its_end(service: &Service, id: OrderId) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let after = seen.last().copied().unwrap_or(0);
        let Ok(Some(mut subscription)) = service.engine.subscribe(id, after).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // The client reconnects after a few events.
        for _ in 0..3 {
            match subscription.next().await {
                Some(Ok(event)) => {
                    seen.push(event.seq);
                    if event.status.is_terminal() {
                        return seen;
                    }
                }
                Some(Err(_)) | None => break,
            }
        }
    }
}

/// Reads the feed until it ends after the work is over, however often a call fails. Returns the number of the last
/// event of each order.
async fn read_feed(store: Arc<dyn OrderStore>, is_over: Arc<AtomicBool>) -> BTreeMap<OrderId, u64> {
    let (mut after, mut seen) = (FeedCursor::START, BTreeMap::new());
    loop {
        let is_last_look = is_over.load(Ordering::Relaxed);
        let Ok(page) = store.read_feed(&FeedRequest::new(FeedScope::All, after, 50)).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for item in page.items {
            let FeedCursor { order_id, seq, .. } = item.cursor;
            let last = seen.insert(order_id, seq).unwrap_or(0);
            assert_eq!(seq, last + 1, "{order_id}");
        }
        after = page.next;
        if page.is_last && is_last_look {
            return seen;
        }
        if page.is_last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Kills a server whose last replies were lost, and cuts its file somewhere among the writes without a reply,
/// as a loss of power or a kill in the middle of a write does.
async fn tear(server: &RedisServer, proxy: &Proxy) {
    server.pause();
    proxy.set(Link::RepliesLost);
    let file = append_only_file(server);
    let answered = std::fs::metadata(&file).unwrap().len();
    server.unpause();
    tokio::time::sleep(moment(100)).await;
    server.kill();
    proxy.set(Link::Up);
    let unanswered = std::fs::metadata(&file).unwrap().len() - answered;
    let kept = Runtime::tokio().entropy.next_u128() % (u128::from(unanswered) + 1);
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(answered + u64::try_from(kept).unwrap()).unwrap();
}

/// Returns whether the file of a killed server ends within a transaction.
fn is_torn(server: &RedisServer) -> bool {
    const TAIL: u64 = 1 << 20;
    let mut file = File::open(append_only_file(server)).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).unwrap();
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).unwrap();
    let last = |command: &[u8]| tail.windows(command.len()).rposition(|window| window == command);
    last(b"\r\nMULTI\r\n") > last(b"\r\nEXEC\r\n")
}

/// What the test has done so far.
#[derive(Debug, Default)]
struct Tally {
    orders: usize,
    kills: u32,
    /// How many kills left a transaction without its end in the file: kills alone, and kills after which the
    /// test tore the file.
    torn_by_kills: u32,
    torn_by_hand: u32,
    /// The longest time from a restart until an order was accepted or executed again.
    slowest: Duration,
}

/// Kills a server this many times under load, and then checks every order.
async fn kill_under_load(kills: u32, tally: &mut Tally) {
    let server = RedisServer::start(&DURABLE);
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await.unwrap();
    let store = open(RedisOptions::new(&format!("redis://{}", proxy.address())).unwrap()).await;
    let chain = Chain::new().await;
    let service = Service::start(Arc::clone(&store), None, &chain, config()).await.with_worker();
    let service = Arc::new(service);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (service, is_over) = (Arc::clone(&service), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut orders = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let id = submit(&service, format!("{client}-{}", orders.len())).await;
                    to_its_end(&service, id).await;
                    orders.push(id);
                }
                orders
            })
        })
        .collect();
    let is_read = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_feed(Arc::clone(&store), Arc::clone(&is_read)));
    let mut orders = Vec::new();
    for kill in 0..kills {
        tokio::time::sleep(moment(200)).await;
        if kill % 2 == 0 {
            server.kill();
            tally.torn_by_kills += u32::from(is_torn(&server));
        } else {
            tear(&server, &proxy).await;
            tally.torn_by_hand += u32::from(is_torn(&server));
        }
        tokio::time::sleep(moment(100)).await;
        tokio::task::block_in_place(|| server.restart());
        let returned = Instant::now();
        let recovered = async {
            let id = submit(&service, format!("after kill {kill}")).await;
            // Now and then the test waits until a worker writes to the order. Most kills come while the
            // processes still recover from the last one.
            let is_watched = kill % WATCHED == 0;
            while is_watched && !matches!(service.engine.order(id).await, Ok(Some(order)) if order.seq > 1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            id
        };
        orders.push(tokio::time::timeout(RECOVERY, recovered).await.expect("the process goes on"));
        tally.slowest = tally.slowest.max(returned.elapsed());
        tally.kills += 1;
    }
    is_over.store(true, Ordering::Relaxed);
    for id in &orders {
        tokio::time::timeout(PATIENCE, to_its_end(&service, *id)).await.expect("no order hangs");
    }
    for client in clients {
        orders.extend(tokio::time::timeout(PATIENCE, client).await.expect("no order hangs").unwrap());
    }
    assert_eq!(store.backlog().await.unwrap(), Backlog::default(), "no order is open");
    is_read.store(true, Ordering::Relaxed);
    let read = tokio::time::timeout(PATIENCE, reader).await.expect("the feed ends").unwrap();
    let mut executed = chain.executed().await;
    for id in &orders {
        assert_eq!(
            store.last_seqs(&[*id]).await.unwrap(),
            [read.get(id).copied()],
            "the feed has all of {id}"
        );
        let expected = usize::from(service.check_history(*id).await == Status::Confirmed);
        assert_eq!(executed.remove(id).unwrap_or(0), expected, "{id}");
    }
    assert!(executed.is_empty(), "what was executed was acknowledged: {executed:?}");
    assert_eq!(read.len(), orders.len(), "the feed has nothing else");
    tally.orders += orders.len();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_loses_and_doubles_nothing() {
    let (began, mut tally) = (Instant::now(), Tally::default());
    while tally.kills < kills() {
        let left = kills() - tally.kills;
        kill_under_load(left.min(KILLS_A_SERVER), &mut tally).await;
        println!("{tally:?} in {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_see_no_gap_and_no_duplicate_while_the_server_restarts() {
    let server = RedisServer::start(&DURABLE);
    let chain = Chain::new().await;
    let service = async || {
        let fanout = RedisFanout::open(server.options()).await.unwrap();
        Service::start(open(server.options()).await, Some(&fanout), &chain, config()).await
    };
    // One process serves clients, another one executes orders.
    let (api, worker) = (Arc::new(service().await), service().await.with_worker());
    let subscribers: Vec<_> = (0..40)
        .map(|n| {
            let api = Arc::clone(&api);
            tokio::spawn(async move {
                let id = submit(&api, n.to_string()).await;
                // Half of the subscribers come late.
                if n % 2 == 0 {
                    tokio::time::sleep(moment(300)).await;
                }
                (id, to_its_end(&api, id).await)
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(moment(300)).await;
        server.kill();
        tokio::task::block_in_place(|| server.restart());
    }
    for subscriber in subscribers {
        let (id, seen) = tokio::time::timeout(PATIENCE, subscriber).await.expect("no order hangs").unwrap();
        assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{seen:?}");
        worker.check_history(id).await;
    }
}
