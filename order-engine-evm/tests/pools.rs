//! Which pools are read, and how far.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::contracts::{Contracts, ONE};
use common::proxy::Proxy;
use common::world::{Desk, World};
use order_engine_core::{Amount, FailureCode, Leg, Route, Runtime};
use order_engine_evm::{Address, Cluster, EvmVenueOptions, PoolDirectory, PoolError};
use order_engine_routing::{Moment, QuoteError};
use serde_json::json;

#[tokio::test]
async fn only_pools_of_the_deployments_factories_are_read() {
    let world = World::new().await;
    let Contracts { x, .. } = world.contracts;
    let nobody = Address::with_last_byte(0x99);
    let addresses = [world.v2[0], world.v3[0], x, nobody];
    let errors = async |deployment| {
        let directory = world.directory_of(deployment, addresses);
        let report = directory.read().await.unwrap();
        assert_eq!(report.read + report.unread.len(), addresses.len());
        report.unread.into_iter().map(|unread| unread.error).collect::<Vec<_>>()
    };
    let none = [PoolError::NoPool(x), PoolError::NoPool(nobody)];
    assert_eq!(errors(world.contracts.uniswap()).await, none);
    // A fork has pairs of V2 only.
    let foreign = PoolError::ForeignFactory(world.v3[0]);
    assert_eq!(errors(world.contracts.fork()).await, [&[foreign][..], &none].concat());
    // The same pairs under another factory are somebody else's.
    let fee = order_engine_routing::Fee::new(3, 1_000).unwrap();
    let elsewhere = world.contracts.uniswap().with_v2(world.contracts.v3_factory, fee);
    let foreign = PoolError::ForeignFactory(world.v2[0]);
    assert_eq!(errors(elsewhere).await, [&[foreign][..], &none].concat());
}

#[tokio::test]
async fn a_pool_that_cannot_be_read_is_left_out_and_named() {
    let world = World::new().await;
    let is_broken = Arc::new(AtomicBool::new(false));
    for broken in [world.v2[1], world.v3[2]] {
        let breaks = Arc::clone(&is_broken);
        // The contract is gone: it answers every call with nothing.
        let node = Proxy::start(&world.chain.url, move |call, answer| {
            if breaks.load(Ordering::Relaxed) && call["params"][0]["to"] == json!(broken) {
                answer["result"] = json!("0x");
            }
            Ok(())
        })
        .await;
        let cluster = Arc::new(Cluster::new(common::anvil::nodes(&[&node.url]), Runtime::tokio()).unwrap());
        let pools: Vec<Address> = world.v2.iter().chain(&world.v3).copied().collect();
        let directory = PoolDirectory::new(cluster, world.contracts.uniswap(), pools.clone());
        assert_eq!(directory.read().await.unwrap().read, pools.len());
        is_broken.store(true, Ordering::Relaxed);
        world.chain.mine(1).await;
        let report = directory.read().await.unwrap();
        assert_eq!(report.read, pools.len() - 1);
        let unread: Vec<_> = report.unread.iter().map(|unread| (unread.pool, &unread.error)).collect();
        assert!(matches!(unread[..], [(pool, PoolError::Unreadable(_))] if pool == broken), "{unread:?}");
        assert!(directory.pool(broken).is_none(), "it is not traded on what it was");
        is_broken.store(false, Ordering::Relaxed);
        world.chain.mine(1).await;
        assert_eq!(directory.read().await.unwrap().read, pools.len(), "it is back");
    }
}

#[tokio::test]
async fn a_trade_goes_as_far_as_ticks_were_read() {
    let world = World::new().await;
    // The price is 560 ticks before the end of a word, and the liquidity goes on for 2,440 after it.
    let Contracts { x, z, .. } = world.contracts;
    world.chain.call("evm_setAutomine", json!([true])).await.unwrap();
    let position = [(-300, 300, 1_000 * ONE)];
    let pool = world.contracts.pool(&world.chain, (x, z), (500, 10), (2_000, &position)).await;
    let sold = z.to_string();
    let quote = async |reach| {
        let cluster = world.chain.cluster();
        let directory = order_engine_evm::PoolDirectory::new(cluster, world.contracts.uniswap(), [pool]);
        let directory = directory.with_reach_ticks(reach);
        directory.read().await.unwrap();
        let pool = directory.pool(pool).unwrap();
        let (direction, at) = (pool.direction(&sold).unwrap(), Moment::from_unix_seconds(0));
        [100, 600].map(|amount| pool.amount_out(direction, Amount::new(amount * ONE), at))
    };
    let [small, large] = quote(0).await;
    assert_eq!(large, Err(QuoteError::NotEnoughLiquidity));
    let [same, more] = quote(5_000).await;
    assert_eq!(small, same);
    assert!(more.unwrap() > same.unwrap());
}

#[tokio::test]
async fn the_router_of_a_fork_refuses_a_split() {
    let world = World::new().await;
    let Contracts { x, y, z, .. } = world.contracts;
    let pools = world.directory_of(world.contracts.fork(), world.v2.clone());
    let desk = Desk::new(world.chain.cluster(), &world.wallet, pools, EvmVenueOptions::default());
    desk.pools.read().await.unwrap();
    let leg = |pool: Address, input: Address, output: Address| {
        let one = Amount::new(ONE);
        Leg::new("Fork", pool.to_string(), (input.to_string(), one), (output.to_string(), one))
    };
    let both = vec![leg(world.v2[0], x, y), leg(world.v2[0], x, y)];
    let split = Route::new("Fork", both, Amount::new(2 * ONE), Amount::new(2 * ONE));
    let error = desk.prepare(&split, 1).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::REJECTED);
    assert!(error.failure.message.contains("one path only"), "{}", error.failure);
    let path = vec![leg(world.v2[0], x, y), leg(world.v2[1], y, z)];
    let path = Route::new("Fork", path, Amount::new(ONE), Amount::new(ONE));
    desk.prepare(&path, 1).await.expect("a path of two pairs is one call");
}

#[tokio::test]
async fn a_node_that_cannot_simulate_with_balances_still_estimates() {
    let world = World::new().await;
    let node = Proxy::start(&world.chain.url, |call, answer| {
        if call["method"] == "eth_simulateV1" {
            let error = json!({ "code": -32_601, "message": "Method not found" });
            *answer = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error });
        }
        Ok(())
    })
    .await;
    let desk = world.desk_over(&[&node.url], EvmVenueOptions::default());
    let route = desk.quote(world.contracts.x, ONE, world.contracts.y).await.unwrap();
    desk.prepare(&route, route.amount_out.base_units()).await.expect("it is signed");
    let more = common::world::through(world.v2[0], (world.contracts.x, ONE), (world.contracts.y, 3 * ONE));
    let error = desk.prepare(&more, 3 * ONE).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::SLIPPAGE, "the estimate runs the call");
}
