//! Engines on a real node of the EVM, with Uniswap's own contracts and behind three faulty nodes, are killed again and again. In the end
//! every order is compared with what the chain has.
//!
//! The nodes lose, delay and repeat calls, are busy, lag, and lie about absence; each has a pool of transactions of its own, and takes a
//! replacement for a tenth more only. Blocks have room for few transactions and are made of what any node has, their price jumps, and
//! the last ones are replaced by others, deeper than what is called safe. Somebody else uses nonces of the wallets. The program starts
//! itself again as the engines that are killed, two at a time. The long form:
//!
//! ```sh
//! WALLETS=50 ORDERS=10000 KILLS=400 BLOCK_MS=500 BLOCK_GAS=6000000 \
//!     cargo test --release -p order-engine-evm --all-features --test kills
//! ```
//!
//! `SEED` chooses other faults, `BLOCK_MS` the time between blocks, and `STORE=postgres` a PostgreSQL server that the test starts, instead
//! of SQLite.

mod common;

#[path = "kills/audit.rs"]
mod audit;
#[path = "kills/chain.rs"]
mod chain;
#[path = "kills/market.rs"]
mod market;
#[path = "kills/miner.rs"]
mod miner;
#[path = "kills/nodes.rs"]
mod nodes;
#[path = "kills/pool.rs"]
mod pool;
#[path = "kills/trading.rs"]
mod trading;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chain::Chain;
use market::{PARTS, Setup};
use miner::{Mine, Miner};
use nodes::{FaultyNode, Known, hex};
use order_engine_core::{Engine, Order, OrderId};
use order_engine_postgres::testing::PostgresServer;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The variable that makes this program an engine that is killed: its setup as JSON.
const SETUP: &str = "KILLED_ENGINE";
/// How often an engine is killed.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// How many blocks are made when all orders have ended: more than it takes to be final.
const BLOCKS_AT_THE_END: u64 = 12;

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.expect("the runtime starts");
    match std::env::var(SETUP) {
        Ok(setup) => {
            let setup = serde_json::from_str(&setup).expect("it was written below");
            threads.block_on(trading::trade(setup));
        }
        Err(_) => threads.block_on(check()),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Whether a variable has this value and no other one.
fn is_set_to(name: &str, value: &str) -> bool {
    std::env::var(name).is_ok_and(|text| {
        assert_eq!(text, value, "the only value of {name}");
        true
    })
}

/// Kills engines while they trade, and audits what came of the orders.
async fn check() {
    let (wallets, orders, kills) = (setting("WALLETS", 3), setting("ORDERS", 48), setting("KILLS", 8));
    let (seed, block_ms) = (setting("SEED", 1), setting("BLOCK_MS", 200));
    // Room for some four swaps, unless told otherwise.
    let block_gas = setting("BLOCK_GAS", 800_000);
    let world = market::open(wallets, seed).await;
    world.chain.call("evm_setBlockGasLimit", json!([hex(block_gas)])).await.expect("anvil takes it");
    let known = Arc::new(Known::default());
    let nodes = FaultyNode::three(&world.chain.url, &known, seed).await;
    let folder = tempfile::tempdir().expect("there is room");
    let mut setup = Setup::new(&world, wallets, seed);
    setup.nodes = nodes.iter().map(|node| node.url.clone()).collect();
    let postgres = is_set_to("STORE", "postgres").then(PostgresServer::start);
    setup.store = match &postgres {
        Some(server) => server.url(),
        None => folder.path().join("orders.db").display().to_string(),
    };
    setup.orders = orders;
    // The last order is placed when the last engine but one is killed.
    setup.rate = orders.div_ceil(PARTS * kills.max(1));
    let chain = Chain { url: world.chain.url.clone(), http: reqwest::Client::new() };
    let begun = chain.head().await;
    let miner = Miner::start(Mine {
        url: world.chain.url.clone(),
        wallets: setup.all_wallets(),
        pools: nodes.iter().map(FaultyNode::pool).collect(),
        known: Arc::clone(&known),
        contract: setup.router,
        block_time: Duration::from_millis(block_ms),
        seed,
    });
    let start = Instant::now();
    let engines = Engines::start(&setup).are_killed(kills).await;
    let traded = start.elapsed();
    let (engine, _) = trading::engine(&setup).await;
    let ids = ids(&engine, &setup).await;
    let ended = settled(&engine, &ids, Duration::from_secs(120 + orders / 4)).await;
    let (settled, last) = (start.elapsed(), chain.head().await);
    while chain.head().await < last + BLOCKS_AT_THE_END {
        tokio::time::sleep(Duration::from_millis(block_ms)).await;
    }
    let blocks = miner.stop().await;
    drop(engines);
    let found = audit::audit(&setup, (&engine, &ended), (&chain, begun), (&known, &blocks.foreign)).await;
    println!(
        "{wallets} wallets, {orders} orders, {kills} kills in {traded:.1?}, settled after {settled:.1?}: {found}"
    );
    println!("{} blocks; what else was done to them: {:?}", chain.head().await - begun, blocks.struck);
    for node in &nodes {
        println!("a node's faults: {:?}", node.struck());
    }
}

/// The engines of the moment.
struct Engines {
    setup: Setup,
    running: Vec<Child>,
    /// The number after the last order that each part is known to have placed.
    placed: [Arc<AtomicU64>; 2],
}

impl Engines {
    fn start(setup: &Setup) -> Self {
        let mut engines = Self { setup: setup.clone(), running: Vec::new(), placed: Default::default() };
        for part in 0..PARTS {
            let engine = engines.one(part);
            engines.running.push(engine);
        }
        engines
    }

    fn one(&self, part: u64) -> Child {
        let placed = Arc::clone(&self.placed[usize::try_from(part).expect("it is small")]);
        let setup = Setup { part, place_from: placed.load(Relaxed), ..self.setup.clone() };
        let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
        command.env(SETUP, serde_json::to_string(&setup).expect("it is JSON"));
        let mut engine =
            command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("this program runs");
        let mut lines = BufReader::new(engine.stdout.take().expect("it is piped")).lines();
        tokio::spawn(async move {
            // The last line may be half of one.
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(n) = line.parse::<u64>() else { continue };
                placed.fetch_max(n.saturating_sub(1), Relaxed);
            }
        });
        engine
    }

    /// Kills so many engines, the older one each second, and starts another one in its place.
    async fn are_killed(mut self, kills: u64) -> Self {
        for kill in 0..kills {
            tokio::time::sleep(KILL_EVERY).await;
            self.running.remove(0).kill().await.expect("it can be killed");
            let next = self.one(kill % PARTS);
            self.running.push(next);
        }
        self
    }
}

/// Returns the ids of all orders, and places those whose placing was cut short.
async fn ids(engine: &Engine, setup: &Setup) -> Vec<OrderId> {
    let mut ids = Vec::new();
    let numbers: Vec<u64> = (0..setup.orders).collect();
    for some in numbers.chunks(100) {
        for submitted in engine.submit_many(some.iter().map(|n| setup.order(*n))).await {
            ids.push(trading::id_of(&submitted.expect("the store answers")));
        }
    }
    ids
}

/// Waits until all orders have ended, and returns them.
async fn settled(engine: &Engine, ids: &[OrderId], limit: Duration) -> Vec<Order> {
    let deadline = Instant::now() + limit;
    let mut orders: Vec<Order> = Vec::new();
    for id in ids {
        orders.push(loop {
            let order = engine.order(*id).await.expect("the store answers").expect("it was placed");
            if order.status().is_terminal() {
                break order;
            }
            assert!(Instant::now() < deadline, "order {} has not ended: {:?}", orders.len(), order.state);
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
    }
    orders
}
