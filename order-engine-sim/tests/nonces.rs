//! The promises of a chain whose transactions have nonces.

mod common;
#[path = "common/nonces.rs"]
mod nonces;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{World, certainty, instant, is_absent, order, reliable};
use nonces::CountingNonces;
use order_engine_core::{
    AccountNonce, Amount, Certainty, DeathProof, NonceValue, Observation, Runtime, Siblings, SignedTx,
    SubmitReport, TransactionBound, TxId, Verdict, verdict,
};
use order_engine_sim::{
    FaultConfig, NonceConfig, NonceUse, Rate, SimConfig, SimError, Simulator, UsedBy, audit, read_ledger,
    read_nonce_uses,
};
use proptest::prelude::*;

const SLOT: Duration = Duration::from_millis(400);
/// More slots than it takes until a block is final.
const FINALITY: u32 = 34;

/// Returns a chain with nonces and one account.
fn with_nonces(config: SimConfig) -> SimConfig {
    let nonces = NonceConfig { accounts: 1, ..NonceConfig::default() };
    SimConfig { nonces: Some(nonces), ..config }
}

async fn suffering(faults: FaultConfig) -> World {
    World::new(SimConfig { faults, ..with_nonces(instant()) }).await
}

fn refused(report: &SubmitReport, reason: &str) -> bool {
    matches!(report, SubmitReport::DefinitelyNotAccepted { message } if message == reason)
}

/// Returns which transactions used the nonces of the chain's only account.
fn uses(world: &World) -> Vec<(TxId, UsedBy)> {
    let uses = world.sim.nonce_uses();
    audit(&uses).unwrap();
    uses.into_iter().map(|NonceUse { tx_id, used_by, .. }| (tx_id, used_by)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_transaction_lands_in_the_next_block_and_becomes_final_with_it() {
    let world = suffering(FaultConfig::default()).await;
    let venue = world.sim.venue();
    assert_eq!(venue.capabilities().bound, TransactionBound::Nonce);
    assert!(venue.capabilities().finds_by_tag && venue.capabilities().hazard().is_none());
    let order = order(1);
    let tx = world.signed(&order).await;
    let nonce = AccountNonce::new(world.sim.accounts().remove(0), 0);
    assert_eq!((tx.validity.nonce(), tx.max_fee), (Some(&nonce), Some(Amount::new(200))));
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    assert_eq!(world.submit(&tx).await, SubmitReport::AlreadyKnown);
    assert_eq!(world.sim.waiting(), [nonce]);
    assert!(is_absent(&world.observe(&tx.id).await));
    world.clock.skip(SLOT);
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Processed));
    let account = world.account_of(&tx).await;
    assert_eq!((account.latest, account.finalized), (NonceValue::Number(1), NonceValue::Number(0)));
    assert!(refused(&world.submit(&tx).await, "nonce too low"));
    assert_eq!((world.executions().await, venue.find(order.id).await.unwrap()), (vec![], vec![]));

    world.clock.skip(FINALITY * SLOT);
    let seen = world.observe(&tx.id).await;
    let Observation::Landed { certainty: Certainty::Finalized, fill } = seen else { panic!("{seen:?}") };
    assert!(fill.amount_out >= tx.min_amount_out);
    let account = world.account_of(&tx).await;
    assert_eq!((account.latest, account.finalized), (NonceValue::Number(1), NonceValue::Number(1)));
    let [execution] = &world.executions().await[..] else { panic!("one execution") };
    assert_eq!((execution.height, execution.executed), (fill.height, true));
    assert_eq!(venue.find(order.id).await.unwrap(), [tx.id]);
    assert_eq!(world.sim.waiting(), []);
}

#[tokio::test(start_paused = true)]
async fn a_gap_holds_up_those_behind_until_it_is_filled() {
    let (world, nonces) = (suffering(FaultConfig::default()).await, CountingNonces::default());
    let first = world.signed_next(&order(1), &nonces).await;
    let second = world.signed_next(&order(2), &nonces).await;
    assert_eq!(world.submit(&second).await, SubmitReport::Accepted);
    world.clock.skip(10 * SLOT);
    assert!(is_absent(&world.observe(&second.id).await));
    assert_eq!(world.submit(&first).await, SubmitReport::Accepted);
    world.clock.skip(FINALITY * SLOT);
    let landed: Vec<TxId> = uses(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(landed, [first.id, second.id]);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_lands_instead_and_an_underpriced_one_is_refused() {
    let world = suffering(FaultConfig::default()).await;
    let order = order(1);
    let tx = world.signed(&order).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let cheap = world.replaced(&order, &tx, 109).await;
    assert!(refused(&world.submit(&cheap).await, "replacement transaction underpriced"));
    let dear = world.replaced(&order, &tx, 110).await;
    assert_eq!((dear.max_fee, dear.min_amount_out), (Some(Amount::new(220)), tx.min_amount_out));
    assert_eq!(dear.validity, tx.validity);
    assert_eq!(world.submit(&dear).await, SubmitReport::Accepted);
    assert!(refused(&world.submit(&tx).await, "replacement transaction underpriced"));
    world.clock.skip(FINALITY * SLOT);
    assert_eq!(certainty(&world.observe(&dear.id).await), Some(Certainty::Finalized));
    assert!(is_absent(&world.observe(&tx.id).await));
    assert_eq!(uses(&world), [(dear.id, UsedBy::Swap { order_id: order.id, executed: true })]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_uses_the_nonce_and_moves_nothing() {
    let world = suffering(FaultConfig::default()).await;
    let order = order(1);
    let tx = world.signed(&order).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let cancel = world.cancelled(&order, &tx).await;
    assert_eq!(world.submit(&cancel).await, SubmitReport::Accepted);
    world.clock.skip(FINALITY * SLOT);
    let seen = world.observe(&cancel.id).await;
    let Observation::Landed { certainty: Certainty::Finalized, fill } = seen else { panic!("{seen:?}") };
    assert_eq!((fill.amount_in, fill.amount_out), (Amount::ZERO, Amount::ZERO));
    assert_eq!(world.executions().await, []);
    assert_eq!(uses(&world), [(cancel.id.clone(), UsedBy::Cancel { order_id: order.id })]);
    assert_eq!(world.sim.venue().find(order.id).await.unwrap(), [cancel.id]);
}

#[tokio::test(start_paused = true)]
async fn a_revert_uses_its_nonce() {
    let world = World::new(SimConfig { fail_rate: Rate::ALWAYS, ..with_nonces(instant()) }).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(FINALITY * SLOT);
    let seen = world.observe(&tx.id).await;
    assert!(matches!(seen, Observation::Reverted { certainty: Certainty::Finalized, .. }), "{seen:?}");
    assert_eq!(uses(&world), [(tx.id, UsedBy::Swap { order_id: order(1).id, executed: false })]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_use_supersedes_and_the_verdict_proves_it() {
    let world = suffering(FaultConfig { foreign_rate: Rate::ALWAYS, ..FaultConfig::default() }).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(SLOT);
    assert!(refused(&world.submit(&tx).await, "nonce too low"));
    world.sim.set_faults(FaultConfig::default());
    assert_eq!(judged(&world, &tx).await, Verdict::Pending(None), "the use is not final");
    world.clock.skip(FINALITY * SLOT);
    let Verdict::Dead(DeathProof::Superseded { finalized_nonce, .. }, ..) = judged(&world, &tx).await else {
        panic!("somebody used its nonce")
    };
    let uses = uses(&world);
    assert_eq!(finalized_nonce.number(), Some(uses.len() as u64));
    assert!(uses.iter().all(|(_, used_by)| *used_by == UsedBy::Foreign));
}

#[tokio::test(start_paused = true)]
async fn a_fee_spike_holds_up_what_pays_too_little() {
    let spike = FaultConfig {
        fee_spike_rate: Rate::ALWAYS,
        fee_spike_slots: 1_000,
        fee_spike_percent: 240,
        ..FaultConfig::default()
    };
    let world = suffering(FaultConfig::default()).await;
    let order = order(1);
    let tx = world.signed(&order).await;
    world.sim.set_faults(spike);
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(10 * SLOT);
    assert!(is_absent(&world.observe(&tx.id).await), "it pays 200, and the base fee is 240");
    let bumped = world.replaced(&order, &tx, 120).await;
    assert_eq!(world.submit(&bumped).await, SubmitReport::Accepted);
    world.clock.skip(SLOT);
    assert_eq!(certainty(&world.observe(&bumped.id).await), Some(Certainty::Processed));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_block_gives_its_transactions_and_nonces_back() {
    let world = suffering(FaultConfig::default()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(SLOT);
    let seen = world.observe(&tx.id).await;
    let Observation::Landed { fill, .. } = seen else { panic!("{seen:?}") };
    let reorg =
        |reorg_loss_rate| FaultConfig { reorg_rate: Rate::ALWAYS, reorg_loss_rate, ..FaultConfig::default() };
    world.sim.set_faults(reorg(Rate::NEVER));
    world.clock.skip(SLOT);
    let gone = world.observe(&tx.id).await;
    let Observation::NotFound { seen_through, .. } = gone else { panic!("{gone:?}") };
    assert!(seen_through > Some(fill.height), "the node has seen the block in its place");
    assert_eq!((world.account_of(&tx).await.latest, world.sim.waiting().len()), (NonceValue::Number(0), 1));
    world.sim.set_faults(FaultConfig::default());
    world.clock.skip(10 * SLOT);
    assert_eq!(world.account_of(&tx).await.latest, NonceValue::Number(1), "it lands again");

    let next = world.signed(&order(2)).await;
    assert_eq!(world.submit(&next).await, SubmitReport::Accepted);
    world.clock.skip(SLOT);
    assert_eq!(world.account_of(&tx).await.latest, NonceValue::Number(2));
    world.sim.set_faults(reorg(Rate::ALWAYS));
    world.clock.skip(SLOT);
    assert_eq!(
        (world.account_of(&tx).await.latest, world.sim.waiting().len()),
        (NonceValue::Number(1), 0),
        "it is lost"
    );
    world.sim.set_faults(FaultConfig::default());
    assert_eq!(world.submit(&next).await, SubmitReport::Accepted, "and may be sent again");
}

#[tokio::test(start_paused = true)]
async fn a_final_block_is_never_abandoned() {
    let world = suffering(FaultConfig::default()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(FINALITY * SLOT);
    let faults = FaultConfig { reorg_rate: Rate::ALWAYS, reorg_slots: 1_000, ..FaultConfig::default() };
    world.sim.set_faults(faults);
    world.clock.skip(200 * SLOT);
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Finalized));
    assert_eq!(world.account_of(&tx).await.latest, NonceValue::Number(1));
}

#[tokio::test(start_paused = true)]
async fn evicted_and_dropped_transactions_may_be_sent_again() {
    let eviction = FaultConfig { eviction_rate: Rate::ALWAYS, ..FaultConfig::default() };
    let drop = FaultConfig { drop_rate: Rate::ALWAYS, ..FaultConfig::default() };
    for faults in [eviction, drop] {
        let world = suffering(faults).await;
        let tx = world.signed(&order(1)).await;
        for _ in 0..2 {
            assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
            world.clock.skip(SLOT);
            assert!(is_absent(&world.observe(&tx.id).await));
            assert_eq!(world.sim.waiting(), []);
        }
        world.sim.set_faults(FaultConfig::default());
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        world.clock.skip(SLOT);
        assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Processed));
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_lag_or_prune_say_how_far_they_have_come() {
    let world = suffering(FaultConfig::default()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(2 * FINALITY * SLOT);
    let leader = world.sim.venue().view().await.unwrap();
    world.sim.set_faults(FaultConfig {
        node_lag_rate: Rate::ALWAYS,
        node_lag_slots: 60,
        ..FaultConfig::default()
    });
    let behind = world.account_of(&tx).await;
    assert_eq!((behind.latest, behind.finalized), (NonceValue::Number(1), NonceValue::Number(0)));
    assert_eq!(behind.finalized_height + 60, leader.finalized);
    assert_eq!(world.sim.venue().find(order(1).id).await.unwrap(), []);
    world.sim.set_faults(FaultConfig {
        history_prune_rate: Rate::ALWAYS,
        history_kept_slots: 5,
        ..FaultConfig::default()
    });
    let unproven = Observation::NotFound { searched_through: None, seen_through: None };
    assert_eq!(world.observe(&tx.id).await, unproven);
    assert_eq!(world.account_of(&tx).await.finalized, NonceValue::Number(1), "nonces are no history");
    world.sim.venue().find(order(1).id).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_block_has_its_capacity_and_takes_the_highest_fees_first() {
    let nonces = NonceConfig { accounts: 8, block_capacity: 1, ..NonceConfig::default() };
    let world = World::new(SimConfig { nonces: Some(nonces), ..instant() }).await;
    let mut of_accounts: BTreeMap<AccountNonce, SignedTx> = BTreeMap::new();
    for number in 0..40 {
        let (order, source) = (order(number), CountingNonces::default());
        let tx = world.signed_next(&order, &source).await;
        let tx = world.replaced(&order, &tx, 200 + 10 * u32::try_from(number).unwrap()).await;
        of_accounts.insert(tx.validity.nonce().unwrap().clone(), tx);
    }
    assert!(of_accounts.len() > 5, "orders are spread over accounts");
    let mut txs: Vec<SignedTx> = of_accounts.into_values().collect();
    for tx in &txs {
        assert_eq!(world.submit(tx).await, SubmitReport::Accepted);
    }
    txs.sort_by_key(|tx| std::cmp::Reverse(tx.max_fee));
    for tx in txs {
        assert!(is_absent(&world.observe(&tx.id).await));
        world.clock.skip(SLOT);
        assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Processed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_continues_with_the_nonces_of_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let config = SimConfig { ledger: Some(path.clone()), ..with_nonces(instant()) };
    let world = World::new(config.clone()).await;
    let (first, second) = (order(1), order(2));
    let tx = world.signed(&first).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(SLOT);
    let reverse = world.signed(&second).await;
    assert_eq!(world.submit(&world.cancelled(&second, &reverse).await).await, SubmitReport::Accepted);
    world.clock.skip(FINALITY * SLOT);
    world.sim.flush().await.unwrap();
    let (executions, before) = (world.executions().await, uses(&world));
    assert_eq!((executions.len(), before.len()), (1, 2));
    assert_eq!((read_ledger(&path).unwrap(), read_nonce_uses(&path).unwrap().len()), (executions.clone(), 2));
    drop(world);

    let world = World::starting_at(common::START_MS + 60_000, config).await;
    assert_eq!((world.executions().await, uses(&world)), (executions, before));
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Finalized));
    let next = world.signed(&order(3)).await;
    assert_eq!(next.validity.nonce().unwrap().value, NonceValue::Number(2));
    assert!(refused(&world.submit(&tx).await, "nonce too low"));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_of_the_other_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for nonces in [None, Some(NonceConfig::default())] {
        let path = folder.path().join(format!("{}.jsonl", nonces.is_some()));
        let config = |nonces| SimConfig { ledger: Some(path.clone()), nonces, ..instant() };
        let world = World::new(config(nonces)).await;
        let tx = world.signed(&order(1)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        world.clock.skip(2 * FINALITY * SLOT);
        assert_eq!(world.executions().await.len(), 1);
        drop(world);
        let other = if nonces.is_some() { None } else { Some(NonceConfig::default()) };
        let refused = Simulator::open(config(other), Runtime::tokio()).await.unwrap_err();
        assert!(matches!(refused, SimError::Config(_)), "{refused}");
        Simulator::open(config(nonces), Runtime::tokio()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn transactions_of_another_kind_or_account_are_refused() {
    let world = suffering(FaultConfig::default()).await;
    let by_height = World::new(reliable()).await;
    let foreign = World::new(SimConfig {
        nonces: Some(NonceConfig { accounts: 2, ..NonceConfig::default() }),
        ..reliable()
    })
    .await;
    let numbers = (0..20).map(order);
    let mut strangers = Vec::new();
    for order in numbers {
        let tx = foreign.signed(&order).await;
        if world.sim.accounts()[0] != tx.validity.nonce().unwrap().account {
            strangers.push(tx);
        }
    }
    let stranger = strangers.first().expect("an order has the second account");
    for tx in [stranger, &by_height.signed(&order(1)).await] {
        let report = world.submit(tx).await;
        assert!(matches!(report, SubmitReport::DefinitelyNotAccepted { .. }), "{report:?}");
    }
    let tx = world.signed(&order(1)).await;
    let report = by_height.submit(&tx).await;
    assert!(matches!(report, SubmitReport::DefinitelyNotAccepted { .. }), "{report:?}");
}

/// Returns the verdict about the only transaction of an attempt.
async fn judged(world: &World, tx: &SignedTx) -> Verdict {
    let view = world.sim.venue().view().await.unwrap();
    let account = world.account_of(tx).await;
    let observation = world.observe(&tx.id).await;
    verdict(&Siblings::from(tx.clone()), &view, Some(&account), &[observation])
}

fn faults() -> impl Strategy<Value = FaultConfig> {
    let rate = || (0_u32..300_000).prop_map(|ppm| Rate::from_ppm(ppm).unwrap());
    let sending = (rate(), rate(), rate(), rate(), rate(), 0_u64..30);
    let blocks = (rate(), rate(), 0_u64..40, rate(), rate());
    let fees = (rate(), 1_u64..50, 100_u32..1_000);
    let nodes = (rate(), 0_u64..100, rate(), 0_u64..50, rate(), 0_u64..50);
    (sending, blocks, fees, nodes).prop_map(|(sending, blocks, fees, nodes)| FaultConfig {
        lost_request_rate: sending.0,
        lost_reply_rate: sending.1,
        drop_rate: sending.2,
        duplicate_rate: sending.3,
        delay_rate: sending.4,
        delay_slots: sending.5,
        foreign_rate: blocks.0,
        reorg_rate: blocks.1,
        reorg_slots: blocks.2,
        reorg_loss_rate: blocks.3,
        eviction_rate: blocks.4,
        fee_spike_rate: fees.0,
        fee_spike_slots: fees.1,
        fee_spike_percent: fees.2,
        node_lag_rate: nodes.0,
        node_lag_slots: nodes.1,
        history_lag_rate: nodes.2,
        history_lag_slots: nodes.3,
        history_prune_rate: nodes.4,
        history_kept_slots: nodes.5,
        ..FaultConfig::default()
    })
}

/// The verdicts of an engine, and what really happened.
#[derive(Debug, PartialEq)]
struct Story {
    verdicts: BTreeMap<TxId, Verdict>,
    uses: Vec<NonceUse>,
}

/// Uses up the next nonce of a transaction's account, where it belongs to nobody: a fork has undone the
/// foreign transaction that had it, for good.
async fn fill_gap(world: &World, tx: &SignedTx, given_out: &BTreeSet<AccountNonce>) {
    let nonce = tx.validity.nonce().unwrap();
    let next = AccountNonce::new(nonce.account.clone(), world.account_of(tx).await.latest);
    if next.value < nonce.value && !given_out.contains(&next) {
        world.submit(&world.filled(&order(99), &next).await).await;
    }
}

/// Sends some transactions repeatedly, first with and then without faults, until each has a final verdict.
async fn live_through(config: SimConfig) -> Story {
    let (world, nonces) = (World::new(config).await, CountingNonces::default());
    let mut open: Vec<SignedTx> = Vec::new();
    for number in 0..8 {
        open.push(world.signed_next(&order(number), &nonces).await);
    }
    let given_out = open.iter().filter_map(|tx| tx.validity.nonce().cloned()).collect();
    let mut verdicts = BTreeMap::new();
    for round in 0_u32.. {
        assert!(round < 2_000, "no verdict for {open:?}");
        if round == 150 {
            world.sim.set_faults(FaultConfig::default());
        }
        let mut undecided = Vec::new();
        for tx in open {
            match judged(&world, &tx).await {
                Verdict::Pending(included) => {
                    if included.is_none() {
                        fill_gap(&world, &tx, &given_out).await;
                        world.submit(&tx).await;
                    }
                    undecided.push(tx);
                }
                Verdict::Unknown => undecided.push(tx),
                decided => drop(verdicts.insert(tx.id, decided)),
            }
        }
        if undecided.is_empty() {
            break;
        }
        open = undecided;
        world.clock.skip(Duration::from_millis(u64::from(round * 37 % 1_000)));
    }
    world.clock.skip(100 * SLOT);
    world.sim.flush().await.unwrap();
    assert_eq!(world.sim.waiting(), [], "nothing waits behind a gap");
    Story { verdicts, uses: world.sim.nonce_uses() }
}

fn paused<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run)
}

fn play(config: &SimConfig) -> Story {
    paused(live_through(config.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_abandoned_block_loses_and_doubles_no_transaction(
        seed: u64, reorg_percent in 1_u32..60, reorg_slots in 0_u64..40, slots in prop::collection::vec(0_u32..3, 1..60),
    ) {
        let faults = FaultConfig {
            reorg_rate: Rate::from_percent(reorg_percent).unwrap(),
            reorg_slots,
            ..FaultConfig::default()
        };
        let config = SimConfig { seed, faults, ..with_nonces(instant()) };
        paused(async {
            let (world, nonces) = (World::new(config).await, CountingNonces::default());
            for (sent, slots) in (1_u64..).zip(slots) {
                let tx = world.signed_next(&order(sent), &nonces).await;
                assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
                world.clock.skip(slots * SLOT);
                let account = world.account_of(&tx).await;
                assert!(account.finalized <= account.latest);
                let latest = account.latest.number().unwrap();
                assert_eq!(latest + world.sim.waiting().len() as u64, sent);
            }
        });
    }

    #[test]
    fn a_verdict_is_the_truth_whatever_goes_wrong(
        seed: u64, accounts in 1_usize..4, block_capacity in 1_usize..5, fail_percent in 0_u32..50, faults in faults(),
    ) {
        let config = SimConfig {
            seed,
            fail_rate: Rate::from_percent(fail_percent).unwrap(),
            faults,
            nonces: Some(NonceConfig { accounts, block_capacity, ..NonceConfig::default() }),
            ..SimConfig::default()
        };
        let story = play(&config);
        prop_assert_eq!(audit(&story.uses), Ok(()));
        prop_assert_eq!(story.verdicts.len(), 8);
        for (id, verdict) in &story.verdicts {
            let used_by = story.uses.iter().find(|used| used.tx_id == *id).map(|used| used.used_by);
            match (verdict, used_by) {
                (Verdict::Landed(landed, _), Some(UsedBy::Swap { executed: true, .. })) => prop_assert_eq!(landed, id),
                (Verdict::Dead(DeathProof::Reverted, ..), Some(UsedBy::Swap { executed: false, .. }))
                | (Verdict::Dead(DeathProof::Superseded { .. }, ..), None) => {}
                untrue => prop_assert!(false, "{:?}", untrue),
            }
        }
        prop_assert_eq!(play(&config), story, "the same seed gives the same result");
    }
}
