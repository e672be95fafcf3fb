//! Nodes that lag, have pruned their history, lie, or are too busy.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::orders::{World, is_final, observe_until};
use common::proxy::Proxy;
use order_engine_core::{Certainty, Observation, SignedTx, SubmitReport, TxRef, Validity, Venue as _};
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::TOKEN;
use order_engine_solana::{Pubkey, SolanaVenue, WalletSigner as _};
use serde_json::{Value, json};

/// A node that says that it does not know the transaction that is asked about first. The witnesses stand behind it.
fn forgets(method: &str, answer: &mut Value) {
    if method == "getSignatureStatuses" {
        answer["result"]["value"][0] = Value::Null;
    }
}

/// A node that has stood still since before all transactions that are asked about.
fn lags(method: &str, answer: &mut Value) {
    if method == "getSignatureStatuses" {
        answer["result"]["value"].as_array_mut().unwrap().fill(Value::Null);
    }
}

async fn changing(url: &str, change: fn(&str, &mut Value)) -> Proxy {
    Proxy::start(url, move |method, answer| {
        change(method, answer);
        Ok(())
    })
    .await
}

async fn observed(venue: &SolanaVenue, tx: &SignedTx) -> Observation {
    venue.observe(&[TxRef::from(tx)]).await.unwrap().remove(0)
}

fn searched_through(observation: &Observation) -> Option<u64> {
    match observation {
        Observation::NotFound { searched_through, .. } => *searched_through,
        other => panic!("it is absent, and not: {other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_lies_about_an_absence_is_refuted() {
    let world = World::new().await;
    let honest = world.venue();
    let (_, tx) = world.prepare(&honest, (world.x, 700), (world.y, 300)).await.unwrap();
    honest.submit(&tx).await;
    observe_until(&honest, &tx, is_final).await;
    let url = &world.chain.url;
    let liars = [changing(url, forgets).await, changing(url, forgets).await];
    let venue = world.venue_over(&[&liars[0].url, url, url], world.options());
    let seen = observed(&venue, &tx).await;
    assert!(matches!(seen, Observation::Landed { certainty: Certainty::Finalized, .. }), "{seen:?}");
    // Two of three lie: it is not final any more, but they cannot make it dead.
    let venue = world.venue_over(&[&liars[0].url, &liars[1].url, url], world.options());
    let seen = observed(&venue, &tx).await;
    assert!(
        !is_final(&seen) && !matches!(seen, Observation::NotFound { searched_through: Some(_), .. }),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_pruned_node_proves_an_absence_only_of_what_was_signed_after_its_history_begins() {
    let world = World::new().await;
    // So late that the expiry tells that it was signed after slot 60.
    world.chain.wait_for_height(400).await;
    let pruned = |first: u64| {
        move |method: &str, answer: &mut Value| {
            if method == "getFirstAvailableBlock" {
                answer["result"] = json!(first);
            }
            Ok(())
        }
    };
    let node = Proxy::start(&world.chain.url, pruned(60)).await;
    let venue = world.venue_over(&[&node.url], world.options());
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let seen = observe_until(&venue, &tx, |seen| searched_through(seen).is_some()).await;
    assert!(searched_through(&seen).is_some(), "it was signed after slot 60");
    // A process that neither signed nor sent it proves it as well.
    let restarted = world.venue_over(&[&node.url], world.options());
    let seen = observe_until(&restarted, &tx, |seen| searched_through(seen).is_some()).await;
    assert!(searched_through(&seen).is_some());
    // Of one that is known by its id alone, nobody knows when it was signed.
    let forgotten = restarted.observe(&[TxRef::by_id(&tx.id)]).await.unwrap().remove(0);
    assert_eq!(searched_through(&forgotten), None);
    let complete = world.venue_over(&[&world.chain.url], world.options());
    let seen = complete.observe(&[TxRef::by_id(&tx.id)]).await.unwrap().remove(0);
    assert!(searched_through(&seen).is_some());
    // The node's history begins after the signing.
    let late = Proxy::start(&world.chain.url, pruned(1_000_000)).await;
    let venue = world.venue_over(&[&late.url], world.options());
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    assert_eq!(searched_through(&observed(&venue, &tx).await), None);
}

#[tokio::test]
async fn a_lagging_node_proves_no_more_than_it_has_seen() {
    let world = World::new().await;
    let lagging = changing(&world.chain.url, lags).await;
    let venue = world.venue_over(&[&lagging.url], world.options());
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    assert_eq!(searched_through(&observed(&venue, &tx).await), None);
    let Validity::UntilHeight(until) = tx.validity else { panic!() };
    world.chain.wait_for_height(until + 31 + 16 + 5).await;
    assert!(venue.view().await.unwrap().finalized > until, "other nodes behind the address are further");
    assert_eq!(searched_through(&observed(&venue, &tx).await), None, "it cannot show it");
}

#[tokio::test]
async fn a_busy_node_is_left_alone_and_another_one_asked() {
    let world = World::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let busy = Proxy::start(&world.chain.url, move |_: &str, _: &mut Value| {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(429)
    })
    .await;
    let options = world.options();
    let venue = world.venue_over(&[&busy.url, &world.chain.url, &world.chain.url], options);
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let at_first = calls.load(Ordering::Relaxed);
    assert!(at_first >= 1, "it is asked first");
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    let last = observe_until(&venue, &tx, is_final).await;
    assert!(matches!(last, Observation::Landed { .. }), "{last:?}");
}

#[tokio::test]
async fn a_node_that_tells_too_low_a_height_makes_nothing_expire_early() {
    let world = World::new().await;
    let liar = Proxy::start(&world.chain.url, |method: &str, answer: &mut Value| {
        if method == "getLatestBlockhash" {
            answer["result"]["value"]["lastValidBlockHeight"] = json!(1);
        }
        Ok(())
    })
    .await;
    let venue = world.venue_over(&[&liar.url, &world.chain.url], world.options());
    let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let height = world.chain.height().await;
    let until = tx.validity.until_height().unwrap();
    assert!(until + 20 >= height + 150, "{until} at {height}");
}

#[tokio::test]
async fn without_a_quorum_nothing_is_reported() {
    let world = World::new().await;
    let down = Proxy::start(&world.chain.url, |_: &str, _: &mut Value| Err(503)).await;
    let venue = world.venue_over(&[&down.url, &world.chain.url], world.options());
    let error = venue.view().await.unwrap_err();
    assert!(error.to_string().contains("too few"), "{error}");
    assert!(venue.observe(&[TxRef::by_id(&"id".into())]).await.is_err());
}

#[tokio::test]
async fn a_lookup_table_on_which_the_nodes_do_not_agree_is_not_used() {
    let world = World::new().await;
    let table = Pubkey::new_from_array([4; 32]);
    let named = associated_account(world.wallet.address(), world.x, TOKEN);
    world.chain.make_table(table, &[named]).await;
    // It tells another address in the place of the wallet's account.
    let liar = changing(&world.chain.url, |method, answer| {
        if method == "getAccountInfo" {
            let data = &mut answer["result"]["value"]["data"][0];
            let mut bytes = STANDARD.decode(data.as_str().unwrap()).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            *data = json!(STANDARD.encode(bytes));
        }
    })
    .await;
    let size = async |urls: &[&str]| {
        let venue = world.venue_over(urls, world.options().with_lookup_tables([table]));
        let (_, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
        tx.bytes.len()
    };
    let url = world.chain.url.as_str();
    let (agreed, disputed) = (size(&[url, url]).await, size(&[url, &liar.url]).await);
    let venue = world.venue();
    let (_, plain) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    assert_eq!(disputed, plain.bytes.len());
    assert_ne!(agreed, disputed);
}
