//! A whole engine on a real node: orders end as the chain says, and none is executed twice.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_consensus::transaction::RlpEcdsaDecodableTx as _;
use common::contracts::ONE;
use common::proxy::Proxy;
use common::world::{Desk, World, token, until};
use order_engine_core::{
    Amount, DeathProof, Engine, EngineConfig, FailureClass, FailureCode, FeeBumpPolicy, MemoryStore, Order,
    OrderEvent, OrderId, OrderRequest, PriceProtection, Runtime, Status, Submission,
};
use order_engine_evm::{Address, EvmVenueOptions, FeePolicy, U256, WalletSigner as _, hash_of};
use order_engine_routing::Router;
use serde_json::{Value, json};

/// The fees of what was sent for each nonce, in the order of sending: the most for a unit of gas, and the tip.
#[derive(Default)]
struct Sent(Mutex<BTreeMap<u64, Vec<(u128, u128)>>>);

impl Sent {
    fn note(&self, call: &Value) {
        if call["method"] != "eth_sendRawTransaction" {
            return;
        }
        let bytes = alloy_primitives::hex::decode(call["params"][0].as_str().unwrap()).unwrap();
        let tx = TxEip1559::eip2718_decode(&mut &*bytes).unwrap().strip_signature();
        let fees = (tx.max_fee_per_gas, tx.max_priority_fee_per_gas);
        let mut sent = self.0.lock().unwrap();
        let sent = sent.entry(tx.nonce).or_default();
        if sent.last() != Some(&fees) {
            sent.push(fees);
        }
    }

    /// Checks replacements as real nodes do: each pays a tenth more in both fees. Returns how many there were.
    fn replacements(&self) -> usize {
        let sent = self.0.lock().unwrap();
        let pairs: Vec<_> = sent.values().flat_map(|sent| sent.windows(2)).collect();
        for pair in &pairs {
            let ((fee, tip), (next_fee, next_tip)) = (pair[0], pair[1]);
            assert!(next_fee * 10 >= fee * 11 && next_tip * 10 >= tip * 11, "{sent:?}");
        }
        pairs.len()
    }
}

/// A transaction is bumped after three blocks, to what blocks cost then.
const STUCK_BLOCKS_MAX: u64 = 6;

async fn engine_on(desk: Desk) -> Engine {
    engine_with(desk, FeeBumpPolicy::default().with_after_heights(3)).await
}

async fn engine_with(desk: Desk, fee_bumps: FeeBumpPolicy) -> Engine {
    desk.pools.read().await.unwrap();
    let pools = desk.pools.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = pools.read().await;
        }
    });
    let mut config = EngineConfig::default();
    config.observe_interval = Duration::from_millis(50);
    config.resend_interval = Duration::from_millis(200);
    let router = Router::new(desk.pools.clone(), Runtime::tokio().clock);
    let engine = Engine::builder()
        .store(MemoryStore::new())
        .router(router)
        .venue(desk.venue)
        .config(config)
        .fee_bumps("main", fee_bumps);
    let engine = engine.build().await.unwrap();
    tokio::spawn(engine.run(4));
    engine
}

async fn submit(engine: &Engine, input: Address, amount: u128, output: Address) -> OrderId {
    let (input, output) = (token(&input.to_string()), token(&output.to_string()));
    let request = OrderRequest::new("alice", input, output, Amount::new(amount)).with_slippage_bps(200);
    match engine.submit(request).await.unwrap() {
        Submission::Created(order) => order.id,
        other => panic!("it is a new order: {other:?}"),
    }
}

async fn ended(engine: &Engine, id: OrderId) -> Order {
    let ended = tokio::time::timeout(Duration::from_mins(1), engine.wait(id)).await;
    ended.expect("it ends").unwrap().unwrap()
}

/// Makes blocks until the test ends.
fn keep_mining(world: &World) -> tokio::task::JoinHandle<()> {
    let (http, url) = (reqwest::Client::new(), world.chain.url.clone());
    tokio::spawn(async move {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": [] });
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = http.post(&url).json(&body).send().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_executed_once_each_and_the_balances_are_the_events_to_the_wei() {
    let world = World::new().await;
    let (x, y, z, weth) = (world.contracts.x, world.contracts.y, world.contracts.z, world.contracts.weth);
    let tokens = async || [world.tokens(x).await, world.tokens(y).await, world.tokens(z).await];
    let (before, eth_before) = (tokens().await, world.chain.wei(world.wallet.address()).await);
    let engine = engine_on(world.desk()).await;
    let mining = keep_mining(&world);
    let pairs = [(x, y), (y, x), (x, z), (z, y), (weth, x), (y, weth)];
    let mut orders = Vec::new();
    for number in 0..18_u128 {
        let (input, output) = pairs[usize::try_from(number).unwrap() % pairs.len()];
        let amount = if input == weth { ONE / 100 } else { (1 + number) * ONE / 10 };
        orders.push((submit(&engine, input, amount, output).await, input, output));
    }
    let (mut net, mut eth_net, mut fees) = ([0_i128; 3], 0_i128, 0_u128);
    for (id, input, output) in orders {
        let order = ended(&engine, id).await;
        assert_eq!(order.status(), Status::Confirmed, "{:?}", order.state.failure());
        let fill = order.state.fill().expect("it is filled");
        assert!(fill.amount_out >= order.worst_price().expect("it has a worst price"));
        for (mint, amount, sign) in [(input, fill.amount_in, -1), (output, fill.amount_out, 1)] {
            let amount = sign * i128::try_from(amount.base_units()).unwrap();
            match [x, y, z].iter().position(|token| *token == mint) {
                Some(place) => net[place] += amount,
                None => eth_net += amount,
            }
        }
        let found = engine.find_on_chain(id).await.unwrap().expect("the venue can");
        assert_eq!(found.len(), 1, "one transaction of the order has landed");
        let hash = hash_of(&found[0].tx_id).unwrap();
        let receipt = world.chain.call("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        let number = |name: &str| u128::from_str_radix(&receipt[name].as_str().unwrap()[2..], 16).unwrap();
        fees += number("gasUsed") * number("effectiveGasPrice");
    }
    mining.abort();
    let after = tokens().await;
    for place in 0..3 {
        let moved = i128::try_from(after[place]).unwrap() - i128::try_from(before[place]).unwrap();
        assert_eq!(moved, net[place], "token {place}");
    }
    let spent = i128::try_from(eth_before).unwrap() - i128::try_from(fees).unwrap() + eth_net;
    assert_eq!(
        i128::try_from(world.chain.wei(world.wallet.address()).await).unwrap(),
        spent,
        "ETH, to the wei"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_nonce_is_unblocked_by_bumps_within_some_blocks() {
    let world = World::new().await;
    // It pays for blocks as they are when it is signed, and they cost four times as much then.
    let fees = FeePolicy::default().with_base_fee_percent(100);
    let options = EvmVenueOptions::default().with_fees(fees);
    let sent = Arc::new(Sent::default());
    let seen = Arc::clone(&sent);
    let node = Proxy::start(&world.chain.url, move |call, _| {
        seen.note(call);
        Ok(())
    })
    .await;
    let engine = engine_on(world.desk_over(&[&node.url], options)).await;
    let first = submit(&engine, world.contracts.x, ONE, world.contracts.y).await;
    until(async || engine.order(first).await.unwrap().unwrap().status() == Status::Submitted).await;
    let second = submit(&engine, world.contracts.y, ONE, world.contracts.x).await;
    until(async || engine.order(second).await.unwrap().unwrap().status() == Status::Submitted).await;
    let begun = world.chain.height().await;
    let (mut height, mut used) = (begun, 0);
    let nonce = async || {
        let params = json!([world.wallet.address(), "latest"]);
        world.chain.call("eth_getTransactionCount", params).await.unwrap().as_str().unwrap().to_owned()
    };
    let before = nonce().await;
    // Each block costs four gwei, until the first transaction lands.
    while nonce().await == before {
        world.chain.set_base_fee(4_000_000_000).await;
        world.chain.mine(1).await;
        (height, used) = (height + 1, used + 1);
        assert!(used <= STUCK_BLOCKS_MAX, "the nonce is still stuck after {used} blocks");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(used > 1, "it was stuck");
    assert!(sent.replacements() > 0, "and replaced");
    let mining = keep_mining(&world);
    for id in [first, second] {
        let order = ended(&engine, id).await;
        assert_eq!(order.status(), Status::Confirmed, "{:?}", order.state.failure());
        assert_eq!(engine.find_on_chain(id).await.unwrap().map(|found| found.len()), Some(1));
    }
    mining.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_order_uses_its_nonce_and_the_wallet_goes_on() {
    let world = World::new().await;
    let engine = engine_on(world.desk()).await;
    let (x, y) = (world.contracts.x, world.contracts.y);
    let before = (world.tokens(x).await, world.tokens(y).await);
    // No block is made, so the order waits with its transaction.
    let id = submit(&engine, x, ONE, y).await;
    until(async || engine.order(id).await.unwrap().unwrap().status() == Status::Submitted).await;
    engine.cancel(id).await.unwrap();
    let pending = async || {
        let pool = world.chain.call("txpool_content", json!([])).await.unwrap();
        let wallet = world.wallet.address().to_string().to_lowercase();
        let all = pool["pending"].as_object().cloned().unwrap_or_default();
        let own = all.into_iter().find(|(sender, _)| sender.to_lowercase() == wallet);
        let own = own.and_then(|(_, nonces)| nonces.as_object()?.values().next().cloned());
        own.is_some_and(|tx| tx["to"].as_str().is_some_and(|to| to.to_lowercase() == wallet))
    };
    until(pending).await;
    let mining = keep_mining(&world);
    let order = ended(&engine, id).await;
    assert_eq!(order.status(), Status::Failed);
    assert_eq!(order.state.failure().map(|failure| failure.code.clone()), Some(FailureCode::CANCELLED));
    assert_eq!((world.tokens(x).await, world.tokens(y).await), before);
    let next = submit(&engine, x, ONE, y).await;
    assert_eq!(ended(&engine, next).await.status(), Status::Confirmed);
    mining.abort();
}

/// A node that takes transactions and keeps them for itself, until a test decides which of them land.
struct Keeper {
    node: Proxy,
    kept: Arc<Mutex<Vec<String>>>,
}

impl Keeper {
    async fn start(world: &World) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&kept);
        let node = Proxy::keeping(&world.chain.url, &["eth_sendRawTransaction"], move |call, answer| {
            if call["method"] == "eth_sendRawTransaction" {
                let text = call["params"][0].as_str().unwrap().to_owned();
                answer["result"] =
                    json!(alloy_primitives::keccak256(alloy_primitives::hex::decode(&text).unwrap()));
                let mut kept = keeps.lock().unwrap();
                if !kept.contains(&text) {
                    kept.push(text);
                }
            }
            Ok(())
        });
        Self { node: node.await, kept }
    }

    /// Waits until it has so many, and returns the last one.
    async fn nth(&self, count: usize) -> String {
        until(async || self.kept.lock().unwrap().len() >= count).await;
        self.kept.lock().unwrap()[count - 1].clone()
    }
}

async fn land(world: &World, bytes: &str) {
    world.chain.call("eth_sendRawTransaction", json!([bytes])).await.unwrap();
    world.chain.mine(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_after_the_sending_loses_to_the_landing_or_takes_its_place() {
    for is_cancelled in [false, true] {
        let world = World::new().await;
        let (x, y) = (world.contracts.x, world.contracts.y);
        let keeper = Keeper::start(&world).await;
        let urls = [keeper.node.url.as_str()];
        let engine = engine_on(world.desk_over(&urls, EvmVenueOptions::default())).await;
        let before = world.tokens(x).await;
        let id = submit(&engine, x, ONE, y).await;
        let swap = keeper.nth(1).await;
        engine.cancel(id).await.unwrap();
        let cancel = keeper.nth(2).await;
        land(&world, if is_cancelled { &cancel } else { &swap }).await;
        let order = ended(&engine, id).await;
        let sold = before - world.tokens(x).await;
        if is_cancelled {
            assert_eq!((order.status(), sold), (Status::Failed, 0));
            let code = order.state.failure().map(|failure| failure.code.clone());
            assert_eq!(code, Some(FailureCode::CANCELLED));
        } else {
            assert_eq!((order.status(), sold), (Status::Confirmed, ONE), "it was executed all the same");
            assert_eq!(order.state.fill().map(|fill| fill.amount_in), Some(Amount::new(ONE)));
        }
        let late = if is_cancelled { swap } else { cancel };
        let refused = world.chain.call("eth_sendRawTransaction", json!([late])).await.unwrap_err();
        assert_eq!(refused["message"], "nonce too low", "the other one can never land");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_in_the_block_ends_the_attempt_with_its_reason_and_the_next_one_executes() {
    let world = World::new().await;
    let (x, y) = (world.contracts.x, world.contracts.y);
    let keeper = Keeper::start(&world).await;
    let urls = [keeper.node.url.as_str()];
    // Blocks pass before the first transaction lands, and the second one that the node gets must be of the next attempt.
    let without_bumps = FeeBumpPolicy::default().with_max_bumps(0);
    let engine = engine_with(world.desk_over(&urls, EvmVenueOptions::default()), without_bumps).await;
    let request = OrderRequest::new("alice", token(&x.to_string()), token(&y.to_string()), Amount::new(ONE))
        .with_slippage_bps(50)
        .with_price_protection(PriceProtection::EachQuote);
    let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!("it is new") };
    let first = keeper.nth(1).await;
    let pools = world.directory();
    pools.read().await.unwrap();
    world.front_run(&pools).await;
    land(&world, &first).await;
    land(&world, &keeper.nth(2).await).await;
    let order = ended(&engine, order.id).await;
    // Another attempt may end before anything is signed, where the pools are not read again yet.
    assert_eq!(order.status(), Status::Confirmed, "{:?}", order.state.failure());
    assert!(order.state.attempt() > 1);
    let events = engine.events(order.id, 0, 100).await.unwrap();
    let deaths: Vec<_> = events
        .iter()
        .filter_map(|record| match &record.event {
            OrderEvent::TransactionDied { proof, failure, class } => Some((proof, &failure.code, class)),
            _ => None,
        })
        .collect();
    assert_eq!(deaths, [(&DeathProof::Reverted, &FailureCode::SLIPPAGE, &FailureClass::Requote)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_nonce_somebody_else_used_is_executed_by_another_transaction() {
    let world = World::new().await;
    let (x, y) = (world.contracts.x, world.contracts.y);
    let keeper = Keeper::start(&world).await;
    let before = (world.tokens(x).await, world.tokens(y).await);
    let urls = [keeper.node.url.as_str()];
    let engine = engine_on(world.desk_over(&urls, EvmVenueOptions::default())).await;
    let id = submit(&engine, x, ONE, y).await;
    keeper.nth(1).await;
    let first = engine.order(id).await.unwrap().unwrap().state.attempt();
    // Somebody else uses its nonce.
    world.desk().venue.approve(x, U256::from(100 * ONE)).await.unwrap();
    world.chain.mine(10).await;
    until(async || engine.order(id).await.unwrap().unwrap().state.attempt() > first).await;
    assert_eq!((world.tokens(x).await, world.tokens(y).await), before, "nothing was traded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_the_wallet_cannot_pay_fails_at_once() {
    let world = World::new().await;
    let engine = engine_on(world.desk()).await;
    world.chain.set_wei(world.wallet.address(), ONE).await;
    let id = submit(&engine, world.contracts.weth, 2 * ONE, world.contracts.x).await;
    let order = ended(&engine, id).await;
    assert_eq!(order.status(), Status::Failed);
    assert_eq!(
        order.state.failure().map(|failure| failure.code.clone()),
        Some(FailureCode::INSUFFICIENT_FUNDS)
    );
}
