//! Workers that are paused, as by a debugger, a busy machine or the move of a virtual machine, and resumed
//! after their lease has expired and another worker has gone on.
//!
//! Each worker is a process of its own: this program, with the settings of a worker in its environment. It
//! stops itself with SIGSTOP at a named point, so no test depends on the speed of the machine.

mod common;
#[path = "paused/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::program::{SimVenue, executions};
use futures_util::future::join_all;
use order_engine_core::{
    EventRecord, Lane, Order, OrderEvent, OrderId, OrderState, OrderStore, Status, Validity,
};
use order_engine_sqlite::SqliteStore;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use worker::{POINTS, Point};

/// Not a test by itself: the tests start this program with `--exact worker_process` as a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn worker_process() {
    worker::run().await;
}

/// A worker in a process of its own.
struct Worker {
    child: Child,
    pid: u32,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    report: Report,
}

impl Worker {
    /// Starts a worker whose leases expire soon after it is stopped.
    fn start(fixture: &Fixture, point: Option<Point>, order: Option<OrderId>) -> Self {
        Self::with_lease(Duration::from_secs(1), fixture, point, order)
    }

    fn with_lease(lease: Duration, fixture: &Fixture, point: Option<Point>, order: Option<OrderId>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker_process", "--nocapture"]);
        command.env(worker::VENUE_URL, &fixture.venue.url).env(worker::FILE, fixture.file());
        command.env(worker::LEASE_MS, lease.as_millis().to_string());
        if let Some(point) = point {
            command.env(worker::STOP_AT, point.name());
        }
        if let Some(order) = order {
            command.env(worker::ORDER, order.to_string());
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (pid, stdin) = (child.id().unwrap(), child.stdin.take().unwrap());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, pid, stdin, lines, report: Report::default() }
    }

    /// Returns the next line that the worker reports, or `None` when it has ended.
    async fn next_line(&mut self) -> Option<&str> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if let Some(line) = line.strip_prefix("@ ") {
                self.report.lines.push(line.to_owned());
                return self.report.lines.last().map(String::as_str);
            }
        }
        None
    }

    /// Returns the rest of the next line with this prefix.
    async fn line_after(&mut self, prefix: &str) -> String {
        loop {
            let line = self.next_line().await.expect("the worker reports more lines");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim().to_owned();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The state follows the program's name in parentheses. The name may contain spaces.
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    async fn until_stopped(&self) {
        until(async || self.is_stopped()).await;
    }

    async fn resume(&mut self) {
        assert!(self.is_stopped());
        self.stdin.write_all(b"\n").await.unwrap();
        let resume = ["-CONT".to_owned(), self.pid.to_string()];
        assert!(Command::new("kill").args(resume).status().await.unwrap().success());
    }

    /// Waits until the worker has ended, and returns its report.
    async fn ends(mut self) -> Report {
        while self.next_line().await.is_some() {}
        let report = self.report;
        assert!(self.child.wait().await.unwrap().success(), "{report:?}");
        // Not necessarily the last line: a transaction that is under way may arrive later.
        assert!(report.lines.iter().any(|line| line == "done"), "{report:?}");
        report
    }
}

/// Polls a condition until it is true.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The lines that a worker reported.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Returns the rests of the lines with this prefix that followed the resumption.
    fn after_resumption(&self, prefix: &str) -> Vec<&str> {
        let lines = self.lines.iter().skip_while(|line| *line != "resumed");
        lines.filter_map(|line| line.strip_prefix(prefix)).map(str::trim).collect()
    }

    fn events(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix("event ")).collect()
    }
}

/// A file of orders, and a chain in a process of its own.
struct Fixture {
    folder: tempfile::TempDir,
    venue: SimVenue,
    store: SqliteStore,
}

/// An order and its history, as the store has them.
type Stored = (Order, Vec<EventRecord>);

impl Fixture {
    async fn new() -> Self {
        Self::with_slots_of("100").await
    }

    async fn with_slots_of(slot_ms: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--slot-ms", slot_ms, "--step-ms", "10", "--ledger", "ledger.jsonl"];
        let venue = SimVenue::start(folder.path(), &args).await;
        let store = worker::open(&folder.path().join("orders.db")).await;
        Self { folder, venue, store }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("orders.db")
    }

    async fn stored(&self, id: OrderId) -> Stored {
        let order = self.store.load(id).await.unwrap().unwrap();
        (order, self.store.events(id, 0, u32::MAX).await.unwrap())
    }

    /// Returns a worker that has claimed an order and is stopped at a point.
    async fn paused_worker(&self, point: Point) -> (Worker, OrderId) {
        let mut worker = Worker::start(self, Some(point), None);
        let id = worker.line_after("order ").await.parse().unwrap();
        worker.until_stopped().await;
        (worker, id)
    }

    /// Waits until the lease of an order has expired.
    async fn until_due(&self, id: OrderId) {
        until(async || {
            let lane = self.stored(id).await.0.state.lane().expect("the order has not ended");
            self.store.due_orders(lane, 9).await.unwrap().contains(&id)
        })
        .await;
    }

    /// Waits until the transaction of an order can no longer land.
    async fn until_expired(&self, id: OrderId) {
        let (order, _) = self.stored(id).await;
        let Validity::UntilHeight(last) = order.state.live_transaction().unwrap().validity else { panic!() };
        let http = reqwest::Client::new();
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "getBlockHeight", "params": [] });
        until(async || {
            let answer = http.post(&self.venue.url).json(&call).send().await.unwrap();
            answer.json::<Value>().await.unwrap()["result"].as_u64().unwrap() > last
        })
        .await;
    }

    /// Asserts that an order was executed once, and that all workers reported the same events.
    async fn assert_executed_once(&self, id: OrderId, reports: &[&Report]) -> Stored {
        let (order, history) = self.stored(id).await;
        assert_eq!(order.status(), Status::Confirmed, "{history:?}");
        assert_eq!(
            executions(&self.folder.path().join("ledger.jsonl")),
            BTreeMap::from([(id.to_string(), 1)])
        );
        assert!(history.iter().map(|record| record.seq).eq(1..=order.seq), "{history:?}");
        assert_eq!(OrderState::replay(&history).as_ref(), Ok(&order.state));
        let ends = history.iter().filter(|record| record.status.is_terminal()).count();
        assert_eq!(ends, 1, "{history:?}");
        let expected: Vec<String> =
            history.iter().map(|record| format!("{} {}", record.seq, record.event.kind())).collect();
        for report in reports {
            assert_eq!(report.events(), expected);
        }
        for lane in [Lane::Execute, Lane::Observe] {
            assert_eq!(self.store.due_orders(lane, 9).await.unwrap(), []);
        }
        (order, history)
    }
}

/// Pauses a worker at a point, lets another one take its order over and end it, and resumes the first.
/// Returns the first worker's report, and what is stored.
async fn taken_over(
    fixture: &Fixture,
    point: Point,
    meanwhile: impl AsyncFnOnce(OrderId),
) -> (Report, Stored) {
    let (mut paused, id) = fixture.paused_worker(point).await;
    meanwhile(id).await;
    let second = Worker::start(fixture, None, Some(id)).ends().await;
    let ended = fixture.assert_executed_once(id, &[&second]).await;
    paused.resume().await;
    let first = paused.ends().await;
    let after = fixture.assert_executed_once(id, &[&first, &second]).await;
    assert_eq!(after, ended, "the worker that lost the lease changed nothing");
    assert_eq!(first.after_resumption("wrote"), [""; 0], "{first:?}");
    (first, ended)
}

#[tokio::test]
async fn a_worker_paused_before_its_fence_check_writes_nothing_once_another_took_over() {
    join_all(["transaction_signed", "submission_accepted"].map(refused_to_write)).await;
}

async fn refused_to_write(kind: &'static str) {
    let fixture = Fixture::new().await;
    let (first, _) = taken_over(&fixture, Point::BeforeWriting(kind), async |_| {}).await;
    let refused = first.after_resumption("refused");
    assert!(refused.iter().any(|kinds| kinds.contains(kind)), "{first:?}");
}

#[tokio::test]
async fn a_worker_paused_after_its_commit_goes_no_further_once_another_took_over() {
    let fixture = Fixture::new().await;
    let (first, (_, history)) =
        taken_over(&fixture, Point::AfterWriting("transaction_signed"), async |_| {}).await;
    let signed = history.iter().filter(|record| record.event.kind() == "transaction_signed").count();
    assert_eq!(signed, 1, "the worker that takes over sends the committed transaction: {first:?}");
}

#[tokio::test]
async fn a_worker_paused_between_commit_and_send_sends_nothing_but_the_same_bytes() {
    let fixture = Fixture::new().await;
    let (first, (order, history)) = taken_over(&fixture, Point::BeforeSending, async |_| {}).await;
    let sent = first.after_resumption("sent");
    assert_eq!(sent.len(), 1, "{first:?}");
    let committed = transactions(&history);
    assert_eq!(committed.len(), 1, "{order:?}");
    assert_eq!(sent[0], format!("{} Accepted", committed[0]), "the chain already had it");
}

#[tokio::test]
async fn bytes_sent_after_their_death_was_proven_have_no_effect() {
    let fixture = Fixture::with_slots_of("5").await;
    let expired = async |id| fixture.until_expired(id).await;
    let (first, (_, history)) = taken_over(&fixture, Point::BeforeSending, expired).await;
    let committed = transactions(&history);
    assert_eq!(committed.len(), 2, "the first one died: {history:?}");
    let sent = first.after_resumption("sent");
    assert!(matches!(&sent[..], [sent] if sent.starts_with(&committed[0])), "{first:?}");
    assert!(sent[0].contains("DefinitelyNotAccepted"), "{first:?}");
}

#[tokio::test]
async fn an_observer_paused_before_it_confirms_confirms_nothing_once_another_did() {
    refused_to_write("confirmed").await;
}

#[tokio::test]
async fn the_fence_alone_refuses_a_worker_where_the_next_one_has_written_nothing_yet() {
    let fixture = Fixture::new().await;
    let point = Point::BeforeWriting("confirmed");
    let (mut first, id) = fixture.paused_worker(point).await;
    let mut second = Worker::with_lease(Duration::from_mins(10), &fixture, Some(point), Some(id));
    second.until_stopped().await;
    // Both workers are about to write the same event at the same revision, and only one has the lease.
    let before = fixture.stored(id).await;
    first.resume().await;
    assert_eq!(first.line_after("refused").await, "confirmed");
    assert_eq!(fixture.stored(id).await, before);
    second.resume().await;
    assert_eq!(second.line_after("wrote").await, "confirmed");
    fixture.assert_executed_once(id, &[&first.ends().await, &second.ends().await]).await;
}

#[tokio::test]
async fn a_worker_resumed_after_its_lease_and_before_another_claim_goes_on() {
    join_all(POINTS.map(resumed_unclaimed)).await;
}

async fn resumed_unclaimed(point: Point) {
    let fixture = Fixture::new().await;
    let (mut worker, id) = fixture.paused_worker(point).await;
    if point != Point::AfterWriting("confirmed") {
        fixture.until_due(id).await;
    }
    worker.resume().await;
    let report = worker.ends().await;
    let (_, history) = fixture.assert_executed_once(id, &[&report]).await;
    assert_eq!(transactions(&history).len(), 1, "{point:?}: {history:?}");
}

/// Returns the ids of the transactions that were signed for an order.
fn transactions(history: &[EventRecord]) -> Vec<String> {
    let signed = |record: &EventRecord| match &record.event {
        OrderEvent::TransactionSigned { tx } => Some(tx.id.to_string()),
        _ => None,
    };
    history.iter().filter_map(signed).collect()
}
