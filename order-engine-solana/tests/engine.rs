//! A whole engine on a real Solana runtime: orders end as the chain says, and none is executed twice.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::orders::World;
use common::proxy::Proxy;
use common::trading::{DeskRouter, ended, submit, traded};
use order_engine_core::{Engine, EngineConfig, FailureCode, MemoryStore, Status};
use order_engine_solana::SolanaVenue;

async fn engine_on(venue: SolanaVenue) -> Engine {
    let mut config = EngineConfig::default();
    config.observe_interval = Duration::from_millis(50);
    let engine = Engine::builder().store(MemoryStore::new()).router(DeskRouter).venue(venue).config(config);
    let engine = engine.build().await.unwrap();
    tokio::spawn(engine.run(4));
    engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_executed_once_each() {
    let world = World::new().await;
    let engine = engine_on(world.venue()).await;
    let mut orders = Vec::new();
    for amount in 1..=20 {
        orders.push(submit(&engine, &world, amount).await);
    }
    for id in orders {
        assert_eq!(ended(&engine, id).await.status(), Status::Confirmed);
    }
    let sold = (1..=20).sum::<u64>();
    assert_eq!(traded(&world).await, (sold, 2 * sold));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_transaction_expires_by_proof_and_the_order_is_executed_by_another_one() {
    let world = World::new().await;
    // More than all sendings of the first transaction, so that it is lost for good.
    let lost = Arc::new(AtomicUsize::new(usize::MAX));
    let node = Proxy::losing(&world.chain.url, Arc::clone(&lost)).await;
    let engine = engine_on(world.venue_over(&[&node.url], world.options())).await;
    let id = submit(&engine, &world, 100).await;
    while engine.order(id).await.unwrap().unwrap().state.attempt() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(traded(&world).await, (0, 0));
    lost.store(0, Ordering::Relaxed);
    assert_eq!(ended(&engine, id).await.status(), Status::Confirmed);
    assert_eq!(traded(&world).await, (100, 200));
    assert_eq!(engine.find_on_chain(id).await.unwrap().map(|found| found.len()), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_the_wallet_cannot_pay_fails_at_once() {
    let world = World::new().await;
    let engine = engine_on(world.venue()).await;
    let id = submit(&engine, &world, 1_000_001).await;
    let order = ended(&engine, id).await;
    assert_eq!(order.status(), Status::Failed);
    assert_eq!(
        order.state.failure().map(|failure| failure.code.clone()),
        Some(FailureCode::INSUFFICIENT_FUNDS)
    );
    assert_eq!(traded(&world).await, (0, 0));
}
