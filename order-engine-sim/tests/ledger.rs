//! The ledger from outside: nothing is revealed before it is on the disk, and nothing is forgotten.

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{START_MS, World, certainty, instant, is_absent, order, reliable};
use futures_util::future::join_all;
use order_engine_core::{Certainty, Runtime, SubmitReport};
use order_engine_sim::{Execution, Rate, SimConfig, SimError, Simulator, read_ledger};

fn ledger_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("ledger.jsonl")
}

fn with_ledger(config: SimConfig, path: &Path) -> SimConfig {
    SimConfig { ledger: Some(path.to_owned()), ..config }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_reveals_an_execution_comes_after_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let world = World::new(with_ledger(instant(), &path)).await;
    for number in 0..20 {
        let tx = world.signed(&order(number)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        let last = read_ledger(&path).unwrap().pop().unwrap();
        assert_eq!((last.tx_id, last.order_id, last.executed), (tx.id, order(number).id, true));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observation_comes_after_the_disk_has_it_and_the_line_waits_for_the_landing() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let world = World::new(with_ledger(reliable(), &path)).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    assert!(is_absent(&world.observe(&tx.id).await));
    assert_eq!(read_ledger(&path).unwrap(), []);
    world.clock.skip(Duration::from_millis(150));
    assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Processed));
    assert_eq!(read_ledger(&path).unwrap()[0].tx_id, tx.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_submissions_share_the_disk_and_each_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let world = World::new(with_ledger(instant(), &path)).await;
    let mut submissions = Vec::new();
    for number in 0..200 {
        let tx = world.signed(&order(number)).await;
        for _ in 0..2 {
            let (venue, path, tx) = (world.sim.venue(), path.clone(), tx.clone());
            submissions.push(tokio::spawn(async move {
                let report = venue.submit(&tx).await;
                let recorded = read_ledger(&path).unwrap();
                assert_eq!(recorded.iter().filter(|execution| execution.tx_id == tx.id).count(), 1);
                report
            }));
        }
    }
    let reports = join_all(submissions).await;
    let accepted = reports.into_iter().filter(|r| *r.as_ref().unwrap() == SubmitReport::Accepted).count();
    assert_eq!(accepted, 200);
    assert_eq!(read_ledger(&path).unwrap(), world.executions().await);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_everything_as_final_and_executes_nothing_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let config = SimConfig { fail_rate: Rate::from_percent(50).unwrap(), ..reliable() };
    let world = World::new(with_ledger(config.clone(), &path)).await;
    let mut txs = Vec::new();
    for number in 0..20 {
        let tx = world.signed(&order(number)).await;
        assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        txs.push(tx);
    }
    world.clock.skip(Duration::from_millis(150));
    let before = world.executions().await;
    let height = world.height();
    drop(world);

    // The transactions are still valid, so only the ledger shows that they landed.
    let world = World::starting_at(START_MS + 15_000, with_ledger(config, &path)).await;
    assert!(world.height() >= height);
    for tx in &txs {
        assert_eq!(certainty(&world.observe(&tx.id).await), Some(Certainty::Finalized));
        assert_eq!(world.submit(tx).await, SubmitReport::AlreadyKnown);
    }
    world.clock.skip(Duration::from_mins(1));
    assert_eq!(world.executions().await, before);
    assert!(before.iter().any(|execution| execution.executed));
    assert!(before.iter().any(|execution| !execution.executed));

    let tx = world.signed(&order(99)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    world.clock.skip(Duration::from_mins(1));
    assert_eq!(world.executions().await.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn heights_continue_after_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let world = World::starting_at(START_MS + 3_600_000, with_ledger(instant(), &path)).await;
    let tx = world.signed(&order(1)).await;
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let height = world.height();
    drop(world);
    let world = World::new(with_ledger(instant(), &path)).await;
    assert_eq!(world.height(), height);
    world.clock.skip(Duration::from_millis(400));
    assert_eq!(world.height(), height + 1);
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_line_is_forgotten_and_its_transaction_may_land_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let world = World::new(with_ledger(instant(), &path)).await;
    let txs = [world.signed(&order(1)).await, world.signed(&order(2)).await];
    for tx in &txs {
        assert_eq!(world.submit(tx).await, SubmitReport::Accepted);
    }
    drop(world);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();

    let world = World::new(with_ledger(instant(), &path)).await;
    assert_eq!(world.executions().await.len(), 1);
    assert_eq!(world.submit(&txs[0]).await, SubmitReport::AlreadyKnown);
    assert_eq!(world.submit(&txs[1]).await, SubmitReport::Accepted);
    assert_eq!(std::fs::read(&path).unwrap(), whole, "the same line, on its own");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_is_refused_while_another_simulator_has_it_or_if_it_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = ledger_in(&folder);
    let first = World::new(with_ledger(instant(), &path)).await;
    let second = Simulator::open(with_ledger(instant(), &path), Runtime::tokio()).await;
    assert!(matches!(second, Err(SimError::LedgerInUse { .. })), "{second:?}");
    drop(first);

    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"orderId\":\"who\"}\n{}\n").unwrap();
    let corrupt = Simulator::open(with_ledger(instant(), &path), Runtime::tokio()).await;
    assert!(matches!(corrupt, Err(SimError::LedgerCorrupt { line: 1, .. })), "{corrupt:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_calls_give_the_same_ledger() {
    async fn play(seed: u64) -> Vec<Execution> {
        let folder = tempfile::tempdir().unwrap();
        let path = ledger_in(&folder);
        let config = SimConfig { seed, fail_rate: Rate::from_percent(20).unwrap(), ..SimConfig::default() };
        let world = World::new(with_ledger(config, &path)).await;
        for number in 0..50 {
            let tx = world.signed(&order(number)).await;
            assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
        }
        world.clock.skip(Duration::from_secs(1));
        let executions = world.executions().await;
        assert_eq!(executions, read_ledger(&path).unwrap());
        executions
    }
    let first = play(1).await;
    assert_eq!(first.len(), 50);
    assert_eq!(first, play(1).await);
    assert_ne!(first, play(2).await);
}
