//! Tokens whose balances are not what they are told are refused before anything is signed.

mod common;

use alloy_primitives::hex;
use alloy_sol_types::SolValue as _;
use common::abi::Token;
use common::contracts::{DEPLOYER, ONE};
use common::world::{Desk, World};
use order_engine_core::FailureClass;
use order_engine_evm::{Address, EvmVenueOptions, TOKEN_NOT_SUPPORTED, U256, WalletSigner as _};
use serde_json::json;

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
