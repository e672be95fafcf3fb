//! The life of a transaction on a real node, with Uniswap's own contracts and real signatures.

mod common;

use alloy_primitives::hex;
use common::contracts::ONE;
use common::world::{Desk, ETH, FENCE, World, certainty_of, fill_of, through, until};
use order_engine_core::{
    AccountView, Amount, Certainty, FailureClass, FailureCode, Observation, Order, ReplaceRequest, SignedTx,
    SubmitReport, Venue as _,
};
use order_engine_evm::{
    ALLOWANCE_MISSING, EvmVenueOptions, FEE_TOO_HIGH, FeePolicy, TOKEN_NOT_SUPPORTED, U256,
    WalletSigner as _, hash_of,
};
use serde_json::{Value, json};

/// Blocks after which what landed is final here.
const FINAL: u64 = 8;

/// Returns the two fees of a transaction as the node has it: the most for a unit of gas, and the tip.
async fn fees(world: &World, tx: &SignedTx) -> (u128, u128) {
    let hash = hash_of(&tx.id).unwrap();
    let tx = world.chain.transaction(hash).await;
    let fee = |name: &str| u128::from_str_radix(&tx[name].as_str().unwrap()[2..], 16).unwrap();
    (fee("maxFeePerGas"), fee("maxPriorityFeePerGas"))
}

async fn bump(desk: &Desk, order: &Order, tx: &SignedTx, percent: u32) -> SignedTx {
    desk.venue.replace(ReplaceRequest::new(order, tx, percent, FENCE)).await.unwrap()
}

#[tokio::test]
async fn a_transaction_lands_once_is_final_and_is_found_by_its_order() {
    let world = World::new().await;
    let (desk, wallet) = (world.desk(), world.wallet.address());
    let (x, y) = (world.contracts.x, world.contracts.y);
    let before = (world.tokens(x).await, world.tokens(y).await, world.chain.wei(wallet).await);
    let (order, tx, quoted) = desk.order(x, 50 * ONE, y).await;
    assert_eq!(world.chain.wei(wallet).await, before.2, "preparing sends nothing");
    assert!(matches!(desk.observe(&tx).await, Observation::NotFound { searched_through: None, .. }));
    assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
    assert_eq!(desk.venue.submit(&tx).await, SubmitReport::AlreadyKnown);
    world.chain.mine(1).await;
    let seen = desk.observe(&tx).await;
    assert_eq!((fill_of(&seen), certainty_of(&seen)), ((50 * ONE, quoted), Certainty::Processed));
    world.chain.mine(FINAL / 2).await;
    assert_eq!(certainty_of(&desk.observe(&tx).await), Certainty::Confirmed);
    world.chain.mine(FINAL / 2).await;
    let last = desk.observe(&tx).await;
    assert_eq!((fill_of(&last), certainty_of(&last)), ((50 * ONE, quoted), Certainty::Finalized));
    let after = (world.tokens(x).await, world.tokens(y).await);
    assert_eq!((before.0 - after.0, after.1 - before.1), (50 * ONE, quoted), "the balances are the events");
    let spent = before.2 - world.chain.wei(wallet).await;
    assert!(spent > 0 && Amount::new(spent) <= tx.max_fee.unwrap(), "{spent} wei");
    assert_eq!(desk.venue.find(order.id).await.unwrap(), [tx.id]);
}

#[tokio::test]
async fn eth_is_wrapped_and_unwrapped_without_dust() {
    let world = World::new().await;
    let (desk, wallet) = (world.desk(), world.wallet.address());
    let (weth, x) = (world.contracts.weth, world.contracts.x);
    for (input, amount, output) in [(weth, ONE, x), (x, 700 * ONE, weth)] {
        let before = world.chain.wei(wallet).await;
        let (_, tx, quoted) = desk.order(input, amount, output).await;
        desk.venue.submit(&tx).await;
        world.chain.mine(1).await;
        assert_eq!(fill_of(&desk.observe(&tx).await), (amount, quoted));
        let hash = hash_of(&tx.id).unwrap();
        let receipt = world.chain.call("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        let number = |name: &str| u128::from_str_radix(&receipt[name].as_str().unwrap()[2..], 16).unwrap();
        let paid = before - number("gasUsed") * number("effectiveGasPrice");
        let expected = if input == weth { paid - amount } else { paid + quoted };
        assert_eq!(world.chain.wei(wallet).await, expected, "to the wei");
        assert_eq!(world.tokens(weth).await, 0);
        assert_eq!(world.tokens_of(weth, world.contracts.router).await, 0);
        assert_eq!(world.chain.wei(world.contracts.router).await, 0);
    }
}

#[tokio::test]
async fn what_would_fail_now_is_not_signed() {
    let world = World::new().await;
    let desk = world.desk();
    let (x, y, taxed) = (world.contracts.x, world.contracts.y, world.contracts.taxed);
    let refused = async |desk: &Desk, route: &order_engine_core::Route, least: u128| {
        let error = desk.prepare(route, least).await.unwrap_err();
        (error.failure.code, error.class)
    };
    let route = desk.quote(x, ONE, y).await.unwrap();
    let quoted = route.amount_out.base_units();
    let more = through(world.v2[0], (x, ONE), (y, 3 * quoted));
    let slippage = (FailureCode::SLIPPAGE, FailureClass::Requote);
    assert_eq!(refused(&desk, &more, 3 * quoted).await, slippage, "the pool pays less");
    assert_eq!(refused(&desk, &route, quoted + 1).await, slippage, "the quote is less");
    let all = through(world.v2[0], (x, 1 << 110), (y, 1));
    assert_eq!(refused(&desk, &all, 1).await.0, FailureCode::INSUFFICIENT_FUNDS);
    world.chain.call("anvil_impersonateAccount", json!([world.wallet.address()])).await.unwrap();
    world.chain.call("evm_setAutomine", json!([true])).await.unwrap();
    let none = common::abi::Token::approveCall { spender: world.contracts.router, amount: U256::ZERO };
    world.chain.write(world.wallet.address(), x, &none).await;
    assert_eq!(refused(&desk, &route, 1).await, (ALLOWANCE_MISSING, FailureClass::Permanent));
    desk.venue.approve(x, U256::from(ONE)).await.unwrap();
    let (owner, spender) = (world.wallet.address(), world.contracts.router);
    let allowed = common::abi::Token::allowanceCall { owner, spender };
    until(async || world.chain.read(x, &allowed).await == U256::from(ONE)).await;
    desk.prepare(&route, quoted).await.expect("it is allowed now");
    // A token that takes a fee of what it moves, on either side.
    let pair = world.contracts.pair(&world.chain, (taxed, 1_000 * ONE), (y, 1_000 * ONE)).await;
    let pools = world.directory_of(world.contracts.uniswap(), [pair]);
    let taxing = Desk::new(world.chain.cluster(), &world.wallet, pools, EvmVenueOptions::default());
    for (input, output) in [(taxed, y), (y, taxed)] {
        let route = taxing.quote(input, ONE, output).await.unwrap();
        assert_eq!(refused(&taxing, &route, 1).await, (TOKEN_NOT_SUPPORTED, FailureClass::Permanent));
    }
}

#[tokio::test]
async fn fees_above_the_cap_are_not_paid() {
    let world = World::new().await;
    let fees = FeePolicy::default().with_cap_wei(1_000_000_000_000);
    let desk = world.desk_over(&[&world.chain.url], EvmVenueOptions::default().with_fees(fees));
    let route = desk.quote(world.contracts.x, ONE, world.contracts.y).await.unwrap();
    let error = desk.prepare(&route, 1).await.unwrap_err();
    assert_eq!((error.failure.code, error.class), (FEE_TOO_HIGH, FailureClass::Transient));
    world.chain.set_wei(world.wallet.address(), 1_000_000_000).await;
    let desk = world.desk();
    let route = desk.quote(world.contracts.x, ONE, world.contracts.y).await.unwrap();
    let error = desk.prepare(&route, 1).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::INSUFFICIENT_FUNDS, "it cannot pay the fee");
}

#[tokio::test]
async fn a_failure_on_the_chain_is_final_and_named() {
    let world = World::new().await;
    let desk = world.desk();
    let (x, y) = (world.contracts.x, world.contracts.y);
    let (order, slipped, _) = desk.order(x, 50 * ONE, y).await;
    // Somebody else trades in front of it.
    world.front_run(&desk.pools).await;
    let before = world.tokens(x).await;
    assert_eq!(desk.venue.submit(&slipped).await, SubmitReport::Accepted);
    world.chain.mine(1 + FINAL).await;
    let Observation::Reverted { certainty, failure, class } = desk.observe(&slipped).await else { panic!() };
    assert_eq!((certainty, class), (Certainty::Finalized, FailureClass::Requote));
    assert_eq!(failure.code, FailureCode::SLIPPAGE, "{failure}");
    assert_eq!(world.tokens(x).await, before, "nothing was swapped");
    assert_eq!(desk.venue.find(order.id).await.unwrap(), [slipped.id], "a failed one carries the tag, too");
    // One that comes after its deadline.
    let (_, late, _) = desk.order(x, ONE, y).await;
    desk.venue.submit(&late).await;
    world.chain.call("evm_increaseTime", json!([20 * 60 + 5])).await.unwrap();
    world.chain.mine(1).await;
    let Observation::Reverted { failure, class, .. } = desk.observe(&late).await else { panic!() };
    assert_eq!((failure.code, class), (FailureCode::TRANSACTION_EXPIRED, FailureClass::Requote));
}

#[tokio::test]
async fn a_bump_takes_the_place_of_the_original_for_a_tenth_more_at_least() {
    let world = World::new().await;
    let desk = world.desk();
    let (order, first, quoted) = desk.order(world.contracts.x, ONE, world.contracts.y).await;
    desk.venue.submit(&first).await;
    let mut last = first.clone();
    for percent in [100, 125, 200] {
        let before = fees(&world, &last).await;
        let next = bump(&desk, &order, &last, percent).await;
        assert_eq!(next.validity, last.validity, "it has the same nonce");
        assert_eq!(next.min_amount_out, last.min_amount_out);
        assert_eq!(desk.venue.submit(&next).await, SubmitReport::Accepted);
        let after = fees(&world, &next).await;
        let share = u128::from(percent.max(110));
        assert!(
            after.0 * 100 >= before.0 * share && after.1 * 100 >= before.1 * share,
            "{before:?} {after:?}"
        );
        assert_eq!(next.max_fee.unwrap().base_units() % after.0, 0, "the fee that the engine is told");
        last = next;
    }
    world.chain.mine(1 + FINAL).await;
    assert_eq!(fill_of(&desk.observe(&last).await), (ONE, quoted));
    let Observation::NotFound { searched_through, .. } = desk.observe(&first).await else { panic!() };
    let finalized = desk.venue.view().await.unwrap().finalized;
    assert_eq!(searched_through, Some(finalized), "its nonce was used by the other one, for good");
    assert_eq!(desk.venue.find(order.id).await.unwrap(), [last.id], "one has landed");
}

#[tokio::test]
async fn a_cancel_takes_the_place_of_a_swap_and_carries_the_tag() {
    let world = World::new().await;
    let desk = world.desk();
    let (x, wallet) = (world.contracts.x, world.wallet.address());
    let before = world.tokens(x).await;
    let (order, swap, _) = desk.order(x, ONE, world.contracts.y).await;
    desk.venue.submit(&swap).await;
    let request = ReplaceRequest::new(&order, &swap, 125, FENCE);
    let cancel = desk.venue.cancel_transaction(request).await.unwrap();
    assert_eq!(cancel.validity, swap.validity);
    assert_eq!(desk.venue.submit(&cancel).await, SubmitReport::Accepted);
    world.chain.mine(1 + FINAL).await;
    let seen = desk.observe(&cancel).await;
    assert_eq!((fill_of(&seen), certainty_of(&seen)), ((0, 0), Certainty::Finalized));
    assert_eq!(world.tokens(x).await, before);
    let hash = hash_of(&cancel.id).unwrap();
    let landed = world.chain.transaction(hash).await;
    assert_eq!(landed["to"].as_str().unwrap(), wallet.to_string().to_lowercase());
    assert_eq!(landed["input"], Value::String(format!("0x{}", hex::encode(order.id.as_uuid().as_bytes()))));
    assert_eq!(desk.venue.find(order.id).await.unwrap(), [cancel.id]);
}

#[tokio::test]
async fn foreign_use_of_the_nonce_is_the_proof_of_death() {
    let world = World::new().await;
    let desk = world.desk();
    let (x, wallet) = (world.contracts.x, world.wallet.address());
    let (order, tx, _) = desk.order(x, ONE, world.contracts.y).await;
    let nonce = tx.validity.nonce().unwrap().clone();
    // Somebody else has the key, and uses the same nonce.
    world.desk().venue.approve(x, U256::from(7)).await.unwrap();
    world.chain.mine(1).await;
    let account = async || desk.venue.accounts(std::slice::from_ref(&nonce.account)).await.unwrap().remove(0);
    let number = nonce.value.number().unwrap();
    let height = account().await.finalized_height;
    assert_eq!(account().await, AccountView::new(number + 1, number, height), "used, and not finally");
    assert!(matches!(desk.observe(&tx).await, Observation::NotFound { searched_through: None, .. }));
    assert!(matches!(desk.venue.submit(&tx).await, SubmitReport::DefinitelyNotAccepted { .. }));
    world.chain.mine(FINAL).await;
    let view = account().await;
    assert_eq!(view, AccountView::new(number + 1, number + 1, view.finalized_height));
    let Observation::NotFound { searched_through: Some(height), .. } = desk.observe(&tx).await else {
        panic!("the death is proven")
    };
    assert!(height >= view.finalized_height);
    // A process that knows nothing but the id proves it as well.
    let Observation::NotFound { searched_through: Some(_), .. } = world.desk().observe(&tx).await else {
        panic!("the death is proven")
    };
    assert!(desk.venue.find(order.id).await.unwrap().is_empty());
    assert_eq!(world.chain.wei(wallet).await / ONE, ETH / ONE - 1);
}

#[tokio::test]
async fn what_the_node_drops_is_sent_again_and_lands() {
    let world = World::new().await;
    let desk = world.desk();
    let (_, tx, quoted) = desk.order(world.contracts.x, ONE, world.contracts.y).await;
    desk.venue.submit(&tx).await;
    let hash = hash_of(&tx.id).unwrap();
    world.chain.call("anvil_dropTransaction", json!([hash])).await.unwrap();
    world.chain.mine(1 + FINAL).await;
    let Observation::NotFound { searched_through, seen_through } = desk.observe(&tx).await else { panic!() };
    assert_eq!(searched_through, None, "time does not kill it");
    assert_eq!(seen_through, Some(world.chain.height().await));
    assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
    world.chain.mine(1).await;
    assert_eq!(fill_of(&desk.observe(&tx).await), (ONE, quoted));
}

#[tokio::test]
async fn a_reorganised_landing_is_undone_and_lands_again_elsewhere() {
    let world = World::new().await;
    let desk = world.desk();
    let (_, tx, quoted) = desk.order(world.contracts.x, ONE, world.contracts.y).await;
    desk.venue.submit(&tx).await;
    world.chain.mine(2).await;
    let first = desk.observe(&tx).await;
    let height = |seen: &Observation| match seen {
        Observation::Landed { fill, .. } => fill.height,
        other => panic!("{other:?}"),
    };
    world.chain.call("anvil_reorg", json!([3, []])).await.unwrap();
    let code = world.chain.call("eth_getCode", json!([world.contracts.router, "latest"])).await.unwrap();
    assert_ne!(code, "0x", "the node still has the contracts");
    assert!(matches!(desk.observe(&tx).await, Observation::NotFound { searched_through: None, .. }));
    assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
    world.chain.mine(1 + FINAL).await;
    let last = desk.observe(&tx).await;
    assert_eq!((fill_of(&last), certainty_of(&last)), ((ONE, quoted), Certainty::Finalized));
    assert!(height(&last) > height(&first));
}

#[tokio::test]
async fn a_wallet_is_told_its_own_nonces_only() {
    let world = World::new().await;
    let venue = world.desk().venue;
    let error = venue.accounts(&["0x0000000000000000000000000000000000000001".into()]).await.unwrap_err();
    assert!(error.to_string().contains("its wallet only"), "{error}");
    let view = venue.view().await.unwrap();
    let height = world.chain.height().await;
    assert_eq!((view.processed, view.confirmed, view.finalized), (height, height - 4, height - 8));
}
