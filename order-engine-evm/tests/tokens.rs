//! Tokens that are not as others: those whose balances are not what they are told are refused before anything is signed, and allowances of
//! their own kind are made or refused by name.

mod common;

use std::time::Duration;

use alloy_primitives::hex;
use alloy_sol_types::SolValue as _;
use common::abi::Token;
use common::contracts::{DEPLOYER, ONE};
use common::world::{Desk, World, fill_of, until};
use order_engine_core::{FailureClass, SubmitReport, Venue as _};
use order_engine_evm::{
    ALLOWANCE_MISSING, Address, AllowanceGoal, EvmVenueOptions, PermitPolicy, TOKEN_NOT_SUPPORTED, U256,
    WalletSigner as _,
};
use serde_json::json;

/// Blocks after which what landed is final here.
const FINAL: u64 = 8;
const ERC20: &str = "@uniswap/v2-periphery/build/ERC20.json";

/// Returns the code of a token that does what another one does with its own storage, but says of each balance that it is a hundredth more,
/// as a token whose balances grow by themselves.
fn growing(token: Address) -> String {
    let head = "5f3560e01c6370a08231143660005f375f5f365f73"; // Is it `balanceOf`? The call is copied.
    let tail = concat!(
        "5af43d60005f3e", // The other one's code runs on the own storage, and its answer is copied.
        "15604757",       // If it failed, so does this.
        "15604357",       // If it is another function, its answer is the answer.
        "5f5160650260649004", // The balance times 101, and by 100.
        "5f52",
        "5b3d5ff3",
        "5b3d5ffd",
    );
    format!("0x{head}{}{tail}", hex::encode(token))
}

/// Returns the code of a token that does what another one does with its own storage, but changes no allowance from one amount to
/// another without zero between them, and returns nothing where the standard wants a truth, as USDT does.
fn like_usdt(token: Address) -> String {
    let head = concat!(
        "5f3560e01c8063095ea7b314605b57", // Is it `approve`?
        "5b365f5f375f5f365f73",           // The call is copied.
    );
    let tail = concat!(
        "5af43d5f5f3e6039573d5ffd", // If it failed, so does this.
        "5b8063095ea7b3148163a9059cbb14178163",
        "23b872dd1417605757", // Is it `approve`, `transfer` or `transferFrom`?
        "3d5ff3",             // If not, its answer is the answer.
        "5b5f5ff3",           // Nothing is.
        "5b63dd62ed3e60e01b5f5233600452600435602452", // The allowance that there is.
        "60205f60445f305afa50",
        "5f51156024351517600f575f5ffd", // If both are something, it fails without a reason.
    );
    format!("0x{head}{}{tail}", hex::encode(token))
}

/// Returns the code of a token that does what another one does with its own storage, but has no `permit` of the standard's form, as DAI.
fn like_dai(token: Address) -> String {
    let head = "5f3560e01c63d505accf14603b57365f5f375f5f365f73";
    let tail = "5af43d5f5f3e6037573d5ffd5b3d5ff35b5f5ffd";
    format!("0x{head}{}{tail}", hex::encode(token))
}

/// A token with a pair.
struct Listed {
    token: Address,
    pair: Address,
}

/// Returns a token of the wallet with this code, of which the router may take so much, and which trades with another token.
async fn listed(world: &World, code: fn(Address) -> String, allowed: u128) -> Listed {
    let (chain, wallet) = (&world.chain, world.wallet.address());
    chain.call("evm_setAutomine", json!([true])).await.unwrap();
    let supply = U256::from(u128::MAX).abi_encode();
    let [token, other] =
        [chain.deploy(DEPLOYER, ERC20, &supply).await, chain.deploy(DEPLOYER, ERC20, &supply).await];
    chain.call("anvil_setCode", json!([token, code(other)])).await.unwrap();
    chain.call("anvil_impersonateAccount", json!([wallet])).await.unwrap();
    let (v2, router) = (world.contracts.v2_router, world.contracts.router);
    for (owner, spender, amount) in [(DEPLOYER, v2, U256::MAX), (wallet, router, U256::from(allowed))] {
        chain.write(owner, token, &Token::approveCall { spender, amount }).await;
    }
    chain.call("anvil_stopImpersonatingAccount", json!([wallet])).await.unwrap();
    let amount = U256::from(1_000 * ONE);
    chain.write(DEPLOYER, token, &Token::transferCall { to: wallet, amount }).await;
    let pair = world.contracts.pair(chain, (token, 1_000 * ONE), (world.contracts.y, 1_000 * ONE)).await;
    chain.call("evm_setAutomine", json!([false])).await.unwrap();
    chain.mine(FINAL).await;
    Listed { token, pair }
}

fn desk(world: &World, pair: Address, permits: PermitPolicy) -> Desk {
    let pools = world.directory_of(world.contracts.uniswap(), [pair]);
    let options = EvmVenueOptions::default().with_permits(permits);
    Desk::new(world.chain.cluster(), &world.wallet, pools, options)
}

#[tokio::test]
async fn an_allowance_that_has_to_be_zero_first_is_and_the_token_trades() {
    let world = World::new().await;
    let Listed { token, pair } = listed(&world, like_usdt, 7).await;
    let desk = desk(&world, pair, PermitPolicy::Never);
    desk.pools.read().await.unwrap();
    let refused = desk.venue.approve(token, U256::from(8)).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Requote, "the token wants zero first");
    let goal = AllowanceGoal::exactly(token, U256::from(ONE));
    let ensured = desk.venue.ensure_allowance(goal, Duration::from_mins(1));
    let blocks = async {
        until(async || {
            world.chain.mine(1).await;
            allowance(&world, token).await == U256::from(ONE)
        })
        .await;
        world.chain.mine(FINAL).await;
    };
    let (ensured, ()) = tokio::join!(ensured, blocks);
    ensured.unwrap();
    assert_eq!(allowance(&world, token).await, U256::from(ONE));
    let y = world.contracts.y;
    for (input, output) in [(token, y), (y, token)] {
        let (_, tx, quoted) = desk.order(input, ONE, output).await;
        assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
        world.chain.mine(1).await;
        assert_eq!(fill_of(&desk.observe(&tx).await), (ONE, quoted));
    }
}

async fn allowance(world: &World, token: Address) -> U256 {
    let (owner, spender) = (world.wallet.address(), world.contracts.router);
    world.chain.read(token, &Token::allowanceCall { owner, spender }).await
}

#[tokio::test]
async fn a_token_with_permits_of_another_form_wants_an_approval() {
    let world = World::new().await;
    let Listed { token, pair } = listed(&world, like_dai, 0).await;
    for permits in [PermitPolicy::Exact, PermitPolicy::Unlimited] {
        let desk = desk(&world, pair, permits);
        let route = desk.quote(token, ONE, world.contracts.y).await.unwrap();
        let error = desk.prepare(&route, 1).await.unwrap_err();
        assert_eq!((error.failure.code, error.class), (ALLOWANCE_MISSING, FailureClass::Permanent));
        assert!(error.failure.message.contains("refuses its permit"), "{}", error.failure.message);
    }
    let desk = desk(&world, pair, PermitPolicy::Exact);
    desk.venue.approve(token, U256::from(ONE)).await.unwrap();
    world.chain.mine(1).await;
    let (_, tx, quoted) = desk.order(token, ONE, world.contracts.y).await;
    desk.venue.submit(&tx).await;
    world.chain.mine(1).await;
    assert_eq!(fill_of(&desk.observe(&tx).await), (ONE, quoted));
}

#[tokio::test]
async fn a_token_whose_balances_grow_by_themselves_is_refused() {
    let world = World::new().await;
    let (chain, y, wallet) = (&world.chain, world.contracts.y, world.wallet.address());
    chain.call("evm_setAutomine", json!([true])).await.unwrap();
    let supply = U256::from(u128::MAX).abi_encode();
    let token = chain.deploy(DEPLOYER, ERC20, &supply).await;
    for (spender, owner) in [(world.contracts.v2_router, DEPLOYER), (world.contracts.router, wallet)] {
        chain.call("anvil_impersonateAccount", json!([owner])).await.unwrap();
        chain.write(owner, token, &Token::approveCall { spender, amount: U256::MAX }).await;
    }
    let amount = U256::from(1_000 * ONE);
    chain.write(DEPLOYER, token, &Token::transferCall { to: wallet, amount }).await;
    let pair = world.contracts.pair(chain, (token, 1_000 * ONE), (y, 1_000 * ONE)).await;
    let trades = async || {
        let pools = world.directory_of(world.contracts.uniswap(), [pair]);
        let desk = Desk::new(chain.cluster(), &world.wallet, pools, EvmVenueOptions::default());
        let mut refused = Vec::new();
        for (input, output) in [(token, y), (y, token)] {
            let route = desk.quote(input, ONE, output).await.unwrap();
            refused.push(
                desk.prepare(&route, 1).await.map(|_| ()).map_err(|error| (error.failure.code, error.class)),
            );
        }
        refused
    };
    assert_eq!(trades().await, [Ok(()), Ok(())], "it is a token like others");
    let other = chain.deploy(DEPLOYER, ERC20, &supply).await;
    chain.call("anvil_setCode", json!([token, growing(other)])).await.unwrap();
    let owner = wallet;
    assert_eq!(chain.read(token, &Token::balanceOfCall { owner }).await, amount + amount / U256::from(100));
    let refused = (TOKEN_NOT_SUPPORTED, FailureClass::Permanent);
    assert_eq!(trades().await, [Err(refused.clone()), Err(refused)]);
}
