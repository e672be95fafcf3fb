//! Pools are read when they change, and neither a broken connection nor a node that lies makes a quote wrong.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::pools::{CASES, Dice, MadePool, Price};
use common::proxy::Proxy;
use common::relay::Relay;
use common::surfpool::{Surfpool, nodes};
use order_engine_core::{Backoff, Runtime};
use order_engine_routing::Curve;
use order_engine_solana::instructions::token::transfer;
use order_engine_solana::{
    Cluster, Draft, KeypairSigner, PoolDirectory, PoolError, Pubkey, WalletSigner as _, WatchOptions,
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A chain with a CPMM pool, whose program is not needed to read it, and a wallet that can change what its vault holds.
struct World {
    chain: Surfpool,
    wallet: KeypairSigner,
    account: Pubkey,
    pool: MadePool,
}

impl World {
    async fn new() -> Self {
        let (chain, wallet) = (Surfpool::start(10), KeypairSigner::random());
        let mut mints = [KeypairSigner::random().address(), KeypairSigner::random().address()];
        mints.sort_unstable();
        chain.fund(wallet.address(), 1 << 40).await;
        for mint in mints {
            chain.make_mint(mint, 6).await;
        }
        let account = chain.give(wallet.address(), mints[0], 1 << 40, None).await;
        let pool = (CASES[1].make)(&Dice::new(3), mints, Price::QUARTER);
        pool.write(&chain, mints).await;
        Self { chain, wallet, account, pool }
    }

    fn directory(&self, urls: &[&str]) -> PoolDirectory {
        let cluster = Cluster::new(nodes(urls), Runtime::tokio()).unwrap();
        PoolDirectory::new(Arc::new(cluster), [self.pool.address])
    }

    /// Sends tokens into the pool's first vault, so that its reserve grows.
    async fn send_into_pool(&self, amount: u64) {
        let instruction = transfer(self.account, self.pool.vaults[0].0, self.wallet.address(), amount);
        let draft = Draft::new(self.wallet.address(), vec![instruction]);
        let signed = self.chain.sign(&draft, &[&self.wallet]).await;
        self.chain.send(&signed).await.unwrap();
    }

    /// Returns the first reserve of the pool, of which nothing is owed, as a directory knows it.
    fn reserve(&self, directory: &PoolDirectory) -> Option<u128> {
        let pool = directory.pool(self.pool.address)?;
        let Curve::ConstantProduct(curve) = pool.curve else { panic!("it is a CPMM pool") };
        Some(curve.reserves().0.base_units())
    }

    async fn wait_for_reserve(&self, directory: &PoolDirectory, reserve: u128) {
        wait_until(|| self.reserve(directory) == Some(reserve)).await;
    }
}

async fn wait_until(is_met: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come about");
}

/// Options under which only hints and new connections cause readings.
fn by_hints(url: &str) -> WatchOptions {
    let backoff =
        Backoff::default().with_initial(Duration::from_millis(20)).with_max(Duration::from_millis(50));
    WatchOptions::new([url]).with_full_read_interval(Duration::from_hours(1)).with_backoff(backoff)
}

/// Starts a watch, and waits until it has read the pool and a node tells of it.
async fn watch(world: &World, directory: &Arc<PoolDirectory>, options: WatchOptions) -> JoinHandle<()> {
    let watched = Arc::clone(directory);
    let task = tokio::spawn(async move {
        watched.watch(options).await;
    });
    wait_until(|| world.reserve(directory).is_some() && directory.health().connections == 1).await;
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_read_when_a_node_tells_of_it() {
    let world = World::new().await;
    let directory = Arc::new(world.directory(&[&world.chain.url]));
    assert_eq!(directory.health().oldest(), None, "it was never read");
    let task = watch(&world, &directory, by_hints(&world.chain.ws_url)).await;
    let before = world.reserve(&directory).unwrap();
    for sent in 1..=5 {
        world.send_into_pool(1_000).await;
        world.wait_for_reserve(&directory, before + 1_000 * sent).await;
    }
    let health = directory.health();
    assert!(health.oldest().unwrap() < Duration::from_mins(1));
    assert_eq!((health.connections, health.pools.len(), &health.pools[0].error), (1, 1, &None));
    assert!(health.pools[0].slot.is_some());
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(directory.health().connections, 0, "a dropped watch has no connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_come_together_are_read_together() {
    let world = World::new().await;
    let readings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&readings);
    let node = Proxy::start(&world.chain.url, move |method, _| {
        counted.fetch_add(usize::from(method == "getMultipleAccounts"), Relaxed);
        Ok(())
    })
    .await;
    let directory = Arc::new(world.directory(&[&node.url]));
    let options = by_hints(&world.chain.ws_url).with_gather(Duration::from_millis(700));
    let task = watch(&world, &directory, options).await;
    let before = world.reserve(&directory).unwrap();
    let settled = readings.load(Relaxed);
    for amount in 1..=20 {
        world.send_into_pool(amount).await;
    }
    world.wait_for_reserve(&directory, before + 210).await;
    let caused = readings.load(Relaxed) - settled;
    assert!(caused <= 10, "{caused} readings of twenty changes and four subscriptions");
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_connection_missed_is_read_when_it_is_back() {
    let world = World::new().await;
    let relay = Relay::start(&world.chain.ws_url).await;
    let directory = Arc::new(world.directory(&[&world.chain.url]));
    let task = watch(&world, &directory, by_hints(&relay.url)).await;
    let before = world.reserve(&directory).unwrap();
    relay.cut();
    wait_until(|| directory.health().connections == 0).await;
    world.send_into_pool(1_000).await;
    // It has changed, and nobody tells of it.
    let other = world.directory(&[&world.chain.url]);
    other.read().await.unwrap();
    assert_eq!(world.reserve(&other), Some(before + 1_000));
    assert_eq!(world.reserve(&directory), Some(before));
    relay.mend();
    world.wait_for_reserve(&directory, before + 1_000).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_websockets_pools_are_read_at_intervals() {
    let world = World::new().await;
    let directory = Arc::new(world.directory(&[&world.chain.url]));
    let options = WatchOptions::new(Vec::<String>::new()).with_full_read_interval(Duration::from_millis(50));
    let watched = Arc::clone(&directory);
    let task = tokio::spawn(async move {
        watched.watch(options).await;
    });
    wait_until(|| world.reserve(&directory).is_some()).await;
    let before = world.reserve(&directory).unwrap();
    world.send_into_pool(1_000).await;
    world.wait_for_reserve(&directory, before + 1_000).await;
    task.abort();
}

/// Doubles what all token accounts hold, in the answer of a node.
fn lie(method: &str, answer: &mut Value) {
    if method != "getMultipleAccounts" {
        return;
    }
    for account in answer["result"]["value"].as_array_mut().unwrap() {
        let Some(text) = account["data"][0].as_str() else { continue };
        let mut data = STANDARD.decode(text).unwrap();
        if data.len() == 165 {
            let amount = u64::from_le_bytes(data[64..72].try_into().unwrap());
            data[64..72].copy_from_slice(&(2 * amount).to_le_bytes());
            account["data"][0] = STANDARD.encode(data).into();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lies_about_a_pool_makes_no_quote_wrong() {
    let world = World::new().await;
    let liar = Proxy::start(&world.chain.url, |method, answer| {
        lie(method, answer);
        Ok(())
    })
    .await;
    let (liar, honest) = (liar.url.as_str(), world.chain.url.as_str());
    let alone = world.directory(&[honest]);
    alone.read().await.unwrap();
    let truth = world.reserve(&alone).unwrap();

    let believing = world.directory(&[liar, honest, honest]);
    believing.read().await.unwrap();
    assert!(world.reserve(&believing).unwrap() > truth, "one node is believed unless several have to agree");
    for urls in [[liar, honest, honest], [honest, liar, honest], [honest, honest, liar]] {
        let agreeing = world.directory(&urls).with_agreement();
        assert_eq!(agreeing.read().await.unwrap().read, 1);
        assert_eq!(world.reserve(&agreeing), Some(truth));
    }
    // Of two nodes both have to agree.
    let torn = world.directory(&[liar, honest]).with_agreement();
    let report = torn.read().await.unwrap();
    assert_eq!(report.unread[0].error, PoolError::Disagreement(world.pool.address));
    assert_eq!(world.reserve(&torn), None, "it is not quoted at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disagreement_keeps_the_snapshot_and_an_older_slot_changes_nothing() {
    let world = World::new().await;
    let (is_lying, is_behind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (lies, lags) = (Arc::clone(&is_lying), Arc::clone(&is_behind));
    let node = Proxy::start(&world.chain.url, move |method, answer| {
        if lies.load(Relaxed) || lags.load(Relaxed) {
            lie(method, answer);
        }
        if lags.load(Relaxed) && method == "getMultipleAccounts" {
            answer["result"]["context"]["slot"] = 1.into();
        }
        Ok(())
    })
    .await;
    let agreeing = world.directory(&[&node.url, &world.chain.url]).with_agreement();
    agreeing.read().await.unwrap();
    let truth = world.reserve(&agreeing);
    is_lying.store(true, Relaxed);
    assert_eq!(agreeing.read().await.unwrap().unread.len(), 1);
    assert_eq!(world.reserve(&agreeing), truth);
    let health = agreeing.health();
    assert_eq!(health.pools[0].error, Some(PoolError::Disagreement(world.pool.address)));
    assert!(health.oldest().is_some(), "its age goes on");

    is_lying.store(false, Relaxed);
    let alone = world.directory(&[&node.url]);
    alone.read().await.unwrap();
    is_behind.store(true, Relaxed);
    alone.read().await.unwrap();
    assert_eq!(world.reserve(&alone), truth, "slots only go forward");
}
