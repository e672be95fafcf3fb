//! Nodes that lag behind one address: their answers are true and complete up to their own height.

mod common;
#[path = "common/credulous.rs"]
mod credulous;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use common::{World, is_absent, judged, order, reliable};
use credulous::Credulous;
use order_engine_core::testing::SeededEntropy;
use order_engine_core::{
    DeathProof, Engine, EngineConfig, MemoryStore, Observation, OrderId, OrderRequest, Runtime, Status,
    Submission, SubmitReport, TokioClock, Validity, Verdict,
};
use order_engine_sim::{FaultConfig, Rate, SimConfig, Simulator};

const SLOT: Duration = Duration::from_millis(400);

/// Returns faults with which every transaction lands in the last moment, and half of all calls reach a node
/// that is behind.
fn late_landings_and_lagging_nodes() -> FaultConfig {
    FaultConfig {
        late_rate: Rate::ALWAYS,
        node_lag_rate: Rate::from_percent(50).unwrap(),
        node_lag_slots: 100,
        ..FaultConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lagging_node_never_proves_the_absence_of_a_landing() {
    let world = World::new(SimConfig { faults: late_landings_and_lagging_nodes(), ..reliable() }).await;
    let venue = world.sim.venue();
    let tx = world.signed(&order(1)).await;
    let Validity::UntilHeight(last) = tx.validity else { panic!("a blockhash expires") };
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(220 * SLOT);
    let mut answers = BTreeMap::new();
    for _ in 0..400 {
        let view = venue.view().await.unwrap();
        let observation = world.observe(&tx.id).await;
        let concluded = judged(&tx, &view, &observation);
        assert!(!matches!(concluded, Verdict::Dead(..)), "{view:?} {observation:?}");
        *answers.entry((view.finalized > last, is_absent(&observation))).or_insert(0) += 1;
        match (view.finalized > last, &observation) {
            (true, Observation::NotFound { searched_through, .. }) => {
                assert!(searched_through.unwrap() < view.finalized);
                assert_eq!(concluded, Verdict::Unknown);
            }
            (false, Observation::NotFound { .. }) => assert_eq!(concluded, Verdict::Pending(None)),
            _ => assert!(matches!(concluded, Verdict::Landed(..)), "{concluded:?}"),
        }
        world.clock.skip(Duration::from_millis(7));
    }
    assert_eq!(answers.len(), 4, "every pair of nodes answered: {answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lagging_node_proves_death_once_its_search_reaches_the_height_that_was_read() {
    let mut faults = late_landings_and_lagging_nodes();
    faults.late_rate = Rate::NEVER;
    faults.drop_rate = Rate::ALWAYS;
    let world = World::new(SimConfig { faults, ..reliable() }).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let Validity::UntilHeight(last) = tx.validity else { panic!("a blockhash expires") };
    let signed_at = last - 150;
    let mut by_laggards = 0;
    for slots in 0..400 {
        world.clock.skip(SLOT);
        let view = world.sim.venue().view().await.unwrap();
        if let Verdict::Dead(
            DeathProof::Expired { valid_until_height, finalized_height, searched_through },
            ..,
        ) = judged(&tx, &view, &world.observe(&tx.id).await)
        {
            assert!(finalized_height > valid_until_height && searched_through >= finalized_height);
            by_laggards += u32::from(searched_through + 100 < signed_at + slots);
        }
    }
    assert!(by_laggards > 0, "two calls in a row reach nodes that are behind");
}

/// Runs an engine until every order has ended. Returns the status and the number of executions of each.
async fn executions(seed: u64, is_credulous: bool) -> Vec<(Status, usize)> {
    let clock = Arc::new(TokioClock::starting_at(DateTime::UNIX_EPOCH + chrono::Duration::days(20_000)));
    let runtime = Runtime::tokio().with_clock(clock.clone()).with_entropy(SeededEntropy::new(seed));
    let faults = late_landings_and_lagging_nodes();
    let sim = Simulator::open(SimConfig { seed, faults, ..reliable() }, runtime.clone()).await.unwrap();
    let mut config = EngineConfig::default();
    // The interval is so long that a transaction lands and passes its validity between two observations.
    config.observe_interval = Duration::from_secs(25);
    let venue = if is_credulous { Arc::new(Credulous(sim.venue())) } else { sim.venue() };
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::with_clock(clock)))
        .router(sim.router())
        .venue(venue)
        .config(config)
        .runtime(runtime)
        .build()
        .await
        .unwrap();
    let worker = tokio::spawn(engine.run(10));
    let mut ids: Vec<OrderId> = Vec::new();
    for number in 0..10 {
        let request = OrderRequest::clone(&order(number).request).with_slippage_bps(500);
        let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!() };
        ids.push(order.id);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut ends = Vec::new();
    for id in ids {
        let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
        while events.next().await.is_some() {}
        let status = engine.order(id).await.unwrap().unwrap().status();
        ends.push((status, sim.executions(Some(id)).len()));
    }
    engine.shutdown(Duration::from_secs(5)).await.unwrap();
    worker.abort();
    ends
}

#[tokio::test(start_paused = true)]
async fn lagging_nodes_never_make_an_order_execute_twice() {
    for seed in 0..8 {
        let ends = executions(seed, false).await;
        assert!(ends.iter().all(|end| *end == (Status::Confirmed, 1)), "seed {seed}: {ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn believing_an_absence_without_evidence_executes_orders_twice() {
    let mut twice = 0;
    for seed in 0..8 {
        twice += executions(seed, true).await.iter().filter(|(_, executions)| *executions > 1).count();
    }
    assert!(twice > 0, "this chain shows why an absence needs evidence");
}
