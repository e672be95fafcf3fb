//! The faults that can be configured, and the promises that they never break.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{World, certainty, instant, is_absent, judged, order, reliable};
use order_engine_core::{Certainty, Observation, SignedTx, SubmitReport, TxId, Validity, Verdict};
use order_engine_sim::{Execution, FaultConfig, Rate, SimConfig};
use proptest::prelude::*;

const STEP: Duration = Duration::from_millis(150);
const SLOT: Duration = Duration::from_millis(400);

/// Returns whether a node did not find a transaction, and cannot say that it is absent.
const fn is_unproven(observation: &Observation) -> bool {
    matches!(observation, Observation::NotFound { searched_through: None, .. })
}

async fn suffering(faults: FaultConfig) -> World {
    World::new(SimConfig { faults, ..reliable() }).await
}

fn last_valid_height(tx: &SignedTx) -> u64 {
    let Validity::UntilHeight(last) = tx.validity else { panic!("a blockhash expires") };
    last
}

#[tokio::test(start_paused = true)]
async fn a_dropped_transaction_is_accepted_and_forgotten_until_it_is_sent_again() {
    let world = suffering(FaultConfig { drop_rate: Rate::ALWAYS, ..FaultConfig::default() }).await;
    let tx = world.signed(&order(1)).await;
    for _ in 0..2 {
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        world.clock.skip(SLOT);
        assert!(is_absent(&world.observe(&tx.id).await));
    }
    world.sim.set_faults(FaultConfig::default());
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(3 * STEP);
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Finalized));
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_has_no_effect_and_a_lost_reply_hides_one() {
    let lost_request = FaultConfig { lost_request_rate: Rate::ALWAYS, ..FaultConfig::default() };
    let lost_reply = FaultConfig { lost_reply_rate: Rate::ALWAYS, ..FaultConfig::default() };
    for (faults, expected) in [(lost_request, 0), (lost_reply, 1)] {
        let world = suffering(faults).await;
        let report = world.submit(&world.signed(&order(1)).await).await;
        assert!(matches!(report, SubmitReport::Ambiguous { .. }), "{report:?}");
        world.clock.skip(SLOT);
        assert_eq!(world.executions().await.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_changes_nothing() {
    let world = suffering(FaultConfig { duplicate_rate: Rate::ALWAYS, ..FaultConfig::default() }).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(3 * STEP);
    let once = world.executions().await;
    let seen = world.observe(&tx.id).await;
    assert_eq!(once.len(), 1);
    world.clock.skip(100 * SLOT);
    assert_eq!(world.executions().await, once);
    assert_eq!(world.observe(&tx.id).await, seen);
}

#[tokio::test(start_paused = true)]
async fn a_late_landing_comes_exactly_at_the_last_valid_height_and_no_proof_denies_it() {
    let world = suffering(FaultConfig { late_rate: Rate::ALWAYS, ..FaultConfig::default() }).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    while world.height() < last_valid_height(&tx) {
        assert!(is_absent(&world.observe(&tx.id).await));
        world.clock.skip(SLOT);
    }
    // No call reaches the chain until the height is long final; the landing must still be found.
    world.clock.skip(100 * SLOT);
    let view = world.sim.venue().view().await.unwrap();
    assert!(view.finalized > last_valid_height(&tx));
    let Verdict::Landed(_, fill) = judged(&tx, &view, &world.observe(&tx.id).await) else {
        panic!("it landed in time")
    };
    assert_eq!(fill.height, last_valid_height(&tx));
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_validity_is_death() {
    let faults = FaultConfig { delay_rate: Rate::ALWAYS, delay_slots: 600, ..FaultConfig::default() };
    let world = suffering(faults).await;
    let mut valid_until = BTreeMap::new();
    for number in 0..100 {
        let tx = world.signed(&order(number)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        valid_until.insert(tx.id.clone(), last_valid_height(&tx));
    }
    world.clock.skip(1_000 * SLOT);
    let executions = world.executions().await;
    assert!(executions.len() > 5 && executions.len() < 60, "a quarter is delayed by less than its validity");
    assert!(executions.iter().all(|execution| execution.height <= valid_until[&execution.tx_id]));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_block_undoes_what_was_seen_and_never_what_was_final() {
    let world = suffering(FaultConfig { reorg_rate: Rate::ALWAYS, ..FaultConfig::default() }).await;
    let (mut undone, mut relanded) = (0, 0);
    for number in 0..50 {
        let tx = world.signed(&order(number)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        world.clock.skip(STEP);
        let seen = certainty(&world.observe(&tx.id).await);
        assert_eq!(seen, Some(Certainty::Processed));
        // An abandoned block disappears before two steps have passed.
        for _ in 0..2 * STEP.as_millis() {
            world.clock.skip(Duration::from_millis(1));
            let now = world.observe(&tx.id).await;
            assert!(certainty(&now) < Some(Certainty::Finalized));
            if is_absent(&now) {
                undone += 1;
                break;
            }
        }
        assert_eq!(world.sim.executions(None).len(), relanded, "an abandoned block executed nothing");
        world.clock.skip(20 * SLOT);
        relanded += usize::from(certainty(&world.observe(&tx.id).await) == Some(Certainty::Finalized));
    }
    assert_eq!((undone, relanded), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_block_at_the_end_of_the_validity_is_death() {
    let world = suffering(FaultConfig {
        reorg_rate: Rate::ALWAYS,
        late_rate: Rate::ALWAYS,
        ..FaultConfig::default()
    })
    .await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(1_000 * SLOT);
    let view = world.sim.venue().view().await.unwrap();
    assert!(matches!(judged(&tx, &view, &world.observe(&tx.id).await), Verdict::Dead(..)));
    assert_eq!(world.executions().await, []);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_history_hides_landings_and_never_claims_to_be_complete() {
    let lagging =
        FaultConfig { history_lag_rate: Rate::ALWAYS, history_lag_slots: 10, ..FaultConfig::default() };
    let pruned =
        FaultConfig { history_prune_rate: Rate::ALWAYS, history_kept_slots: 10, ..FaultConfig::default() };
    let world = World::new(instant()).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    for (faults, age_slots, is_seen) in
        [(lagging, 0, false), (pruned, 0, true), (lagging, 20, true), (pruned, 20, false)]
    {
        let age = world.height() - world.sim.executions(None)[0].height;
        world.clock.skip(u32::try_from(age_slots - age.min(age_slots)).unwrap() * SLOT);
        world.sim.set_faults(faults);
        let seen = world.observe(&tx.id).await;
        assert_eq!(!is_unproven(&seen), is_seen, "{faults:?}: {seen:?}");
        assert!(is_unproven(&world.observe(&TxId::new("unknown")).await));
    }
    world.sim.set_faults(FaultConfig::default());
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Finalized));
    assert!(is_absent(&world.observe(&TxId::new("unknown")).await));
}

fn faults() -> impl Strategy<Value = FaultConfig> {
    let rate = || (0_u32..600_000).prop_map(|ppm| Rate::from_ppm(ppm).unwrap());
    let sending = (rate(), rate(), rate(), rate());
    let landing = (rate(), 0_u64..200, rate(), rate());
    let nodes = (rate(), 0_u64..300);
    let history = (rate(), 0_u64..50, rate(), 0_u64..50);
    (sending, landing, nodes, history).prop_map(|(sending, landing, nodes, history)| FaultConfig {
        lost_request_rate: sending.0,
        lost_reply_rate: sending.1,
        drop_rate: sending.2,
        duplicate_rate: sending.3,
        delay_rate: landing.0,
        delay_slots: landing.1,
        late_rate: landing.2,
        reorg_rate: landing.3,
        node_lag_rate: nodes.0,
        node_lag_slots: nodes.1,
        history_lag_rate: history.0,
        history_lag_slots: history.1,
        history_prune_rate: history.2,
        history_kept_slots: history.3,
        ..FaultConfig::default()
    })
}

/// The verdicts of an engine, and what really happened.
#[derive(Debug, PartialEq)]
struct Story {
    verdicts: BTreeMap<TxId, Verdict>,
    executions: Vec<Execution>,
}

/// Sends some transactions repeatedly, first with and then without faults, until each has a final verdict.
async fn live_through(config: SimConfig) -> Story {
    let world = World::new(config).await;
    let mut open: Vec<SignedTx> = Vec::new();
    for number in 0..6 {
        open.push(world.signed(&order(number)).await);
    }
    let mut verdicts = BTreeMap::new();
    for round in 0_u32.. {
        assert!(round < 2_000, "no verdict for {open:?}");
        if round == 200 {
            world.sim.set_faults(FaultConfig::default());
        }
        let mut undecided = Vec::new();
        for tx in open {
            let view = world.sim.venue().view().await.unwrap();
            match judged(&tx, &view, &world.observe(&tx.id).await) {
                Verdict::Pending(None) => {
                    world.submit(&tx).await;
                    undecided.push(tx);
                }
                Verdict::Pending(Some(_)) | Verdict::Unknown => undecided.push(tx),
                decided => drop(verdicts.insert(tx.id, decided)),
            }
        }
        if undecided.is_empty() {
            break;
        }
        open = undecided;
        world.clock.skip(Duration::from_millis(u64::from(round * 37 % 1_000)));
    }
    // Every second delivery happens within this time.
    world.clock.skip(1_000 * SLOT);
    Story { verdicts, executions: world.executions().await }
}

fn play(config: &SimConfig) -> Story {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(live_through(config.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_is_the_truth_whatever_goes_wrong(
        seed: u64, step_ms in prop_oneof![Just(0), 1_u64..5_000], fail_percent in 0_u32..50, faults in faults(),
    ) {
        let config = SimConfig {
            seed,
            step_delay: Duration::from_millis(step_ms),
            fail_rate: Rate::from_percent(fail_percent).unwrap(),
            faults,
            ..SimConfig::default()
        };
        let story = play(&config);
        prop_assert_eq!(story.verdicts.len(), 6);
        for (id, verdict) in &story.verdicts {
            let landed: Vec<_> =
                story.executions.iter().filter(|execution| execution.tx_id == *id).collect();
            prop_assert!(landed.len() <= 1, "landed twice: {:?}", landed);
            match (verdict, landed.first()) {
                (Verdict::Landed(_, fill), Some(execution)) => {
                    prop_assert!(execution.executed);
                    prop_assert_eq!(fill.height, execution.height);
                    prop_assert_eq!(fill.amount_out, execution.amount_out);
                }
                (Verdict::Dead(..), Some(execution)) => prop_assert!(!execution.executed),
                (Verdict::Dead(..), None) => {}
                untrue => prop_assert!(false, "{:?}", untrue),
            }
        }
        prop_assert_eq!(play(&config), story, "the same seed gives the same result");
    }
}
