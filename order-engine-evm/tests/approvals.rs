//! What lets the router take what orders sell: permits within the swap, and approvals before it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::transaction::RlpEcdsaDecodableTx as _;
use alloy_sol_types::{Revert, SolError as _};
use async_trait::async_trait;
use common::abi::Token as Erc20;
use common::contracts::{Contracts, ONE};
use common::proxy::Proxy;
use common::world::{Desk, World, fill_of, order_on, through, until};
use order_engine_core::{
    AccountId, AccountNonce, Amount, FailureClass, FailureCode, NonceSource, Observation, PrepareRequest,
    StepError, SubmitReport, Venue as _,
};
use order_engine_evm::{
    ALLOWANCE_MISSING, Address, AllowanceGoal, Bytes, Deployment, EvmVenueOptions, PermitPolicy, U256,
    WalletSigner as _,
};
use serde_json::json;

/// Blocks after which what landed is final here.
const FINAL: u64 = 8;
const PATIENCE: Duration = Duration::from_mins(1);

/// Returns a chain on which the wallet has allowed nobody to take its tokens.
async fn closed_world() -> World {
    let world = World::new().await;
    let (owner, router) = (world.wallet.address(), world.contracts.router);
    world.chain.call("anvil_impersonateAccount", json!([owner])).await.unwrap();
    world.chain.call("evm_setAutomine", json!([true])).await.unwrap();
    let Contracts { x, y, .. } = world.contracts;
    for token in [x, y] {
        let none = Erc20::approveCall { spender: router, amount: U256::ZERO };
        world.chain.write(owner, token, &none).await;
    }
    world.chain.call("anvil_stopImpersonatingAccount", json!([owner])).await.unwrap();
    world.chain.call("evm_setAutomine", json!([false])).await.unwrap();
    world.chain.mine(FINAL).await;
    world
}

fn desk(world: &World, permits: PermitPolicy) -> Desk {
    world.desk_over(&[&world.chain.url], EvmVenueOptions::default().with_permits(permits))
}

async fn allowance(world: &World, token: Address) -> U256 {
    let (owner, spender) = (world.wallet.address(), world.contracts.router);
    world.chain.read(token, &Erc20::allowanceCall { owner, spender }).await
}

async fn nonce(world: &World) -> u64 {
    let count = world.chain.call("eth_getTransactionCount", json!([world.wallet.address(), "pending"])).await;
    u64::from_str_radix(&count.unwrap().as_str().unwrap()[2..], 16).unwrap()
}

/// Gives the nonce that comes so many after the wallet's next one.
#[derive(Debug)]
struct After(u64);

#[async_trait]
impl NonceSource for After {
    async fn next(&self, _: &AccountId, latest: u64) -> Result<u64, StepError> {
        Ok(latest + self.0)
    }

    async fn choose(&self, nonces: Vec<AccountNonce>) -> Result<AccountNonce, StepError> {
        panic!("the account has numbers: {nonces:?}")
    }
}

async fn prepare_after(
    desk: &Desk,
    (route, least): (&order_engine_core::Route, u128),
    nonces: u64,
) -> Result<order_engine_core::SignedTx, StepError> {
    let (order, nonces) = (order_on(route), After(nonces));
    let request = PrepareRequest::new(&order, route, Amount::new(least), common::world::FENCE, &nonces);
    desk.venue.prepare(request).await
}

#[tokio::test]
async fn an_exact_permit_goes_with_the_swap_and_leaves_nothing() {
    let world = closed_world().await;
    let Contracts { x, y, .. } = world.contracts;
    let desk = desk(&world, PermitPolicy::Exact);
    for _ in 0..2 {
        let before = nonce(&world).await;
        let (order, tx, quoted) = desk.order(x, 20 * ONE, y).await;
        assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
        world.chain.mine(1 + FINAL).await;
        assert_eq!(fill_of(&desk.observe(&tx).await), (20 * ONE, quoted));
        assert_eq!(allowance(&world, x).await, U256::ZERO);
        assert_eq!(nonce(&world).await, before + 1, "it takes no transaction of its own");
        assert_eq!(desk.venue.find(order.id).await.unwrap(), [tx.id], "the tag is still the end of it");
    }
}

#[tokio::test]
async fn an_exact_permit_waits_while_the_wallet_has_others_under_way() {
    let world = closed_world().await;
    let Contracts { x, y, .. } = world.contracts;
    let desk = desk(&world, PermitPolicy::Exact);
    let route = desk.quote(x, ONE, y).await.unwrap();
    let error = prepare_after(&desk, (&route, 1), 1).await.unwrap_err();
    assert_eq!((error.failure.code, error.class), (FailureCode::ACCOUNT_BUSY, FailureClass::Unavailable));
    prepare_after(&desk, (&route, 1), 0).await.expect("it is the next one");
    // One that lands meanwhile has taken a permit that the token still takes in the block that was asked.
    let node = Proxy::start(&world.chain.url, |call, answer| {
        if call["method"] == "eth_getTransactionCount" && call["params"][1] == "latest" {
            let count = u64::from_str_radix(&answer["result"].as_str().unwrap()[2..], 16).unwrap();
            answer["result"] = json!(format!("{:#x}", count + 1));
        }
        Ok(())
    })
    .await;
    let options = EvmVenueOptions::default().with_permits(PermitPolicy::Exact);
    let moving = world.desk_over(&[&node.url], options);
    moving.pools.read().await.unwrap();
    let error = prepare_after(&moving, (&route, 1), 0).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::ACCOUNT_BUSY);
}

/// The selectors of `permit` and `nonces`.
const PERMIT: &str = "0xd505accf";
const NONCES: &str = "0x7ecebe00";

/// Lands an order with a permit, and returns why another one is not prepared by a node that names the block before as its newest one, and
/// changes the answers to calls of a function for it.
async fn refused_behind(
    function: &'static str,
    mut change: impl FnMut(&mut serde_json::Value) + Send + 'static,
) -> StepError {
    let world = closed_world().await;
    let Contracts { x, y, .. } = world.contracts;
    let head = world.chain.call("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    let desk = desk(&world, PermitPolicy::Exact);
    let (_, first, _) = desk.order(x, ONE, y).await;
    assert_eq!(desk.venue.submit(&first).await, SubmitReport::Accepted);
    world.chain.mine(1).await;
    let node = Proxy::start(&world.chain.url, move |call, answer| {
        let (method, params) = (&call["method"], &call["params"]);
        if method == "eth_getBlockByNumber" && params[0] == "latest" {
            answer["result"] = head.clone();
        }
        let input = params[0]["input"].as_str().unwrap_or_default();
        if method == "eth_call" && input.starts_with(function) && params[1]["blockHash"] == head["hash"] {
            change(answer);
        }
        Ok(())
    })
    .await;
    let behind = world.desk_over(&[&node.url], EvmVenueOptions::default().with_permits(PermitPolicy::Exact));
    behind.pools.read().await.unwrap();
    let route = desk.quote(x, ONE, y).await.unwrap();
    let error = prepare_after(&behind, (&route, 1), 0).await.unwrap_err();
    prepare_after(&desk, (&route, 1), 0).await.expect("a node that answers for its block takes it");
    error
}

#[tokio::test]
async fn a_permit_that_another_one_precedes_waits_and_is_not_refused_for_good() {
    // The token answers for a block as after the next one, as it does on anvil while that makes a block.
    let error = refused_behind(PERMIT, |answer| {
        let message = "execution reverted: UniswapV2: INVALID_SIGNATURE";
        let data = Bytes::from(Revert::from("UniswapV2: INVALID_SIGNATURE").abi_encode());
        answer["error"] = json!({ "code": 3, "message": message, "data": data });
        answer.as_object_mut().unwrap().remove("result");
    })
    .await;
    assert_eq!((error.failure.code, error.class), (FailureCode::ACCOUNT_BUSY, FailureClass::Unavailable));
}

#[tokio::test]
async fn a_permit_whose_number_is_of_a_later_block_waits_and_is_not_refused_for_good() {
    let mut is_first = true;
    let error = refused_behind(NONCES, move |answer| {
        if std::mem::take(&mut is_first) {
            answer["result"] = json!(alloy_primitives::B256::with_last_byte(1));
        }
    })
    .await;
    assert_eq!((error.failure.code, error.class), (FailureCode::ACCOUNT_BUSY, FailureClass::Unavailable));
}

#[tokio::test]
async fn an_allowance_that_is_gone_at_the_landing_is_asked_for_again() {
    let world = closed_world().await;
    let Contracts { x, y, .. } = world.contracts;
    let trader = desk(&world, PermitPolicy::Unlimited);
    let (_, first, _) = trader.order(x, ONE, y).await;
    trader.venue.submit(&first).await;
    world.chain.mine(1).await;
    let route = trader.quote(x, ONE, y).await.unwrap();
    let swap = prepare_after(&trader, (&route, 1), 1).await.expect("it needs no permit");
    trader.venue.approve(x, U256::ZERO).await.unwrap();
    world.chain.mine(1).await;
    assert_eq!(trader.venue.submit(&swap).await, SubmitReport::Accepted);
    world.chain.mine(1 + FINAL).await;
    let Observation::Reverted { class, .. } = trader.observe(&swap).await else { panic!("it failed") };
    assert_eq!(class, FailureClass::Requote, "another attempt brings a permit");
    prepare_after(&trader, (&route, 1), 0).await.expect("it does");
}

#[tokio::test]
async fn of_orders_with_unlimited_permits_any_may_land_first() {
    for order in [[0, 1], [1, 0]] {
        let world = closed_world().await;
        let Contracts { x, y, .. } = world.contracts;
        let desk = desk(&world, PermitPolicy::Unlimited);
        let route = desk.quote(x, ONE, y).await.unwrap();
        let first = nonce(&world).await;
        // The order that is signed first has the first or the second nonce.
        let mut signed = Vec::new();
        for after in order {
            signed.push(prepare_after(&desk, (&route, 1), after).await.unwrap());
        }
        for tx in &signed {
            assert_eq!(desk.venue.submit(tx).await, SubmitReport::Accepted);
        }
        world.chain.mine(1).await;
        assert_eq!(nonce(&world).await, first + 2);
        for tx in &signed {
            assert_eq!(fill_of(&desk.observe(tx).await).0, ONE);
        }
        let left = allowance(&world, x).await;
        assert!(left > U256::MAX / U256::from(2), "{left}");
    }
}

#[tokio::test]
async fn what_takes_no_permit_is_refused_by_name() {
    let world = closed_world().await;
    let Contracts { x, y, weth, .. } = world.contracts;
    let missing = (ALLOWANCE_MISSING, FailureClass::Permanent);
    let refused = async |desk: &Desk, pool: Address, (input, output): (Address, Address)| {
        let route = through(pool, (input, ONE / 100), (output, 1));
        let error = desk.prepare(&route, 1).await.unwrap_err();
        (error.failure.code, error.class)
    };
    let never = desk(&world, PermitPolicy::Never);
    never.pools.read().await.unwrap();
    assert_eq!(refused(&never, world.v2[0], (x, y)).await, missing, "the policy");
    let options = || EvmVenueOptions::default().with_permits(PermitPolicy::Unlimited);
    let over = async |deployment: Deployment, pool: Address| {
        let pools = world.directory_of(deployment, [pool]);
        pools.read().await.unwrap();
        Desk::new(world.chain.cluster(), &world.wallet, pools, options())
    };
    // The router of V2 has a function for no permit. What it may take is another matter than what the other router may.
    let spender = world.contracts.v2_router;
    world.chain.call("anvil_impersonateAccount", json!([world.wallet.address()])).await.unwrap();
    world.chain.call("evm_setAutomine", json!([true])).await.unwrap();
    world.chain.write(world.wallet.address(), x, &Erc20::approveCall { spender, amount: U256::ZERO }).await;
    let fork = over(world.contracts.fork(), world.v2[0]).await;
    assert_eq!(refused(&fork, world.v2[0], (x, y)).await, missing, "the router");
    // WETH has no permits, but answers any call with success. Where another token is the wrapped one, it is sold as others are.
    let data = order_engine_evm::Bytes::from(alloy_primitives::hex!("d0e30db0"));
    world
        .chain
        .send(world.wallet.address(), json!({ "to": weth, "value": U256::from(ONE), "data": data }))
        .await;
    let fee = order_engine_routing::Fee::new(3, 1_000).unwrap();
    let elsewhere = Deployment::uniswap(world.contracts.router, y).with_v2(world.contracts.v2_factory, fee);
    let elsewhere = over(elsewhere, world.v2[2]).await;
    assert_eq!(refused(&elsewhere, world.v2[2], (weth, x)).await, missing, "the token");
}

#[tokio::test]
async fn an_allowance_is_made_once_and_final_whoever_wants_it() {
    let world = closed_world().await;
    let (x, first) = (world.contracts.x, nonce(&world).await);
    // Two processes want it at once, of which one dies after it has sent the approval.
    let dying = world.desk().venue;
    dying.approve(x, U256::MAX).await.unwrap();
    drop(dying);
    let goal = AllowanceGoal::unlimited(x);
    let ensure = async || world.desk().venue.ensure_allowance(goal, PATIENCE).await;
    let mined = Arc::new(tokio::sync::Notify::new());
    let stop = Arc::clone(&mined);
    let mine = async {
        while tokio::time::timeout(Duration::from_millis(50), stop.notified()).await.is_err() {
            world.chain.mine(1).await;
        }
    };
    let both = async {
        let (one, other) = tokio::join!(ensure(), ensure());
        one.unwrap();
        other.unwrap();
        mined.notify_one();
    };
    tokio::join!(mine, both);
    assert_eq!(allowance(&world, x).await, U256::MAX);
    assert_eq!(nonce(&world).await, first + 1, "one transaction was enough");
    ensure().await.unwrap();
    assert_eq!(nonce(&world).await, first + 1, "what is there costs nothing");
}

#[tokio::test]
async fn an_approval_that_lands_while_it_is_looked_for_is_not_sent_again() {
    let world = closed_world().await;
    let (x, first) = (world.contracts.x, nonce(&world).await);
    world.desk().venue.approve(x, U256::MAX).await.unwrap();
    world.chain.mine(1).await;
    // The node gets the block after its first answer about the newest one.
    let mut has_block = false;
    let node = Proxy::start(&world.chain.url, move |call, answer| {
        let before = match (call["method"].as_str().unwrap(), &call["params"][1]) {
            ("eth_getTransactionCount", block) if block == "latest" => json!(format!("{first:#x}")),
            ("eth_call", block) if block == "latest" => json!(format!("{:#066x}", U256::ZERO)),
            _ => return Ok(()),
        };
        if !std::mem::replace(&mut has_block, true) {
            answer["result"] = before;
        }
        Ok(())
    })
    .await;
    let venue = world.desk_over(&[&node.url], EvmVenueOptions::default()).venue;
    let error = venue.ensure_allowance(AllowanceGoal::unlimited(x), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Unavailable, "it is there, and not final");
    world.chain.mine(1 + FINAL).await;
    venue.ensure_allowance(AllowanceGoal::unlimited(x), Duration::ZERO).await.unwrap();
    assert_eq!(nonce(&world).await, first + 1, "one transaction was enough");
}

#[tokio::test]
async fn a_stuck_approval_is_replaced_as_nodes_want_it() {
    let world = closed_world().await;
    let x = world.contracts.x;
    let sent: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&sent);
    let node = Proxy::start(&world.chain.url, move |call, _| {
        if call["method"] == "eth_sendRawTransaction" {
            let bytes = call["params"][0].as_str().unwrap().to_owned();
            let mut seen = seen.lock().unwrap();
            if seen.last() != Some(&bytes) {
                seen.push(bytes);
            }
        }
        Ok(())
    })
    .await;
    let fees = order_engine_evm::FeePolicy::default().with_base_fee_percent(100);
    let desk = world.desk_over(&[&node.url], EvmVenueOptions::default().with_fees(fees));
    let ensured = desk.venue.ensure_allowance(AllowanceGoal::unlimited(x), PATIENCE);
    let blocks = async {
        until(async || !sent.lock().unwrap().is_empty()).await;
        // Each block costs four times as much as the approval pays, until it is replaced.
        while sent.lock().unwrap().len() < 2 {
            world.chain.set_base_fee(4_000_000_000).await;
            world.chain.mine(1).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        until(async || {
            world.chain.mine(1).await;
            allowance(&world, x).await == U256::MAX
        })
        .await;
        world.chain.mine(FINAL).await;
    };
    let (ensured, ()) = tokio::join!(ensured, blocks);
    ensured.unwrap();
    let read = |bytes: &String| {
        let bytes = alloy_primitives::hex::decode(bytes).unwrap();
        alloy_consensus::TxEip1559::eip2718_decode(&mut &*bytes).unwrap().strip_signature()
    };
    let sent: Vec<_> = sent.lock().unwrap().iter().map(read).collect();
    for pair in sent.windows(2) {
        assert_eq!((pair[0].nonce, &pair[0].input), (pair[1].nonce, &pair[1].input));
        assert!(pair[1].max_fee_per_gas * 10 >= pair[0].max_fee_per_gas * 11);
        assert!(pair[1].max_priority_fee_per_gas * 10 >= pair[0].max_priority_fee_per_gas * 11);
    }
}

#[tokio::test]
async fn an_allowance_of_no_token_is_refused_and_one_that_does_not_come_ends() {
    let world = closed_world().await;
    let venue = world.desk().venue;
    let nobody = AllowanceGoal::unlimited(Address::with_last_byte(0x99));
    let error = venue.ensure_allowance(nobody, PATIENCE).await.unwrap_err();
    assert_eq!((error.failure.code, error.class), (FailureCode::UNKNOWN_TOKEN, FailureClass::Permanent));
    let goal = AllowanceGoal::exactly(world.contracts.x, U256::from(7));
    let error = venue.ensure_allowance(goal, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Unavailable, "no block is made");
    world.chain.mine(1 + FINAL).await;
    venue.ensure_allowance(goal, Duration::ZERO).await.expect("it has come since");
    assert_eq!(allowance(&world, world.contracts.x).await, U256::from(7));
}
