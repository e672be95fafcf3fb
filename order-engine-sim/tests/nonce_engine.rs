//! The engine on a chain whose transactions have nonces.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use common::{order, reliable};
use order_engine_core::testing::SeededEntropy;
use order_engine_core::{
    Engine, MemoryStore, OrderId, OrderRequest, Runtime, Status, Submission, TokioClock,
};
use order_engine_sim::{FaultConfig, NonceConfig, NonceKind, Rate, SimConfig, Simulator, UsedBy, audit};

const ORDERS: usize = 40;

/// A chain after an engine has ended all its orders.
struct Ended {
    sim: Simulator,
    orders: Vec<(OrderId, Status)>,
}

/// The accounts of a chain whose nonces are opaque: each serves one order at a time, until it is final.
const OPAQUE_ACCOUNTS: usize = 10;

/// Runs an engine on a chain with two accounts until every order has ended and every block is final.
async fn run(seed: u64, config: SimConfig) -> Ended {
    run_with(seed, config, NonceConfig { accounts: 2, ..NonceConfig::default() }).await
}

/// Runs an engine on a chain with opaque nonces until every order has ended and every block is final.
async fn run_opaque(seed: u64, config: SimConfig) -> Ended {
    let kind = NonceKind::Opaque;
    run_with(seed, config, NonceConfig { kind, accounts: OPAQUE_ACCOUNTS, ..NonceConfig::default() }).await
}

/// Runs an engine on a chain with these accounts until every order has ended and every block is final.
async fn run_with(seed: u64, config: SimConfig, nonces: NonceConfig) -> Ended {
    let clock = Arc::new(TokioClock::starting_at(DateTime::UNIX_EPOCH + chrono::Duration::days(20_000)));
    let runtime = Runtime::tokio().with_clock(clock.clone()).with_entropy(SeededEntropy::new(seed));
    let config = SimConfig { seed, nonces: Some(nonces), ..config };
    let sim = Simulator::open(config, runtime.clone()).await.unwrap();
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::with_clock(clock)))
        .router(sim.router())
        .venue(sim.venue())
        .runtime(runtime)
        .build()
        .await
        .unwrap();
    let worker = tokio::spawn(engine.run(10));
    let mut orders = Vec::new();
    for number in 0..ORDERS {
        let request = OrderRequest::clone(&order(number as u64).request).with_slippage_bps(500);
        let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!() };
        orders.push((order.id, order.status()));
    }
    for (id, status) in &mut orders {
        let mut events = engine.subscribe(*id, 0).await.unwrap().unwrap();
        let ended = async { while events.next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_hours(1), ended).await.is_err() {
            let order = engine.order(*id).await.unwrap().unwrap();
            panic!("seed {seed}: the order {id} hangs: {:?}", order.state);
        }
        *status = engine.order(*id).await.unwrap().unwrap().status();
    }
    engine.shutdown(Duration::from_secs(5)).await.unwrap();
    worker.abort();
    tokio::time::sleep(Duration::from_mins(5)).await;
    Ended { sim, orders }
}

/// Checks that each order ended as the ledger says, and that no account has a gap.
fn check(seed: u64, Ended { sim, orders }: &Ended) {
    let uses = sim.nonce_uses();
    audit(&uses).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(sim.waiting(), [], "seed {seed}: nothing waits behind a gap");
    for (id, status) in orders {
        let executed = sim.executions(Some(*id)).iter().filter(|execution| execution.executed).count();
        assert_eq!(executed, usize::from(*status == Status::Confirmed), "seed {seed}: {id} is {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_order_is_confirmed_with_a_nonce_of_its_own() {
    let ended = run(1, reliable()).await;
    check(1, &ended);
    assert!(ended.orders.iter().all(|(_, status)| *status == Status::Confirmed), "{:?}", ended.orders);
    let uses = ended.sim.nonce_uses();
    assert_eq!(uses.len(), ORDERS);
    assert!(uses.iter().all(|used| matches!(used.used_by, UsedBy::Swap { executed: true, .. })), "{uses:?}");
}

#[tokio::test(start_paused = true)]
async fn reverts_use_nonces_and_orders_are_executed_once() {
    let ended = run(2, SimConfig { fail_rate: Rate::from_percent(30).unwrap(), ..reliable() }).await;
    check(2, &ended);
    assert!(ended.sim.nonce_uses().len() > ORDERS);
}

#[tokio::test(start_paused = true)]
async fn more_orders_than_accounts_are_confirmed_with_opaque_values_of_their_own() {
    let ended = run_opaque(1, reliable()).await;
    check(1, &ended);
    assert!(ended.orders.iter().all(|(_, status)| *status == Status::Confirmed), "{:?}", ended.orders);
    assert_eq!(ended.sim.nonce_uses().len(), ORDERS);
    let accounts: BTreeSet<_> = ended.sim.nonce_uses().into_iter().map(|used| used.nonce.account).collect();
    assert_eq!(accounts.len(), OPAQUE_ACCOUNTS);
}

#[tokio::test(start_paused = true)]
async fn reverts_use_opaque_values_too() {
    let config = SimConfig { fail_rate: Rate::from_percent(30).unwrap(), ..reliable() };
    let ended = run_opaque(2, config).await;
    check(2, &ended);
    assert!(ended.sim.nonce_uses().len() > ORDERS);
}

#[tokio::test(start_paused = true)]
async fn faults_execute_no_order_twice() {
    let rate = |percent| Rate::from_percent(percent).unwrap();
    for seed in 0..std::env::var("SEEDS").map_or(8, |text| text.parse().expect("a number")) {
        let faults = FaultConfig {
            lost_request_rate: rate(10),
            lost_reply_rate: rate(10),
            drop_rate: rate(10),
            duplicate_rate: rate(10),
            delay_rate: rate(10),
            delay_slots: 20,
            node_lag_rate: rate(10),
            node_lag_slots: 60,
            history_lag_rate: rate(10),
            history_lag_slots: 20,
            history_prune_rate: rate(10),
            history_kept_slots: 40,
            foreign_rate: rate(1),
            reorg_rate: rate(3),
            reorg_slots: 20,
            reorg_loss_rate: rate(20),
            eviction_rate: rate(5),
            fee_spike_rate: rate(10),
            fee_spike_slots: 50,
            fee_spike_percent: 500,
            ..FaultConfig::default()
        };
        check(seed, &run(seed, SimConfig { faults, ..reliable() }).await);
        check(seed, &run_opaque(seed, SimConfig { faults, ..reliable() }).await);
    }
}
