//! Transactions with nonces: replaced for a higher fee, cancelled by one that does nothing, superseded by others, and
//! undone by forks. Each order is executed once at most, and no nonce is left out.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Setup, Worker};
use order_engine_core::testing::{
    CrashPoint, CrashPoints, InterceptedVenue, NonceVenue, ScriptedRouter, When, request,
};
use order_engine_core::{
    AccountId, Attention, BuildError, Cancellation, Deadline, DeathProof, Engine, EngineConfig, EventRecord,
    FailureCode, FeeBumpPolicy, MemoryStore, OrderEvent, OrderId, Purpose, Resolution, Resolved, Status,
    UnknownReason, Venue, VenueCapabilities,
};
use tokio::task::JoinHandle;

/// A chain that gets a block each second, and an engine with a worker.
struct Chain {
    venue: Arc<NonceVenue>,
    fixture: Fixture,
    _worker: Worker,
}

impl Chain {
    async fn new() -> Self {
        Self::with(EngineConfig::default(), FeeBumpPolicy::default()).await
    }

    async fn with(config: EngineConfig, fee_bumps: FeeBumpPolicy) -> Self {
        let venue = Arc::new(NonceVenue::new(["wallet"]));
        let setup_venue = Arc::clone(&venue) as Arc<dyn Venue>;
        let setup =
            Setup { config, venue: Some(setup_venue), fee_bumps: Some(fee_bumps), ..Setup::default() };
        let fixture = Fixture::with(setup).await;
        mine(&venue);
        let worker = fixture.work();
        Self { venue, fixture, _worker: worker }
    }

    fn next_nonce(&self) -> u64 {
        self.venue.next_nonce(&wallet())
    }
}

fn wallet() -> AccountId {
    "wallet".into()
}

/// Returns what was signed, in order.
fn signed(events: &[EventRecord]) -> Vec<Purpose> {
    let purpose = |record: &EventRecord| match &record.event {
        OrderEvent::TransactionSigned { .. } => Some(Purpose::Original),
        OrderEvent::SiblingSigned { purpose, .. } => Some(*purpose),
        _ => None,
    };
    events.iter().filter_map(purpose).collect()
}

fn code(events: &[EventRecord]) -> &FailureCode {
    &events.last().unwrap().event.failure().unwrap().code
}

fn proof(events: &[EventRecord]) -> Option<&DeathProof> {
    events.iter().find_map(|record| match &record.event {
        OrderEvent::TransactionDied { proof, .. } => Some(proof),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn orders_of_a_wallet_use_its_nonces_one_after_the_other() {
    let chain = Chain::new().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(chain.fixture.submit(request()).await.id);
    }
    for id in ids {
        assert_eq!(chain.fixture.until_terminal(id).await.status(), Status::Confirmed);
        assert_eq!(chain.venue.executions(id), 1);
    }
    assert_eq!(chain.next_nonce(), 12);
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_a_wallet() {
    let chain = Chain::new().await;
    let other = chain.fixture.restart().await;
    let worker = other.work();
    let mut ids = Vec::new();
    for n in 0..30 {
        let fixture = if n % 2 == 0 { &chain.fixture } else { &other };
        ids.push(fixture.submit(request()).await.id);
    }
    for id in ids {
        let order = chain.fixture.until_terminal(id).await;
        assert_eq!((order.status(), order.state.attempt()), (Status::Confirmed, 1));
        assert_eq!(chain.venue.executions(id), 1);
    }
    assert_eq!(chain.next_nonce(), 30);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_not_included_is_sent_again_for_a_higher_fee() {
    let chain = Chain::new().await;
    chain.venue.set_least_fee(150);
    let order = chain.fixture.submit(request()).await;
    let events = chain.fixture.events_to_the_end(order.id).await;
    // 100, 125 and 157.
    assert_eq!(signed(&events), [Purpose::Original, Purpose::FeeBump, Purpose::FeeBump]);
    let (Some(OrderEvent::Confirmed { tx_id, .. }), order) =
        (events.last().map(|record| &record.event), chain.fixture.until_terminal(order.id).await)
    else {
        panic!("{events:?}")
    };
    assert_eq!(order.state.tx_id(), Some(tx_id));
    assert_eq!(tx_id.as_str(), "wallet-0-3", "the last one executed it");
    assert_eq!((chain.venue.executions(order.id), chain.next_nonce()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_of_a_wallet_is_bumped() {
    let chain = Chain::new().await;
    chain.venue.set_least_fee(110);
    let first = chain.fixture.submit(request()).await;
    chain.fixture.reaches(first.id, |record| record.status == Status::Submitted).await;
    let second = chain.fixture.submit(request()).await;
    chain.fixture.reaches(second.id, |record| record.status == Status::Submitted).await;
    let (first, second) =
        (chain.fixture.events_to_the_end(first.id).await, chain.fixture.events_to_the_end(second.id).await);
    let bumped_at = |events: &[EventRecord]| {
        events
            .iter()
            .find(|record| matches!(record.event, OrderEvent::SiblingSigned { .. }))
            .map(|record| record.at)
    };
    let landed_at = first.last().map(|record| record.at);
    let waited = bumped_at(&second).zip(landed_at).map(|(bumped_at, landed_at)| bumped_at - landed_at);
    assert!(waited.is_some_and(|waited| waited.num_seconds() >= 2), "it waited for its turn: {waited:?}");
    assert_eq!((signed(&first).len(), signed(&second).len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn after_the_last_bump_it_waits_and_says_so() {
    for policy in [
        FeeBumpPolicy::default().with_max_bumps(2),
        FeeBumpPolicy::default().with_max_fee(Some(order_engine_core::Amount::new(160))),
    ] {
        let chain = Chain::with(EngineConfig::default(), policy).await;
        chain.venue.set_least_fee(1_000);
        let order = chain.fixture.submit(request()).await;
        let unknown = |record: &EventRecord| matches!(record.event, OrderEvent::OutcomeUnknown { .. });
        let events = chain.fixture.reaches(order.id, unknown).await;
        assert_eq!(signed(&events).len(), 3);
        assert!(events.last().unwrap().message().contains("its fee may not be raised any further"));
        let waiting = chain.fixture.engine.order(order.id).await.unwrap().unwrap();
        assert_eq!(waiting.state.attention(), Some(&Attention::OutcomeUnknown(UnknownReason::Stuck)));
        let resolved = chain.fixture.engine.resolve(order.id, &Resolution::NotExecuted, "explorer").await;
        assert!(matches!(resolved, Ok(Some(Resolved::StillPossible(_)))), "{resolved:?}");
        tokio::time::sleep(Duration::from_mins(10)).await;
        chain.venue.set_least_fee(0);
        let events = chain.fixture.events_to_the_end(order.id).await;
        assert_eq!((events.last().unwrap().status, signed(&events).len()), (Status::Confirmed, 3));
        assert_eq!(chain.venue.executions(order.id), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_the_orders_place_on_the_chain() {
    let chain = Chain::new().await;
    chain.venue.set_least_fee(120);
    let order = chain.fixture.submit(request()).await;
    chain.fixture.reaches(order.id, |record| record.status == Status::Submitted).await;
    let cancelled = chain.fixture.engine.cancel(order.id).await.unwrap().unwrap();
    assert!(matches!(cancelled, Cancellation::Pending(_)));
    let events = chain.fixture.events_to_the_end(order.id).await;
    assert_eq!(signed(&events), [Purpose::Original, Purpose::Cancel]);
    assert_eq!(code(&events), &FailureCode::CANCELLED);
    assert!(matches!(proof(&events), Some(DeathProof::Cancelled { .. })), "{:?}", proof(&events));
    assert_eq!(
        (chain.venue.executions(order.id), chain.next_nonce()),
        (0, 1),
        "the nonce is used all the same"
    );
    let next = chain.fixture.submit(request()).await;
    assert_eq!(chain.fixture.until_terminal(next.id).await.status(), Status::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_too_late_on_the_chain_is_beaten_by_the_landing() {
    let chain = Chain::new().await;
    chain.venue.set_depth(3);
    let order = chain.fixture.submit(request()).await;
    let seen = |record: &EventRecord| matches!(record.event, OrderEvent::InclusionObserved { .. });
    chain.fixture.reaches(order.id, seen).await;
    let cancelled = chain.fixture.engine.cancel(order.id).await.unwrap().unwrap();
    assert!(matches!(cancelled, Cancellation::Pending(_)));
    let events = chain.fixture.events_to_the_end(order.id).await;
    assert_eq!((events.last().unwrap().status, chain.venue.executions(order.id)), (Status::Confirmed, 1));
    assert_eq!(signed(&events), [Purpose::Original], "its nonce was used already");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_stuck_is_bumped_too() {
    let chain = Chain::new().await;
    chain.venue.set_least_fee(180);
    let order = chain.fixture.submit(request()).await;
    chain.fixture.reaches(order.id, |record| record.status == Status::Submitted).await;
    chain.fixture.engine.cancel(order.id).await.unwrap();
    let events = chain.fixture.events_to_the_end(order.id).await;
    // 100, and cancels for 125, 157 and 197.
    assert_eq!(signed(&events)[1..], [Purpose::Cancel; 3]);
    assert_eq!((code(&events), chain.venue.executions(order.id)), (&FailureCode::CANCELLED, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_an_order_on_the_chain_too() {
    let chain = Chain::new().await;
    chain.venue.set_least_fee(1_000);
    let deadline = Deadline::After(Duration::from_secs(5));
    let order = chain.fixture.submit(request().with_deadline(deadline)).await;
    let cancels = |record: &EventRecord| {
        matches!(record.event, OrderEvent::SiblingSigned { purpose: Purpose::Cancel, .. })
    };
    let events = chain.fixture.reaches(order.id, cancels).await;
    assert!((events.last().unwrap().at - order.created_at).num_milliseconds() >= 5_000);
    chain.venue.set_least_fee(0);
    let events = chain.fixture.events_to_the_end(order.id).await;
    assert_eq!((code(&events), chain.venue.executions(order.id)), (&FailureCode::EXPIRED, 0));
    assert_eq!(chain.next_nonce(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_that_somebody_else_uses_costs_an_attempt_and_no_money() {
    let chain = Chain::new().await;
    chain.venue.set_losing(true);
    let order = chain.fixture.submit(request()).await;
    chain.fixture.reaches(order.id, |record| record.status == Status::Submitted).await;
    chain.venue.use_elsewhere(&wallet());
    chain.venue.set_losing(false);
    let events = chain.fixture.events_to_the_end(order.id).await;
    assert!(matches!(proof(&events), Some(DeathProof::Superseded { .. })), "{:?}", proof(&events));
    let end = events.last().unwrap();
    assert_eq!((end.status, end.attempt, chain.venue.executions(order.id)), (Status::Confirmed, 2, 1));
    assert_eq!(chain.next_nonce(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_undoes_an_inclusion_is_told() {
    let chain = Chain::new().await;
    chain.venue.set_depth(6);
    let order = chain.fixture.submit(request()).await;
    let seen = |record: &EventRecord| matches!(record.event, OrderEvent::InclusionObserved { .. });
    chain.fixture.reaches(order.id, seen).await;
    chain.venue.set_least_fee(101);
    chain.venue.fork(3);
    let undone = |record: &EventRecord| record.event == OrderEvent::InclusionUndone;
    let events = chain.fixture.reaches(order.id, undone).await;
    assert!(events.is_sorted_by_key(|record| record.progress), "what was shown does not run backwards");
    let events = chain.fixture.events_to_the_end(order.id).await;
    assert_eq!(events.last().unwrap().status, Status::Confirmed);
    assert_eq!((chain.venue.executions(order.id), chain.next_nonce()), (1, 1));
}

/// Returns the fillers that were signed, by their nonce.
fn filled(events: &[EventRecord]) -> Vec<u64> {
    let nonce = |record: &EventRecord| match &record.event {
        OrderEvent::NonceFilled { tx } => tx.validity.nonce().and_then(|nonce| nonce.value.number()),
        _ => None,
    };
    events.iter().filter_map(nonce).collect()
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_a_fork_leaves_is_filled() {
    let chain = Chain::new().await;
    chain.venue.set_depth(6);
    chain.venue.set_least_fee(110);
    for _ in 0..2 {
        chain.venue.use_elsewhere(&wallet());
    }
    let (one, other) = (chain.fixture.submit(request()).await, chain.fixture.submit(request()).await);
    for id in [one.id, other.id] {
        chain.fixture.reaches(id, |record| record.status == Status::Submitted).await;
    }
    // What somebody else sent is gone for good, so nobody uses the nonces 0 and 1.
    chain.venue.fork(2);
    let mut fillers = Vec::new();
    for id in [one.id, other.id] {
        let events = chain.fixture.events_to_the_end(id).await;
        assert_eq!(events.last().unwrap().status, Status::Confirmed);
        assert_eq!(chain.venue.executions(id), 1);
        fillers.extend(filled(&events));
    }
    fillers.sort_unstable();
    assert_eq!(fillers, [0, 0, 1, 1], "each nonce by one order, and once more for a higher fee");
    assert_eq!(chain.next_nonce(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_of_another_order_is_not_filled() {
    let chain = Chain::with(EngineConfig::default(), FeeBumpPolicy::default().with_max_bumps(0)).await;
    chain.venue.set_least_fee(110);
    let (stuck, behind) = (chain.fixture.submit(request()).await, chain.fixture.submit(request()).await);
    tokio::time::sleep(Duration::from_mins(2)).await;
    chain.venue.set_least_fee(0);
    for id in [stuck.id, behind.id] {
        let events = chain.fixture.events_to_the_end(id).await;
        assert_eq!(events.last().unwrap().status, Status::Confirmed);
        assert!(filled(&events).is_empty());
    }
    assert_eq!(chain.next_nonce(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wallet_has_only_so_many_transactions_under_way() {
    let chain =
        Chain::with(EngineConfig::default().with_account_in_flight_max(2), FeeBumpPolicy::default()).await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(chain.fixture.submit(request()).await.id);
    }
    tokio::time::sleep(Duration::from_millis(900)).await;
    let sent: std::collections::BTreeSet<_> = chain.venue.sent().into_iter().collect();
    assert_eq!(sent.len(), 2, "before the first block");
    for id in ids {
        let order = chain.fixture.until_terminal(id).await;
        assert_eq!(
            (order.status(), order.state.attempt()),
            (Status::Confirmed, 1),
            "waiting uses no attempt"
        );
    }
    assert_eq!(chain.next_nonce(), 7);
}

#[tokio::test(start_paused = true)]
async fn lost_transactions_are_sent_again_until_the_chain_has_them() {
    let chain = Chain::new().await;
    chain.venue.set_losing(true);
    let order = chain.fixture.submit(request()).await;
    chain.fixture.reaches(order.id, |record| record.status == Status::Submitted).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    chain.venue.set_losing(false);
    let end = chain.fixture.until_terminal(order.id).await;
    assert_eq!((end.status(), chain.venue.executions(order.id)), (Status::Confirmed, 1));
}

/// Returns a process that can be crashed in each call of its store and its venue.
async fn crashing() -> (Arc<NonceVenue>, CrashPoints, Fixture) {
    let (venue, crash) = (Arc::new(NonceVenue::new(["wallet"])), CrashPoints::new());
    let intercepted = InterceptedVenue::new(Arc::clone(&venue) as Arc<dyn Venue>, Arc::new(crash.clone()));
    let fixture = Fixture::with(Setup {
        intercept: Some(Arc::new(crash.clone())),
        venue: Some(Arc::new(intercepted)),
        ..Setup::default()
    })
    .await;
    (venue, crash, fixture)
}

/// Adds a block each second.
fn mine(venue: &Arc<NonceVenue>) -> JoinHandle<()> {
    let venue = Arc::clone(venue);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            venue.mine(1);
        }
    })
}

/// Checks that everything that was sent for an order was committed.
async fn assert_all_committed(venue: &NonceVenue, fixture: &Fixture, order: OrderId, told: &str) {
    let events = fixture.engine.events(order, 0, 100).await.unwrap();
    let committed: Vec<_> = events
        .iter()
        .filter_map(|record| match &record.event {
            OrderEvent::TransactionSigned { tx }
            | OrderEvent::SiblingSigned { tx, .. }
            | OrderEvent::NonceFilled { tx } => Some(tx.id.clone()),
            _ => None,
        })
        .collect();
    assert!(venue.sent().iter().all(|sent| committed.contains(sent)), "{told}: what was sent is committed");
}

/// Crashes a process while it replaces a transaction, and lets another one go on.
async fn crashes_at(point: CrashPoint, when: When, cancels: bool) {
    let (venue, crash, fixture) = crashing().await;
    venue.set_least_fee(120);
    let worker = fixture.work();
    let order = fixture.submit(request()).await;
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    crash.arm(point, when);
    if cancels {
        fixture.engine.cancel(order.id).await.unwrap();
    }
    let miner = mine(&venue);
    crash.reached().await;
    let fixture = fixture.crash(worker).await;
    let worker = fixture.work();
    let ended = fixture.until_terminal(order.id).await;
    let told = format!("{point:?} {when:?}, cancelled: {cancels}");
    let executions = venue.executions(order.id);
    assert_eq!(executions, usize::from(ended.status() == Status::Confirmed), "{told}");
    assert_eq!(executions, usize::from(!cancels), "{told}");
    assert_eq!((venue.next_nonce(&wallet()), ended.state.attempt()), (1, 1), "{told}");
    assert_all_committed(&venue, &fixture, order.id, &told).await;
    miner.abort();
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_transaction_is_replaced_neither_doubles_it_nor_leaves_a_gap() {
    let points =
        [CrashPoint::Replace, CrashPoint::Append("sibling_signed"), CrashPoint::Submit, CrashPoint::Observe];
    for cancels in [false, true] {
        let end = CrashPoint::Append(if cancels { "transaction_died" } else { "confirmed" });
        for point in points.into_iter().chain([end]) {
            for when in [When::Before, When::After] {
                crashes_at(point, when, cancels).await;
            }
        }
    }
}

/// Crashes a process while it fills a gap, and lets another one go on.
async fn crashes_while_filling(point: CrashPoint, when: When) {
    let (venue, crash, fixture) = crashing().await;
    venue.set_depth(6);
    venue.use_elsewhere(&wallet());
    let worker = fixture.work();
    let order = fixture.submit(request()).await;
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::SubmissionAccepted)).await;
    venue.fork(1);
    crash.arm(point, when);
    let miner = mine(&venue);
    crash.reached().await;
    let fixture = fixture.crash(worker).await;
    let worker = fixture.work();
    let told = format!("{point:?} {when:?}");
    assert_eq!(fixture.until_terminal(order.id).await.status(), Status::Confirmed, "{told}");
    assert_eq!((venue.executions(order.id), venue.next_nonce(&wallet())), (1, 2), "{told}");
    assert_all_committed(&venue, &fixture, order.id, &told).await;
    miner.abort();
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_a_gap_is_filled_leaves_none() {
    for point in
        [CrashPoint::Replace, CrashPoint::Append("nonce_filled"), CrashPoint::Submit, CrashPoint::Observe]
    {
        for when in [When::Before, When::After] {
            crashes_while_filling(point, when).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_nonce_of_an_order_that_is_cancelled_before_its_commit_goes_to_the_next_at_once() {
    let (venue, crash, fixture) = crashing().await;
    crash.arm(CrashPoint::Append("transaction_signed"), When::Before);
    let worker = fixture.work();
    let order = fixture.submit(request()).await;
    crash.reached().await;
    // Another process does, because this one waits for its write.
    let other = fixture.restart().await;
    let cancelled = other.engine.cancel(order.id).await.unwrap().unwrap();
    assert!(matches!(cancelled, Cancellation::Cancelled(_)));
    let fixture = fixture.crash(worker).await;
    let _worker = fixture.work();
    let next = fixture.submit(request()).await;
    fixture.reaches(next.id, |record| record.event == OrderEvent::SubmissionAccepted).await;
    venue.mine(1);
    assert_eq!(fixture.until_terminal(next.id).await.status(), Status::Confirmed);
    assert_eq!((venue.executions(order.id), venue.next_nonce(&wallet())), (0, 1), "there is no gap");
}

/// A venue that cannot do something.
#[derive(Debug)]
struct Lacking(VenueCapabilities, NonceVenue);

#[async_trait::async_trait]
impl Venue for Lacking {
    fn capabilities(&self) -> VenueCapabilities {
        self.0
    }

    async fn prepare(
        &self,
        request: order_engine_core::PrepareRequest<'_>,
    ) -> Result<order_engine_core::SignedTx, order_engine_core::StepError> {
        self.1.prepare(request).await
    }

    async fn submit(&self, tx: &order_engine_core::SignedTx) -> order_engine_core::SubmitReport {
        self.1.submit(tx).await
    }

    async fn view(&self) -> Result<order_engine_core::ChainView, order_engine_core::VenueError> {
        self.1.view().await
    }

    async fn observe(
        &self,
        txs: &[order_engine_core::TxRef<'_>],
    ) -> Result<Vec<order_engine_core::Observation>, order_engine_core::VenueError> {
        self.1.observe(txs).await
    }
}

#[tokio::test]
async fn a_venue_that_cannot_be_driven_safely_is_refused() {
    let unknowable = VenueCapabilities::by_height().with_dedupes(false).with_is_searchable(false);
    let leaves_gaps = VenueCapabilities::by_nonce().with_cancels(false);
    for capabilities in [unknowable, leaves_gaps] {
        let venue = Lacking(capabilities, NonceVenue::new(["wallet"]));
        let engine = Engine::builder().store(MemoryStore::new()).router(ScriptedRouter::new()).venue(venue);
        let error = engine.build().await.unwrap_err();
        assert!(matches!(error, BuildError::UnsafeVenue { .. }), "{error}");
    }
}
