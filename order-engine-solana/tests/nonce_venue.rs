//! A venue over nonce accounts on a real Solana runtime: its transactions land as long as their account has their value, are
//! sent again, replaced for a higher fee and cancelled, and an account serves one order at a time.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::orders::{FENCE, ONE_SOL, World, is_final, observe_until};
use common::proxy::Proxy;
use common::surfpool::nodes;
use common::trading::{DeskRouter, ended, submit, traded};
use order_engine_core::{
    AccountId, AccountNonce, Amount, Cancellation, DeathProof, Engine, EngineConfig, EventRecord,
    FailureClass, FailureCode, FeeBumpPolicy, MemoryStore, Observation, OrderEvent, OrderId, Purpose,
    ReplaceRequest, Runtime, SignedTx, Status, SubmitReport, TransactionBound, TxRef, Venue as _,
};
use order_engine_solana::{
    Cluster, Draft, DurableNonce, Pubkey, SolanaVenue, WalletSigner as _, create_nonce_accounts,
    nonce_account_addresses,
};
use serde_json::{Value, json};

/// Heights in which no fee is raised by itself.
const NEVER: u64 = 1_000_000;

/// A chain, and a node of it that loses as many transactions as a test says.
struct Nonces {
    world: World,
    accounts: Vec<Pubkey>,
    lost: Arc<AtomicUsize>,
    node: Proxy,
}

impl Nonces {
    async fn new(accounts: usize) -> Self {
        let world = World::new().await;
        let cluster = Cluster::new(nodes(&[&world.chain.url]), Runtime::tokio()).unwrap();
        let accounts = create_nonce_accounts(&cluster, &*world.wallet, accounts, 0).await.unwrap();
        let lost = Arc::new(AtomicUsize::new(0));
        let node = Proxy::losing(&world.chain.url, Arc::clone(&lost)).await;
        Self { world, accounts, lost, node }
    }

    fn venue(&self) -> SolanaVenue {
        let options = self.world.options().with_nonce_accounts(self.accounts.iter().copied());
        self.world.venue_over(&[&self.node.url], options)
    }

    async fn engine(&self, bump_after_heights: u64) -> Engine {
        self.engine_on(MemoryStore::new(), bump_after_heights).await
    }

    async fn engine_on(&self, store: MemoryStore, bump_after_heights: u64) -> Engine {
        let mut config = EngineConfig::default().with_resend_interval(Duration::from_millis(300));
        config.observe_interval = Duration::from_millis(50);
        let fee_bumps = FeeBumpPolicy::default().with_after_heights(bump_after_heights);
        let engine = Engine::builder()
            .store(store)
            .router(DeskRouter)
            .venue(self.venue())
            .fee_bumps("main", fee_bumps)
            .config(config);
        let engine = engine.build().await.unwrap();
        tokio::spawn(engine.run(4));
        engine
    }

    fn lose_all(&self) {
        self.lost.store(usize::MAX, Ordering::Relaxed);
    }

    fn lose_none(&self) {
        self.lost.store(0, Ordering::Relaxed);
    }

    async fn wait_for_blocks(&self, blocks: u64) {
        self.world.chain.wait_for_height(self.world.chain.height().await + blocks).await;
    }

    async fn value(&self, account: Pubkey) -> DurableNonce {
        let shown = self.world.chain.account(account).await.unwrap();
        DurableNonce::decode(account, &shown).unwrap()
    }

    /// Advances an account with the wallet's key, as somebody else would who has it.
    async fn advance_elsewhere(&self, account: Pubkey) {
        let wallet = self.world.wallet.address();
        let lifetime = self.value(account).await.lifetime();
        let signed = Draft::new(wallet, Vec::new()).compile(lifetime).unwrap();
        let signed = signed.sign(&[&*self.world.wallet]).await.unwrap();
        self.world.chain.send(&signed).await.unwrap();
        assert_eq!(self.world.chain.landed(&signed).await, Value::Null);
    }
}

async fn history(engine: &Engine, id: OrderId) -> Vec<EventRecord> {
    engine.events(id, 0, 1_000).await.unwrap()
}

/// Waits for an event of an order.
async fn reaches(engine: &Engine, id: OrderId, is_met: impl Fn(&OrderEvent) -> bool + Send + Sync) {
    let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
    let met = async {
        while let Some(event) = events.next().await {
            if is_met(&event.unwrap().event) {
                return;
            }
        }
        panic!("the order ended before: {:?}", history(engine, id).await);
    };
    tokio::time::timeout(Duration::from_mins(1), met).await.expect("it is reached");
}

fn is_accepted(event: &OrderEvent) -> bool {
    *event == OrderEvent::SubmissionAccepted
}

/// Returns what was signed for an order.
fn signed(events: &[EventRecord]) -> Vec<(Purpose, &SignedTx)> {
    events
        .iter()
        .filter_map(|record| match &record.event {
            OrderEvent::TransactionSigned { tx } => Some((Purpose::Original, &**tx)),
            OrderEvent::SiblingSigned { purpose, tx } => Some((*purpose, &**tx)),
            _ => None,
        })
        .collect()
}

fn proof(events: &[EventRecord]) -> Option<&DeathProof> {
    events.iter().find_map(|record| match &record.event {
        OrderEvent::TransactionDied { proof, .. } => Some(proof),
        _ => None,
    })
}

fn nonce(tx: &SignedTx) -> AccountNonce {
    tx.validity.nonce().unwrap().clone()
}

#[tokio::test]
async fn accounts_are_made_once_and_always_the_same() {
    let world = World::new().await;
    let wallet = world.wallet.address();
    let cluster = Cluster::new(nodes(&[&world.chain.url]), Runtime::tokio()).unwrap();
    let create = async |count| create_nonce_accounts(&cluster, &*world.wallet, count, 1_000).await.unwrap();
    let seven = create(7).await;
    assert_eq!(seven, nonce_account_addresses(wallet, 7));
    let before = world.chain.lamports(wallet).await;
    assert_eq!(create(7).await, seven);
    assert_eq!(world.chain.lamports(wallet).await, before, "nothing is made again");
    assert_eq!(create(9).await[..7], seven);
    for address in nonce_account_addresses(wallet, 9) {
        let account = world.chain.account(address).await.unwrap();
        assert_eq!(DurableNonce::decode(address, &account).unwrap().authority, wallet);
        assert!(account.lamports < ONE_SOL / 100, "{} lamports", account.lamports);
    }
}

#[tokio::test]
async fn a_transaction_lands_after_two_hundred_blocks_and_uses_its_value() {
    let nonces = Nonces::new(1).await;
    let (world, venue) = (&nonces.world, nonces.venue());
    assert_eq!(venue.capabilities().bound, TransactionBound::Nonce);
    assert!(venue.capabilities().hazard().is_none());
    let (order, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let account: AccountId = nonces.accounts[0].to_string().as_str().into();
    assert_eq!(nonce(&tx).account, account);
    let before = venue.accounts(std::slice::from_ref(&account)).await.unwrap().remove(0);
    assert!(!before.finalized.is_after(&nonce(&tx).value) && !before.latest.is_after(&nonce(&tx).value));
    nonces.wait_for_blocks(210).await;
    assert_eq!(venue.submit(&tx).await, SubmitReport::Accepted);
    let again = venue.submit(&tx).await;
    assert!(matches!(again, SubmitReport::Accepted | SubmitReport::AlreadyKnown), "{again:?}");
    let Observation::Landed { fill, .. } = observe_until(&venue, &tx, is_final).await else { panic!() };
    assert_eq!((fill.amount_in, fill.amount_out), (Amount::new(700), Amount::new(300)));
    let after = venue.accounts(&[account]).await.unwrap().remove(0);
    assert!(after.finalized.is_after(&nonce(&tx).value) && after.latest.is_after(&nonce(&tx).value));
    assert_eq!(venue.find(order.id).await.unwrap(), [tx.id]);
}

#[tokio::test]
async fn an_account_that_is_not_there_serves_nobody() {
    let mut nonces = Nonces::new(0).await;
    nonces.accounts = nonce_account_addresses(nonces.world.wallet.address(), 2);
    let (world, venue) = (&nonces.world, nonces.venue());
    let refused = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap_err();
    assert_eq!(
        (refused.failure.code, refused.class),
        (FailureCode::VENUE_UNAVAILABLE, FailureClass::Unavailable)
    );
}

#[tokio::test]
async fn of_an_original_its_replacement_and_its_cancel_one_lands() {
    let nonces = Nonces::new(1).await;
    let (world, venue) = (&nonces.world, nonces.venue());
    let (order, tx) = world.prepare(&venue, (world.x, 700), (world.y, 300)).await.unwrap();
    let instead = ReplaceRequest::new(&order, &tx, 150, FENCE);
    let (bump, cancel) =
        (venue.replace(instead).await.unwrap(), venue.cancel_transaction(instead).await.unwrap());
    let fee = |tx: &SignedTx| tx.max_fee.unwrap().base_units();
    for sibling in [&bump, &cancel] {
        assert_eq!(nonce(sibling), nonce(&tx));
        assert!(fee(sibling) * 100 >= fee(&tx) * 150, "{} of {}", fee(sibling), fee(&tx));
        assert!(fee(sibling) * 100 <= fee(&tx) * 160, "{} of {}", fee(sibling), fee(&tx));
    }
    assert_eq!(bump.min_amount_out, tx.min_amount_out);
    let before = world.chain.lamports(world.wallet.address()).await;
    assert_eq!(venue.submit(&cancel).await, SubmitReport::Accepted);
    let Observation::Landed { fill, .. } = observe_until(&venue, &cancel, is_final).await else { panic!() };
    assert_eq!((fill.amount_in, fill.amount_out), (Amount::ZERO, Amount::ZERO));
    let paid = before - world.chain.lamports(world.wallet.address()).await;
    assert_eq!(u128::from(paid), fee(&cancel), "what it may cost it costs");
    for late in [&tx, &bump] {
        venue.submit(late).await;
    }
    nonces.wait_for_blocks(40).await;
    let late = venue.observe(&[TxRef::from(&tx), TxRef::from(&bump)]).await.unwrap();
    assert!(late.iter().all(|seen| matches!(seen, Observation::NotFound { .. })), "{late:?}");
    assert_eq!(world.chain.tokens(world.desk.account(&world.y.to_string())).await, Some(1_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_transaction_is_sent_again_until_it_lands() {
    let nonces = Nonces::new(1).await;
    nonces.lose_all();
    let engine = nonces.engine(NEVER).await;
    let id = submit(&engine, &nonces.world, 100).await;
    reaches(&engine, id, is_accepted).await;
    nonces.wait_for_blocks(250).await;
    nonces.lose_none();
    let order = ended(&engine, id).await;
    assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
    assert_eq!(signed(&history(&engine, id).await).len(), 1, "always the same bytes");
    assert_eq!(traded(&nonces.world).await, (100, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_does_not_land_is_superseded_by_one_for_a_higher_fee() {
    let nonces = Nonces::new(1).await;
    nonces.lose_all();
    let engine = nonces.engine(100).await;
    let id = submit(&engine, &nonces.world, 100).await;
    let is_bump =
        |event: &OrderEvent| matches!(event, OrderEvent::SiblingSigned { purpose: Purpose::FeeBump, .. });
    reaches(&engine, id, is_bump).await;
    nonces.lose_none();
    let order = ended(&engine, id).await;
    assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
    let events = history(&engine, id).await;
    let signed = signed(&events);
    assert!(signed.len() > 1 && signed.iter().all(|(_, tx)| nonce(tx) == nonce(signed[0].1)), "{signed:?}");
    assert_ne!(order.state.tx_id(), Some(&signed[0].1.id), "one of a higher fee landed");
    assert_eq!(traded(&nonces.world).await, (100, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_advances_the_account_and_the_next_order_takes_it() {
    let nonces = Nonces::new(1).await;
    nonces.lose_all();
    let engine = nonces.engine(NEVER).await;
    let id = submit(&engine, &nonces.world, 100).await;
    reaches(&engine, id, is_accepted).await;
    let before = nonces.value(nonces.accounts[0]).await;
    assert!(matches!(engine.cancel(id).await.unwrap().unwrap(), Cancellation::Pending(_)));
    nonces.lose_none();
    let order = ended(&engine, id).await;
    assert_eq!(order.state.failure().map(|failure| failure.code.clone()), Some(FailureCode::CANCELLED));
    let events = history(&engine, id).await;
    assert!(matches!(proof(&events), Some(DeathProof::Cancelled { .. })), "{events:?}");
    assert_ne!(nonces.value(nonces.accounts[0]).await.value, before.value);
    assert_eq!(traded(&nonces.world).await, (0, 0));
    let next = submit(&engine, &nonces.world, 50).await;
    assert_eq!(ended(&engine, next).await.status(), Status::Confirmed);
    assert_eq!(traded(&nonces.world).await, (50, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advance_by_somebody_else_supersedes_a_transaction_and_costs_an_attempt() {
    let nonces = Nonces::new(1).await;
    nonces.lose_all();
    let engine = nonces.engine(NEVER).await;
    let id = submit(&engine, &nonces.world, 100).await;
    reaches(&engine, id, is_accepted).await;
    nonces.advance_elsewhere(nonces.accounts[0]).await;
    reaches(&engine, id, |event| matches!(event, OrderEvent::TransactionDied { .. })).await;
    nonces.lose_none();
    let order = ended(&engine, id).await;
    assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 2));
    let events = history(&engine, id).await;
    assert!(matches!(proof(&events), Some(DeathProof::Superseded { .. })), "{events:?}");
    assert_eq!(traded(&nonces.world).await, (100, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orders_take_two_accounts() {
    let nonces = Nonces::new(2).await;
    nonces.lose_all();
    let engine = nonces.engine(NEVER).await;
    let mut orders = Vec::new();
    for amount in [10, 20] {
        orders.push(submit(&engine, &nonces.world, amount).await);
    }
    for id in &orders {
        reaches(&engine, *id, is_accepted).await;
    }
    nonces.lose_none();
    let mut accounts = BTreeSet::new();
    for id in orders {
        assert_eq!(ended(&engine, id).await.status(), Status::Confirmed);
        let events = history(&engine, id).await;
        accounts.extend(signed(&events).into_iter().map(|(_, tx)| nonce(tx).account));
    }
    assert_eq!(accounts.len(), 2);
    assert_eq!(traded(&nonces.world).await, (30, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_orders_than_accounts_are_executed_once_each() {
    let nonces = Nonces::new(2).await;
    let engine = nonces.engine(NEVER).await;
    let mut orders = Vec::new();
    for amount in 1..=8 {
        orders.push(submit(&engine, &nonces.world, amount).await);
    }
    let mut values = BTreeSet::new();
    for id in orders {
        let order = ended(&engine, id).await;
        assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
        let events = history(&engine, id).await;
        values.extend(signed(&events).into_iter().map(|(_, tx)| nonce(tx)));
    }
    assert_eq!(values.len(), 8, "each has a value of its own");
    assert_eq!(traded(&nonces.world).await, (36, 72));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_account_is_still_the_orders() {
    let nonces = Nonces::new(1).await;
    let store = MemoryStore::new();
    nonces.lose_all();
    let before = nonces.engine_on(store.clone(), NEVER).await;
    let first = submit(&before, &nonces.world, 100).await;
    reaches(&before, first, is_accepted).await;
    before.shutdown(Duration::from_secs(5)).await.unwrap();
    let engine = nonces.engine_on(store, NEVER).await;
    let second = submit(&engine, &nonces.world, 10).await;
    let is_busy = |code: &FailureCode| *code == FailureCode::ACCOUNT_BUSY;
    let waits =
        |event: &OrderEvent| matches!(event, OrderEvent::Deferred { failure, .. } if is_busy(&failure.code));
    reaches(&engine, second, waits).await;
    nonces.wait_for_blocks(200).await;
    nonces.lose_none();
    for id in [first, second] {
        let order = ended(&engine, id).await;
        assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
    }
    assert_eq!(traded(&nonces.world).await, (110, 220));
}

#[tokio::test]
async fn one_node_that_lies_about_a_value_supersedes_nothing() {
    let nonces = Nonces::new(1).await;
    let (world, url) = (&nonces.world, nonces.world.chain.url.as_str());
    let lie = |method: &str, answer: &mut Value| {
        if method == "getMultipleAccounts" {
            answer["result"]["context"]["slot"] = json!(1_000_000);
            for account in answer["result"]["value"].as_array_mut().unwrap() {
                let mut data = STANDARD.decode(account["data"][0].as_str().unwrap()).unwrap();
                data[40] ^= 1;
                account["data"][0] = json!(STANDARD.encode(data));
            }
        }
        Ok(())
    };
    let liar = Proxy::start(url, lie).await;
    let options = || world.options().with_nonce_accounts(nonces.accounts.iter().copied());
    let honest = world.venue_over(&[url], options());
    let (_, tx) = world.prepare(&honest, (world.x, 700), (world.y, 300)).await.unwrap();
    nonces.wait_for_blocks(50).await;
    let account = nonce(&tx).account;
    let view =
        async |venue: SolanaVenue| venue.accounts(std::slice::from_ref(&account)).await.unwrap().remove(0);
    let believed = view(world.venue_over(&[liar.url.as_str()], options())).await;
    assert!(believed.finalized.is_after(&nonce(&tx).value), "alone it is believed");
    let three = world.venue_over(&[liar.url.as_str(), url, url], options());
    let agreed = view(three).await;
    assert!(!agreed.finalized.is_after(&nonce(&tx).value) && !agreed.latest.is_after(&nonce(&tx).value));
    let divided = view(world.venue_over(&[liar.url.as_str(), url], options())).await;
    assert!(!divided.finalized.is_after(&nonce(&tx).value), "without a quorum nothing is proven");
}
