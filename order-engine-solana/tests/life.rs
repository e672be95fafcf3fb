//! The life of a transaction on a real Solana runtime, with real signatures.

mod common;

use common::orders::{ONE_SOL, World, is_final, observe_until};
use common::surfpool::TOKEN_RENT;
use order_engine_core::{Amount, Certainty, FailureCode, Observation, SubmitReport, TxRef, Venue as _};
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::{TOKEN, WRAPPED_SOL};
use order_engine_solana::{Pubkey, WalletSigner as _};

fn fill_of(observation: &Observation) -> (u128, u128) {
    match observation {
        Observation::Landed { fill, .. } => (fill.amount_in.base_units(), fill.amount_out.base_units()),
        other => panic!("it landed, and not: {other:?}"),
    }
}

#[tokio::test]
async fn a_transaction_lands_once_is_final_and_is_found_by_its_order() {
    let world = World::new().await;
    let (venue, wallet) = (world.venue(), world.wallet.address());
    let before = world.chain.lamports(wallet).await;
    let (order, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    assert_eq!(world.chain.lamports(wallet).await, before, "preparing sends nothing");
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    // The same bytes have no second effect, whatever the node says about them.
    let again = venue.submit(&tx).await;
    assert!(matches!(again, SubmitReport::Accepted | SubmitReport::AlreadyKnown), "{again:?}");
    let seen = observe_until(&venue, &tx, |seen| matches!(seen, Observation::Landed { .. })).await;
    assert_eq!(fill_of(&seen), (700, 300));
    let last = observe_until(&venue, &tx, is_final).await;
    assert_eq!(fill_of(&last), (700, 300));
    assert_eq!(world.chain.tokens(associated_account(wallet, world.x, TOKEN)).await, Some(1_000_000 - 700));
    assert_eq!(world.chain.tokens(associated_account(wallet, world.y, TOKEN)).await, Some(300));
    let spent = before - world.chain.lamports(wallet).await - TOKEN_RENT;
    assert!(Amount::new(u128::from(spent)) <= tx.max_fee.unwrap(), "{spent} lamports");
    assert_eq!(venue.find(order.id).await.unwrap(), [tx.id]);
}

#[tokio::test]
async fn sol_is_wrapped_and_unwrapped_without_dust() {
    let world = World::new().await;
    let (venue, wallet) = (world.venue(), world.wallet.address());
    world.chain.give(wallet, world.y, 0, None).await;
    let wrapped = associated_account(wallet, WRAPPED_SOL, TOKEN);
    let fee = async |sold: u64, bought: u64, (input, output): (Pubkey, Pubkey)| {
        let before = i128::from(world.chain.lamports(wallet).await);
        let (_, tx) = world.prepare(&venue, (input, sold), (output, bought)).await.unwrap();
        venue.submit(&tx).await;
        let last = observe_until(&venue, &tx, is_final).await;
        assert_eq!(fill_of(&last), (u128::from(sold), u128::from(bought)));
        assert_eq!(world.chain.lamports(wrapped).await, 0, "its account is closed");
        let after = i128::from(world.chain.lamports(wallet).await);
        let traded = if input == WRAPPED_SOL { -i128::from(sold) } else { i128::from(bought) };
        (before + traded - after, i128::try_from(tx.max_fee.unwrap().base_units()).unwrap())
    };
    world.chain.call("surfnet_setTokenAccount", serde_json::json!([
        world.desk.owner.to_string(), WRAPPED_SOL.to_string(), { "amount": 5 * ONE_SOL, "delegate": wallet.to_string(), "delegatedAmount": 5 * ONE_SOL }
    ])).await.unwrap();
    let (paid, most) = fee(ONE_SOL, 500, (WRAPPED_SOL, world.y)).await;
    assert!(paid > 0 && paid <= most, "{paid} of {most} lamports");
    let (paid, most) = fee(400, ONE_SOL, (world.x, WRAPPED_SOL)).await;
    assert!(paid > 0 && paid <= most, "{paid} of {most} lamports");
}

#[tokio::test]
async fn a_lookup_table_makes_the_same_transaction_smaller() {
    let world = World::new().await;
    let of = |owner, mint| associated_account(owner, mint, TOKEN);
    let owners = [world.wallet.address(), world.desk.owner];
    let named = owners.iter().flat_map(|owner| [of(*owner, world.x), of(*owner, world.y)]);
    let table = Pubkey::new_from_array([4; 32]);
    world.chain.make_table(table, &named.collect::<Vec<_>>()).await;
    let small = world.venue_over(&[&world.chain.url], world.options().with_lookup_tables([table]));
    let (_, plain) = world.prepare(&world.venue(), (world.x, 700), (world.y, 300)).await.unwrap();
    let (_, tx) = world.prepare(&small, (world.x, 700), (world.y, 300)).await.unwrap();
    // Four addresses become four numbers, the table's address and a length.
    assert_eq!(plain.bytes.len() - tx.bytes.len(), 4 * 32 - (32 + 4 + 2));
    small.submit(&tx).await;
    assert_eq!(fill_of(&observe_until(&small, &tx, is_final).await), (700, 300));
}

#[tokio::test]
async fn what_would_fail_now_is_not_signed() {
    let world = World::new().await;
    let venue = world.venue();
    let too_much = world.prepare(&venue, (world.x, 2_000_000), (world.y, 1)).await.unwrap_err();
    assert_eq!(too_much.failure.code, FailureCode::INSUFFICIENT_FUNDS);
    let unknown =
        world.prepare(&venue, (Pubkey::new_from_array([9; 32]), 1), (world.y, 1)).await.unwrap_err();
    assert_eq!(unknown.failure.code, FailureCode::UNKNOWN_TOKEN);
}

#[tokio::test]
async fn a_failure_on_the_chain_is_final_and_named() {
    let world = World::new().await;
    let venue = world.venue();
    let (order, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    // The desk is emptied between the simulation and the landing.
    world.chain.give(world.desk.owner, world.y, 299, Some(world.wallet.address())).await;
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    let last = observe_until(&venue, &tx, is_final).await;
    let Observation::Reverted { certainty: Certainty::Finalized, failure, .. } = last else {
        panic!("{last:?}")
    };
    assert_eq!(failure.code, FailureCode::INSUFFICIENT_FUNDS);
    let wallet = associated_account(world.wallet.address(), world.x, TOKEN);
    assert_eq!(world.chain.tokens(wallet).await, Some(1_000_000), "nothing was swapped");
    assert_eq!(venue.find(order.id).await.unwrap(), [tx.id], "a failed transaction carries the tag, too");
}

#[tokio::test]
async fn an_expired_transaction_is_dead_only_by_proof() {
    let world = World::new().await;
    let venue = world.venue();
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let until = tx.validity.until_height().unwrap();
    let absent = venue.observe(&[TxRef::from(&tx)]).await.unwrap();
    assert!(matches!(absent[..], [Observation::NotFound { .. }]));
    // Past its validity, and past finality and the margin.
    world.chain.wait_for_height(until + 31 + 16 + 5).await;
    let view = venue.view().await.unwrap();
    assert!(view.finalized > until, "{view:?}");
    let dead = observe_until(&venue, &tx, |seen| {
        matches!(seen, Observation::NotFound { searched_through: Some(height), .. } if *height >= view.finalized)
    })
    .await;
    assert!(matches!(dead, Observation::NotFound { .. }));
    // What the proof says holds: sent now, it never lands.
    venue.submit(&tx).await;
    world.chain.wait_for_height(world.chain.height().await + 40).await;
    let still = venue.observe(&[TxRef::from(&tx)]).await.unwrap();
    assert!(matches!(still[..], [Observation::NotFound { .. }]), "{still:?}");
}

#[tokio::test]
async fn without_a_witness_no_absence_is_proven() {
    let world = World::new().await;
    let quiet = world.options().with_busy_account(Pubkey::new_from_array([8; 32]));
    let venue = world.venue_over(&[&world.chain.url], quiet);
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let until = tx.validity.until_height().unwrap();
    world.chain.wait_for_height(until + 31 + 16 + 5).await;
    let seen = venue.observe(&[TxRef::from(&tx)]).await.unwrap();
    assert_eq!(seen, [Observation::NotFound { searched_through: None, seen_through: None }]);
}
