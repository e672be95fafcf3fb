//! Nodes that lag, lie, or serve another chain prove nothing; a quorum of the others does.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::anvil::nodes;
use common::contracts::{Contracts, ONE};
use common::proxy::Proxy;
use common::world::{Desk, World, certainty_of, fill_of};
use order_engine_core::{
    Certainty, FailureClass, FailureCode, Observation, Runtime, SubmitReport, Venue as _,
};
use order_engine_evm::{Cluster, ClusterOptions, EvmVenueOptions, Finality, U256};
use serde_json::{Value, json};

fn method(call: &Value) -> &str {
    call["method"].as_str().unwrap_or_default()
}

fn desk(world: &World, options: ClusterOptions) -> Desk {
    let cluster = Arc::new(Cluster::new(options, Runtime::tokio()).unwrap());
    Desk::new(cluster, &world.wallet, world.directory(), EvmVenueOptions::default())
}

#[tokio::test]
async fn a_node_that_knows_nothing_proves_no_death_and_one_that_lies_no_landing() {
    let world = World::new().await;
    let (_, tx, quoted) = world.desk().order(world.contracts.x, ONE, world.contracts.y).await;
    world.desk().venue.submit(&tx).await;
    world.chain.mine(10).await;
    // It denies every transaction and says that the block of the nonce is empty.
    let denying = Proxy::start(&world.chain.url, |call, answer| {
        match method(call) {
            "eth_getTransactionReceipt" => answer["result"] = Value::Null,
            "eth_getBlockByNumber" if call["params"][1] == true => {
                answer["result"]["transactions"] = json!([]);
            }
            _ => {}
        }
        Ok(())
    })
    .await;
    let alone = desk(&world, nodes(&[&denying.url]));
    let denied = alone.observe(&tx).await;
    assert!(matches!(denied, Observation::NotFound { searched_through: None, .. }), "{denied:?}");
    let honest = world.chain.url.as_str();
    let majority = desk(&world, nodes(&[honest, &denying.url, honest]));
    let seen = majority.observe(&tx).await;
    assert_eq!((fill_of(&seen), certainty_of(&seen)), ((ONE, quoted), Certainty::Finalized));
    let minority = desk(&world, nodes(&[honest, &denying.url, &denying.url]));
    let seen = minority.observe(&tx).await;
    // Who finds it refutes those who do not; but one is too few to say what it did, let alone for good.
    assert!(
        matches!(seen, Observation::NotFound { searched_through: None, .. })
            || certainty_of(&seen) == Certainty::Processed
    );
}

#[tokio::test]
async fn a_node_that_is_behind_what_was_seen_is_not_believed() {
    let world = World::new().await;
    let is_behind = Arc::new(AtomicBool::new(false));
    let lags = Arc::clone(&is_behind);
    let node = Proxy::start(&world.chain.url, move |call, answer| {
        if lags.load(Ordering::Relaxed)
            && method(call) == "eth_getBlockByNumber"
            && call["params"][0] == "finalized"
        {
            answer["result"]["number"] = json!("0x3");
        }
        Ok(())
    })
    .await;
    let desk = desk(&world, nodes(&[&node.url]));
    let before = desk.venue.view().await.unwrap();
    is_behind.store(true, Ordering::Relaxed);
    let error = desk.venue.view().await.unwrap_err();
    let shown = order_engine_core::telemetry::chain(&error).to_string();
    assert!(
        shown.contains(&format!("the nodes are at the final height 3, and were at {}", before.finalized)),
        "{shown}"
    );
    assert!(desk.venue.accounts(&[]).await.is_err());
    is_behind.store(false, Ordering::Relaxed);
    assert_eq!(desk.venue.view().await.unwrap(), before);
}

#[tokio::test]
async fn what_a_node_that_lags_says_fails_no_order() {
    let world = World::new().await;
    let (x, y) = (world.contracts.x, world.contracts.y);
    // It knows nothing yet of what the wallet has and allows, nor of the blocks since.
    let lags = Proxy::start(&world.chain.url, |call, answer| {
        let error = match (method(call), call["params"][1].as_str()) {
            ("eth_call", Some("latest" | "pending")) => {
                answer["result"] = json!(format!("{:#066x}", 0));
                return Ok(());
            }
            ("eth_getBalance", Some("latest" | "pending")) => {
                answer["result"] = json!("0x0");
                return Ok(());
            }
            ("eth_estimateGas" | "eth_simulateV1", Some("latest" | "pending")) => {
                json!({ "code": 3, "message": "execution reverted: STF", "data": reverted("STF") })
            }
            ("eth_call" | "eth_getBalance" | "eth_estimateGas" | "eth_simulateV1", _) => {
                json!({ "code": -32_000, "message": "header not found" })
            }
            _ => return Ok(()),
        };
        *answer = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error });
        Ok(())
    })
    .await;
    let honest = world.chain.url.as_str();
    let desk = desk(&world, nodes(&[&lags.url, honest, honest]));
    let (_, tx, quoted) = desk.order(x, ONE, y).await;
    desk.venue.submit(&tx).await;
    world.chain.mine(1).await;
    assert_eq!(fill_of(&desk.observe(&tx).await), (ONE, quoted));
}

#[tokio::test]
async fn what_is_said_of_a_block_that_a_fork_undoes_meanwhile_fails_no_order() {
    let world = World::new().await;
    let Contracts { x, y, .. } = world.contracts;
    let is_undone = Arc::new(AtomicBool::new(false));
    let undoes = Arc::clone(&is_undone);
    // On its fork the wallet has nothing, and the block that it named before is another one.
    let node = Proxy::start(&world.chain.url, move |call, answer| {
        let is_by_number = call["params"][0].as_str().is_some_and(|block| block.starts_with("0x"));
        match method(call) {
            "eth_call" => answer["result"] = json!(format!("{:#066x}", 0)),
            "eth_getBlockByNumber" if is_by_number && undoes.load(Ordering::Relaxed) => {
                answer["result"]["hash"] = json!(format!("{:#066x}", 7));
            }
            _ => {}
        }
        Ok(())
    })
    .await;
    let desk = desk(&world, nodes(&[&node.url]));
    let route = desk.quote(x, ONE, y).await.expect("the pools are read from an honest node");
    let refused = async || {
        let error = desk.prepare(&route, 1).await.unwrap_err();
        (error.failure.code, error.class)
    };
    assert_eq!(refused().await, (FailureCode::INSUFFICIENT_FUNDS, FailureClass::Permanent));
    is_undone.store(true, Ordering::Relaxed);
    assert_eq!(refused().await, (FailureCode::VENUE_UNAVAILABLE, FailureClass::Unavailable));
}

/// Returns the data of a revert with this reason.
fn reverted(reason: &str) -> String {
    use alloy_sol_types::SolError as _;
    alloy_primitives::hex::encode_prefixed(alloy_sol_types::Revert::from(reason).abi_encode())
}

#[tokio::test]
async fn a_nonce_is_used_for_good_only_if_a_quorum_says_so() {
    let world = World::new().await;
    let (_, tx, _) = world.desk().order(world.contracts.x, ONE, world.contracts.y).await;
    let nonce = tx.validity.nonce().unwrap().clone();
    // It says that the nonce is used, and by something else.
    let exaggerating = Proxy::start(&world.chain.url, |call, answer| {
        if method(call) == "eth_getTransactionCount" {
            answer["result"] = json!("0xff");
        }
        Ok(())
    })
    .await;
    let honest = world.chain.url.as_str();
    let majority = desk(&world, nodes(&[honest, &exaggerating.url, honest]));
    let view = &majority.venue.accounts(std::slice::from_ref(&nonce.account)).await.unwrap()[0];
    assert_eq!((&view.latest, &view.finalized), (&nonce.value, &nonce.value));
    let divided = desk(&world, nodes(&[honest, &exaggerating.url]));
    assert!(divided.venue.accounts(std::slice::from_ref(&nonce.account)).await.is_err());
    let alone = desk(&world, nodes(&[&exaggerating.url]));
    let seen = alone.observe(&tx).await;
    assert!(
        matches!(seen, Observation::NotFound { searched_through: None, .. }),
        "nobody shows the use: {seen:?}"
    );
}

#[tokio::test]
async fn without_old_states_the_use_of_a_nonce_is_found_in_the_blocks() {
    let world = World::new().await;
    let (_, tx, _) = world.desk().order(world.contracts.x, ONE, world.contracts.y).await;
    world.desk().venue.approve(world.contracts.x, U256::from(7)).await.unwrap();
    world.chain.mine(30).await;
    let pruned = Proxy::start(&world.chain.url, |call, answer| {
        let is_old = call["params"][1].as_str().is_some_and(|block| block.starts_with("0x"));
        if method(call) == "eth_getTransactionCount" && is_old {
            *answer = json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32_000, "message": "missing trie node" } });
        }
        Ok(())
    })
    .await;
    let seen = desk(&world, nodes(&[&pruned.url])).observe(&tx).await;
    assert!(matches!(seen, Observation::NotFound { searched_through: Some(_), .. }), "{seen:?}");
}

#[tokio::test]
async fn a_node_of_another_chain_is_asked_nothing() {
    let world = World::new().await;
    let url = world.chain.url.as_str();
    let elsewhere = desk(&world, ClusterOptions::new([url], 1).with_retries(0));
    let error = elsewhere.venue.view().await.unwrap_err();
    let shown = order_engine_core::telemetry::chain(&error).to_string();
    assert!(shown.contains("the chain 31337, and not 1"), "{shown}");
    let (_, tx, _) = world.desk().order(world.contracts.x, ONE, world.contracts.y).await;
    let report = elsewhere.venue.submit(&tx).await;
    assert!(matches!(report, SubmitReport::Ambiguous { .. }), "{report:?}");
    let pool = world.chain.call("txpool_status", json!([])).await.unwrap();
    assert_eq!(pool["pending"], "0x0", "it has not got the transaction");
}

#[tokio::test]
async fn a_dead_node_does_not_matter_to_a_quorum_of_the_others() {
    let world = World::new().await;
    let honest = world.chain.url.as_str();
    let desk = desk(&world, nodes(&["http://127.0.0.1:1", honest, honest]));
    let (_, tx, quoted) = desk.order(world.contracts.x, ONE, world.contracts.y).await;
    assert_eq!(desk.venue.submit(&tx).await, SubmitReport::Accepted);
    world.chain.mine(10).await;
    let seen = desk.observe(&tx).await;
    assert_eq!((fill_of(&seen), certainty_of(&seen)), ((ONE, quoted), Certainty::Finalized));
}

#[tokio::test]
async fn finality_is_what_the_chain_offers() {
    let world = World::new().await;
    world.chain.mine(20).await;
    let height = world.chain.height().await;
    for (finality, behind) in [
        (Finality::Finalized, 8),
        (Finality::Safe, 4),
        (Finality::Confirmations(2), 2),
        (Finality::Confirmations(0), 0),
    ] {
        let desk = desk(&world, nodes(&[&world.chain.url]).with_finality(finality));
        let view = desk.venue.view().await.unwrap();
        assert_eq!((view.finalized, view.processed), (height - behind, height), "{finality:?}");
        assert!(view.confirmed >= view.finalized);
    }
}
