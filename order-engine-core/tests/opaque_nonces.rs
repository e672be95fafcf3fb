//! Accounts with opaque nonces: an order has an account for itself while the account's value is its own, and the others
//! take other accounts or wait. Each order is executed once at most.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Setup, Worker};
use order_engine_core::testing::{CrashPoint, CrashPoints, InterceptedVenue, NonceVenue, When, request};
use order_engine_core::{
    AccountNonce, DeathProof, EngineConfig, EventRecord, FailureCode, FeeBumpPolicy, OrderEvent, OrderId,
    Purpose, Status, Venue,
};
use tokio::task::JoinHandle;

/// A chain that gets a block each second, and an engine with a worker.
struct Chain {
    venue: Arc<NonceVenue>,
    fixture: Fixture,
    _worker: Worker,
    _miner: Miner,
}

struct Miner(JoinHandle<()>);

impl Drop for Miner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Chain {
    async fn new<const N: usize>(accounts: [&str; N]) -> Self {
        Self::with(accounts, FeeBumpPolicy::default()).await
    }

    async fn with<const N: usize>(accounts: [&str; N], fee_bumps: FeeBumpPolicy) -> Self {
        let venue = Arc::new(NonceVenue::new(accounts).with_opaque_values());
        let setup_venue = Arc::clone(&venue) as Arc<dyn Venue>;
        let setup = Setup { venue: Some(setup_venue), fee_bumps: Some(fee_bumps), ..Setup::default() };
        let fixture = Fixture::with(setup).await;
        let miner = mine(&venue);
        // One slot is enough, because no order keeps it while it waits.
        let worker = fixture.work_with(1);
        Self { venue, fixture, _worker: worker, _miner: miner }
    }

    async fn submitted(&self) -> OrderId {
        let id = self.fixture.submit(request()).await.id;
        self.fixture.reaches(id, |record| record.event == OrderEvent::SubmissionAccepted).await;
        id
    }
}

/// Adds a block each second.
fn mine(venue: &Arc<NonceVenue>) -> Miner {
    let venue = Arc::clone(venue);
    Miner(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            venue.mine(1);
        }
    }))
}

/// Returns what was signed, and with which nonce, in order.
fn signed(events: &[EventRecord]) -> Vec<(Purpose, AccountNonce)> {
    let sibling = |record: &EventRecord| {
        let (purpose, tx) = match &record.event {
            OrderEvent::TransactionSigned { tx } => (Purpose::Original, tx),
            OrderEvent::SiblingSigned { purpose, tx } => (*purpose, tx),
            _ => return None,
        };
        Some((purpose, tx.validity.nonce()?.clone()))
    };
    events.iter().filter_map(sibling).collect()
}

fn proof(events: &[EventRecord]) -> Option<&DeathProof> {
    events.iter().find_map(|record| match &record.event {
        OrderEvent::TransactionDied { proof, .. } => Some(proof),
        _ => None,
    })
}

fn waits_for_account(record: &EventRecord) -> bool {
    let is_busy = |code: &FailureCode| *code == FailureCode::ACCOUNT_BUSY;
    matches!(&record.event, OrderEvent::Deferred { failure, .. } if is_busy(&failure.code))
}

/// Checks that the orders were executed once each, in their first attempts, and that no two have a value in common.
async fn assert_each_has_its_own(chain: &Chain, orders: &[OrderId]) {
    let mut owners = BTreeMap::new();
    for id in orders {
        let events = chain.fixture.events_to_the_end(*id).await;
        let end = events.last().unwrap();
        assert_eq!((end.status, end.attempt), (Status::Confirmed, 1), "{events:#?}");
        assert_eq!(chain.venue.executions(*id), 1);
        for (_, nonce) in signed(&events) {
            assert_eq!(*owners.entry(nonce.clone()).or_insert(*id), *id, "{nonce:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn orders_take_several_accounts_and_more_orders_than_accounts_wait() {
    let chain = Chain::new(["a", "b", "c"]).await;
    let mut orders = Vec::new();
    for _ in 0..12 {
        orders.push(chain.fixture.submit(request()).await.id);
    }
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(chain.venue.sent().len(), 3, "one for each account before the first block");
    assert_each_has_its_own(&chain, &orders).await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_accounts_and_no_value() {
    let chain = Chain::new(["a", "b", "c"]).await;
    let other = chain.fixture.restart().await;
    let worker = other.work();
    let mut orders = Vec::new();
    for n in 0..16 {
        let fixture = if n % 2 == 0 { &chain.fixture } else { &other };
        orders.push(fixture.submit(request()).await.id);
    }
    assert_each_has_its_own(&chain, &orders).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_without_a_slot_until_the_account_is_free() {
    let chain = Chain::with(["a"], FeeBumpPolicy::default().with_max_bumps(0)).await;
    chain.venue.set_least_fee(1_000);
    let first = chain.submitted().await;
    let mut orders = vec![first];
    // The one slot of the worker serves each of them in turn.
    for _ in 0..3 {
        let order = chain.fixture.submit(request()).await.id;
        chain.fixture.reaches(order, waits_for_account).await;
        orders.push(order);
    }
    chain.venue.set_least_fee(0);
    assert_each_has_its_own(&chain, &orders).await;
}

#[tokio::test(start_paused = true)]
async fn an_account_is_free_when_its_use_is_final_and_not_before() {
    let chain = Chain::new(["a"]).await;
    chain.venue.set_depth(5);
    let first = chain.submitted().await;
    let seen = |record: &EventRecord| matches!(record.event, OrderEvent::InclusionObserved { .. });
    chain.fixture.reaches(first, seen).await;
    let second = chain.fixture.submit(request()).await.id;
    chain.fixture.reaches(second, waits_for_account).await;
    // The next use after a fork gives the account another value than the one that was seen.
    chain.venue.fork(3);
    assert_each_has_its_own(&chain, &[first, second]).await;
}

#[tokio::test(start_paused = true)]
async fn a_higher_fee_keeps_the_value() {
    let chain = Chain::new(["a"]).await;
    chain.venue.set_least_fee(150);
    let order = chain.fixture.submit(request()).await.id;
    let events = chain.fixture.events_to_the_end(order).await;
    let signed = signed(&events);
    // 100, 125 and 157.
    let purposes: Vec<Purpose> = signed.iter().map(|(purpose, _)| *purpose).collect();
    assert_eq!(purposes, [Purpose::Original, Purpose::FeeBump, Purpose::FeeBump]);
    assert!(signed.iter().all(|(_, nonce)| *nonce == signed[0].1), "{signed:?}");
    assert_eq!(chain.venue.executions(order), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_uses_the_value_up_and_the_account_serves_the_next_order() {
    let chain = Chain::new(["a"]).await;
    chain.venue.set_least_fee(120);
    let order = chain.submitted().await;
    chain.fixture.engine.cancel(order).await.unwrap();
    let events = chain.fixture.events_to_the_end(order).await;
    assert!(matches!(proof(&events), Some(DeathProof::Cancelled { .. })), "{:?}", proof(&events));
    assert_eq!(chain.venue.executions(order), 0);
    chain.venue.set_least_fee(0);
    let next = chain.fixture.submit(request()).await.id;
    assert_each_has_its_own(&chain, &[next]).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_somebody_else_uses_costs_an_attempt_and_no_money() {
    let chain = Chain::new(["a"]).await;
    chain.venue.set_losing(true);
    let order = chain.submitted().await;
    chain.venue.use_elsewhere(&"a".into());
    chain.venue.set_losing(false);
    let events = chain.fixture.events_to_the_end(order).await;
    assert!(matches!(proof(&events), Some(DeathProof::Superseded { .. })), "{:?}", proof(&events));
    let end = events.last().unwrap();
    assert_eq!((end.status, end.attempt, chain.venue.executions(order)), (Status::Confirmed, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_older_value_that_a_node_behind_shows_is_no_proof() {
    let chain = Chain::with(["a"], FeeBumpPolicy::default().with_max_bumps(0)).await;
    let first = chain.fixture.submit(request()).await.id;
    chain.fixture.until_terminal(first).await;
    chain.venue.set_least_fee(1_000);
    let second = chain.submitted().await;
    // The node shows the value that the first order used, and no node knows the second order's transaction.
    chain.venue.set_lag(1_000);
    tokio::time::sleep(Duration::from_mins(1)).await;
    chain.venue.set_lag(0);
    chain.venue.set_least_fee(0);
    assert_each_has_its_own(&chain, &[first, second]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_transaction_is_sent_again_until_the_chain_has_it() {
    let chain = Chain::new(["a"]).await;
    chain.venue.set_losing(true);
    let order = chain.submitted().await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    chain.venue.set_losing(false);
    assert_each_has_its_own(&chain, &[order]).await;
}

/// Crashes a process at some point of the first order, and lets another process go on with this one and a second order.
async fn crashes_at(point: CrashPoint, when: When, cancels: bool) {
    let (venue, crash) = (Arc::new(NonceVenue::new(["a"]).with_opaque_values()), CrashPoints::new());
    let intercepted = InterceptedVenue::new(Arc::clone(&venue) as Arc<dyn Venue>, Arc::new(crash.clone()));
    let mut config = EngineConfig::default();
    // The orders go on from the step that they have reached, without another quote.
    config.quote_ttl = Duration::from_hours(1);
    let setup = Setup {
        config,
        intercept: Some(Arc::new(crash.clone())),
        venue: Some(Arc::new(intercepted)),
        ..Setup::default()
    };
    let fixture = Fixture::with(setup).await;
    venue.set_least_fee(120);
    crash.arm(point, when);
    let miner = mine(&venue);
    let worker = fixture.work();
    let first = fixture.submit(request()).await.id;
    if cancels {
        fixture.reaches(first, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
        fixture.engine.cancel(first).await.unwrap();
    }
    crash.reached().await;
    let fixture = fixture.crash(worker).await;
    let worker = fixture.work();
    let second = fixture.submit(request()).await.id;
    let told = format!("{point:?} {when:?}, cancelled: {cancels}");
    let mut owners = BTreeMap::new();
    for (id, is_executed) in [(first, !cancels), (second, true)] {
        let events = fixture.events_to_the_end(id).await;
        let end = events.last().unwrap();
        assert_eq!(end.status == Status::Confirmed, is_executed, "{told}: {events:#?}");
        assert_eq!(end.attempt, 1, "{told}: {events:#?}");
        assert_eq!(venue.executions(id), usize::from(is_executed), "{told}");
        for (_, nonce) in signed(&events) {
            assert_eq!(*owners.entry(nonce).or_insert(id), id, "{told}");
        }
    }
    drop(miner);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_neither_shares_a_value_nor_loses_an_account() {
    let points = [
        CrashPoint::Prepare,
        CrashPoint::Append("transaction_signed"),
        CrashPoint::Append("submission_started"),
        CrashPoint::Submit,
        CrashPoint::Append("submission_accepted"),
        CrashPoint::Observe,
    ];
    let replacing = [CrashPoint::Replace, CrashPoint::Append("sibling_signed")];
    for when in [When::Before, When::After] {
        for point in points.into_iter().chain(replacing).chain([CrashPoint::Append("confirmed")]) {
            crashes_at(point, when, false).await;
        }
        for point in replacing.into_iter().chain([CrashPoint::Append("transaction_died")]) {
            crashes_at(point, when, true).await;
        }
    }
}
