//! Workers that are paused, as by a debugger, a full machine or a virtual machine that moves, until
//! their lease has run out and others have gone on; and then resumed.
//!
//! Each worker is a process of its own: this very program, with a role in its environment. It stops
//! itself with SIGSTOP at a named point, so nothing here depends on how fast a machine is.

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder, WorkerBuilderExt};
use async_trait::async_trait;
use common::program::{SimVenue, executions};
use futures_util::future::join_all;
use order_engine_core::testing::{Call, Intercept, InterceptedStore, InterceptedVenue, Reply};
use order_engine_core::{
    Amount, Append, ChainView, Engine, EngineConfig, EventRecord, Lane, Observation, Order, OrderEvent,
    OrderId, OrderRequest, OrderState, OrderStore, PrepareRequest, Runtime, SignedTx, Status, StepError,
    StoreError, Submission, SubmitReport, TxId, Validity, Venue, VenueError, execute_order,
};
use order_engine_sim::default_tokens;
use order_engine_sim::rpc::{RpcClient, RpcOptions, RpcRouter, RpcVenue};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};

/// In a worker: where the chain is, the file of the orders, where to stop, whose events to tell, and
/// for how many milliseconds it keeps an order without a sign of life.
const VENUE_URL: &str = "ORDER_ENGINE_TEST_VENUE_URL";
const FILE: &str = "ORDER_ENGINE_TEST_FILE";
const STOP_AT: &str = "ORDER_ENGINE_TEST_STOP_AT";
const ORDER: &str = "ORDER_ENGINE_TEST_ORDER";
const LEASE_MS: &str = "ORDER_ENGINE_TEST_LEASE_MS";

/// Where a worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// Before the write of an event reaches the store, and so before its fence is checked.
    BeforeWriting(&'static str),
    /// After that write, and before the worker knows of it.
    AfterWriting(&'static str),
    /// Between the commit of a transaction and its sending.
    BeforeSending,
}

const POINTS: [Point; 6] = [
    Point::BeforeWriting("transaction_signed"),
    Point::BeforeWriting("submission_accepted"),
    Point::BeforeWriting("confirmed"),
    Point::AfterWriting("transaction_signed"),
    Point::AfterWriting("confirmed"),
    Point::BeforeSending,
];

impl Point {
    /// Its name in the environment of a worker.
    fn name(self) -> String {
        format!("{self:?}")
    }
}

// ---------------------------------------------------------------------------------------------------
// In the worker's process
// ---------------------------------------------------------------------------------------------------

/// What the worker tells whoever started it, one line each, and how many writes are under way.
#[derive(Debug, Default)]
struct Diary {
    told: watch::Sender<Vec<String>>,
    writing: watch::Sender<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    under_way: usize,
    /// Whether new ones wait.
    held: bool,
}

impl Diary {
    fn tell(&self, line: String) {
        let mut out = std::io::stdout().lock();
        // The test harness has begun a line of its own.
        writeln!(out, "\n@ {line}").unwrap();
        out.flush().unwrap();
        self.told.send_modify(|told| told.push(line));
    }

    /// Waits until the process was resumed, and has then told something with one of these beginnings.
    async fn until_tried(&self, beginnings: &[&str]) {
        let is_tried = |told: &Vec<String>| {
            let mut since = told.iter().skip_while(|line| *line != "resumed");
            since.any(|line| beginnings.iter().any(|beginning| line.starts_with(beginning)))
        };
        self.told.subscribe().wait_for(is_tried).await.unwrap();
    }

    async fn begin_to_write(&self) {
        let mut writing = self.writing.subscribe();
        let begin = |writing: &mut Writing| {
            writing.under_way += usize::from(!writing.held);
            !writing.held
        };
        while !self.writing.send_if_modified(begin) {
            writing.wait_for(|writing| !writing.held).await.unwrap();
        }
    }

    fn end_writing(&self) {
        self.writing.send_modify(|writing| writing.under_way -= 1);
    }
}

/// Stops the process at a point, once.
#[derive(Debug)]
struct Pause {
    point: Option<Point>,
    is_over: AtomicBool,
    store: SqliteStore,
    diary: Arc<Diary>,
}

impl Pause {
    /// Stops the process if this is the point.
    async fn at(&self, writes_of_its_own: usize, is_here: impl Fn(Point) -> bool) {
        if !self.point.is_some_and(is_here) || self.is_over.swap(true, Ordering::SeqCst) {
            return;
        }
        // A process that stops in the middle of a write holds the lock of the file, and then nobody
        // can take anything over. That is another story.
        self.diary.writing.send_modify(|writing| writing.held = true);
        let is_quiet = |writing: &Writing| writing.under_way == writes_of_its_own;
        self.diary.writing.subscribe().wait_for(is_quiet).await.unwrap();
        tokio::task::block_in_place(|| {
            let stop = ["-STOP".to_owned(), std::process::id().to_string()];
            assert!(std::process::Command::new("kill").args(stop).status().unwrap().success());
            // This thread may run on for a moment while the signal reaches another one first.
            std::io::stdin().read_line(&mut String::new()).unwrap();
        });
        self.diary.tell("resumed".to_owned());
        self.diary.writing.send_modify(|writing| writing.held = false);
    }

    /// Tells whether a write that this process tried came through.
    async fn tell_outcome(&self, append: &Append) {
        let found = self.store.events(append.order.id, append.expected_seq, u32::MAX).await.unwrap();
        let is_written = append.events.iter().all(|event| found.contains(event));
        let kinds: Vec<&str> = append.events.iter().map(|record| record.event.kind()).collect();
        self.diary.tell(format!("{} {}", if is_written { "wrote" } else { "refused" }, kinds.join(" ")));
    }
}

#[async_trait]
impl Intercept for Pause {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if is_write(call) {
            self.diary.begin_to_write().await;
        }
        match call {
            Call::Append(appends) => self.at(1, |point| is_before(point, appends)).await,
            Call::Submit(_) => self.at(0, |point| point == Point::BeforeSending).await,
            _ => {}
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        if let Call::Append(appends) = call {
            for append in appends {
                self.tell_outcome(append).await;
            }
            self.at(1, |point| is_after(point, appends)).await;
        }
        if is_write(call) {
            self.diary.end_writing();
        }
        Ok(())
    }
}

const fn is_write(call: Call<'_>) -> bool {
    matches!(
        call,
        Call::Create(_)
            | Call::Claim(_)
            | Call::Renew(_)
            | Call::Release(_)
            | Call::MakeDue(_)
            | Call::Append(_)
    )
}

fn is_before(point: Point, appends: &[Append]) -> bool {
    matches!(point, Point::BeforeWriting(kind) if writes(appends, kind))
}

fn is_after(point: Point, appends: &[Append]) -> bool {
    matches!(point, Point::AfterWriting(kind) if writes(appends, kind))
}

fn writes(appends: &[Append], kind: &str) -> bool {
    appends.iter().flat_map(|append| &append.events).any(|record| record.event.kind() == kind)
}

/// A venue whose sending cannot be called back once it has begun, like a packet that is on its way.
#[derive(Debug)]
struct OnItsWay {
    venue: Arc<dyn Venue>,
    diary: Arc<Diary>,
}

#[async_trait]
impl Venue for OnItsWay {
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.venue.prepare(request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let (venue, diary, tx) = (Arc::clone(&self.venue), Arc::clone(&self.diary), tx.clone());
        let sending = async move {
            let report = venue.submit(&tx).await;
            diary.tell(format!("sent {} {report:?}", tx.id));
            report
        };
        tokio::spawn(sending).await.unwrap()
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.venue.view().await
    }

    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
        self.venue.observe(tx_ids).await
    }
}

/// Not a test of its own: what the workers of the others run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn worker_process() {
    let variable = |name| std::env::var(name).ok();
    let (Some(url), Some(file)) = (variable(VENUE_URL), variable(FILE)) else { return };
    let point = variable(STOP_AT).map(|name| POINTS.into_iter().find(|point| point.name() == name).unwrap());
    let order = variable(ORDER).map(|id| id.parse().unwrap());
    let lease = Duration::from_millis(variable(LEASE_MS).unwrap().parse().unwrap());
    let diary = Arc::new(Diary::default());
    let engine = engine(&url, Path::new(&file), (point, lease), &diary).await;
    work(&engine, point, order, &diary).await;
}

async fn open(file: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(file)).await.unwrap()
}

/// Executes what there is until an order has come to its end: a given one, or one of its own.
async fn work(engine: &Engine, point: Option<Point>, order: Option<OrderId>, diary: &Diary) {
    let (stop, stopped) = oneshot::channel::<()>();
    let monitor = Monitor::new().register({
        let engine = engine.clone();
        move |_| {
            let name = format!("orders-{}", std::process::id());
            WorkerBuilder::new(name).backend(engine.backend()).concurrency(2).build(execute_order)
        }
    });
    let working = tokio::spawn(monitor.run_with_signal(async {
        let _ = stopped.await;
        Ok(())
    }));
    let id = match order {
        Some(id) => id,
        None => submit(engine).await,
    };
    diary.tell(format!("order {id}"));
    let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        diary.tell(format!("event {} {}", event.seq, event.event.kind()));
    }
    // The subscription may know of the end before the paused step has gone on.
    match point {
        Some(Point::BeforeWriting(_)) => diary.until_tried(&["wrote", "refused"]).await,
        Some(Point::AfterWriting(_)) => diary.until_tried(&["resumed"]).await,
        Some(Point::BeforeSending) => diary.until_tried(&["sent"]).await,
        None => {}
    }
    engine.shutdown(Duration::from_secs(30)).await.unwrap();
    // A worker that saw the engine end has ended by itself.
    let _ = stop.send(());
    working.await.unwrap().unwrap();
    diary.tell("done".to_owned());
}

async fn engine(
    url: &str,
    file: &Path,
    (point, lease): (Option<Point>, Duration),
    diary: &Arc<Diary>,
) -> Engine {
    let store = open(file).await;
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio()).unwrap();
    let router = RpcRouter::new(&client);
    router.refresh().await.unwrap();
    let venue = OnItsWay { venue: Arc::new(RpcVenue::new(client, &router)), diary: Arc::clone(diary) };
    let pause = Arc::new(Pause {
        point,
        is_over: AtomicBool::new(false),
        store: store.clone(),
        diary: Arc::clone(diary),
    });
    let mut config = EngineConfig::default();
    config.lease_duration = lease;
    config.poll_interval = Duration::from_millis(50);
    config.observe_interval = Duration::from_millis(20);
    config.retry.requote.backoff.initial_ms = 10;
    Engine::builder()
        .store(Arc::new(InterceptedStore::new(Arc::new(store), pause.clone())))
        .router(Arc::new(router))
        .venue(Arc::new(InterceptedVenue::new(Arc::new(venue), pause)))
        .config(config)
        .build()
        .await
        .unwrap()
}

async fn submit(engine: &Engine) -> OrderId {
    let tokens = default_tokens();
    let request = OrderRequest {
        user_id: "alice".into(),
        client_order_id: None,
        input: tokens[0].clone(),
        output: tokens[1].clone(),
        amount: Amount::new(1_000_000_000),
        slippage_bps: 500,
        deadline: None,
    };
    let Submission::Created(order) = engine.submit(request).await.unwrap() else { panic!("it is new") };
    order.id
}

// ---------------------------------------------------------------------------------------------------
// In the process of the tests
// ---------------------------------------------------------------------------------------------------

/// A worker in a process of its own.
struct Worker {
    child: Child,
    pid: u32,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    told: Told,
}

impl Worker {
    /// Starts one whose orders are free again soon after it was stopped.
    fn start(world: &World, point: Option<Point>, order: Option<OrderId>) -> Self {
        Self::with_lease(Duration::from_secs(1), world, point, order)
    }

    fn with_lease(lease: Duration, world: &World, point: Option<Point>, order: Option<OrderId>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker_process", "--nocapture"]);
        command.env(VENUE_URL, &world.venue.url).env(FILE, world.file());
        command.env(LEASE_MS, lease.as_millis().to_string());
        if let Some(point) = point {
            command.env(STOP_AT, point.name());
        }
        if let Some(order) = order {
            command.env(ORDER, order.to_string());
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (pid, stdin) = (child.id().unwrap(), child.stdin.take().unwrap());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, pid, stdin, lines, told: Told::default() }
    }

    /// The next line that it tells.
    async fn hear(&mut self) -> Option<&str> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if let Some(line) = line.strip_prefix("@ ") {
                self.told.lines.push(line.to_owned());
                return self.told.lines.last().map(String::as_str);
            }
        }
        None
    }

    /// The rest of the next line with this beginning.
    async fn hear_of(&mut self, beginning: &str) -> String {
        loop {
            let line = self.hear().await.expect("it goes on telling");
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The name before it may hold anything but a closing parenthesis.
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

    /// Waits until it has come to its end; gives what it told.
    async fn ends(mut self) -> Told {
        while self.hear().await.is_some() {}
        let told = self.told;
        assert!(self.child.wait().await.unwrap().success(), "{told:?}");
        // What is on its way may arrive later still.
        assert!(told.lines.iter().any(|line| line == "done"), "{told:?}");
        told
    }
}

/// Looks again and again until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a worker told.
#[derive(Debug, Default)]
struct Told {
    lines: Vec<String>,
}

impl Told {
    /// What followed a word at the beginning of lines, from the resumption on.
    fn since_resumed(&self, word: &str) -> Vec<&str> {
        let lines = self.lines.iter().skip_while(|line| *line != "resumed");
        lines.filter_map(|line| line.strip_prefix(word)).map(str::trim).collect()
    }

    fn events(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix("event ")).collect()
    }
}

/// A file of orders, and a chain in a process of its own.
struct World {
    folder: tempfile::TempDir,
    venue: SimVenue,
    store: SqliteStore,
}

/// What is stored of an order.
type Stored = (Order, Vec<EventRecord>);

impl World {
    async fn new() -> Self {
        Self::with_slots_of("100").await
    }

    async fn with_slots_of(slot_ms: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--slot-ms", slot_ms, "--step-ms", "10", "--ledger", "ledger.jsonl"];
        let venue = SimVenue::start(folder.path(), &args).await;
        let store = open(&folder.path().join("orders.db")).await;
        Self { folder, venue, store }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("orders.db")
    }

    async fn stored(&self, id: OrderId) -> Stored {
        let order = self.store.load(id).await.unwrap().unwrap();
        (order, self.store.events(id, 0, u32::MAX).await.unwrap())
    }

    /// A worker that has an order and is stopped at a point.
    async fn paused_worker(&self, point: Point) -> (Worker, OrderId) {
        let mut worker = Worker::start(self, Some(point), None);
        let id = worker.hear_of("order ").await.parse().unwrap();
        worker.until_stopped().await;
        (worker, id)
    }

    /// Waits until the lease of whoever had the order has run out.
    async fn until_due(&self, id: OrderId) {
        until(async || {
            let lane = self.stored(id).await.0.state.lane().expect("it has not ended");
            self.store.due_orders(lane, 9).await.unwrap().contains(&id)
        })
        .await;
    }

    /// Waits until the transaction of an order can never land any more.
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

    /// Asserts that an order was executed, once, and that everybody was told the same of it.
    async fn assert_executed_once(&self, id: OrderId, told: &[&Told]) -> Stored {
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
        for told in told {
            assert_eq!(told.events(), expected);
        }
        for lane in [Lane::Execute, Lane::Observe] {
            assert_eq!(self.store.due_orders(lane, 9).await.unwrap(), []);
        }
        (order, history)
    }
}

/// Pauses a worker at a point, lets another one take its order over and end it, and resumes the first;
/// gives what both told.
async fn taken_over(world: &World, point: Point, meanwhile: impl AsyncFnOnce(OrderId)) -> (Told, Stored) {
    let (mut paused, id) = world.paused_worker(point).await;
    meanwhile(id).await;
    let second = Worker::start(world, None, Some(id)).ends().await;
    let ended = world.assert_executed_once(id, &[&second]).await;
    paused.resume().await;
    let first = paused.ends().await;
    let after = world.assert_executed_once(id, &[&first, &second]).await;
    assert_eq!(after, ended, "whoever lost the lease changed nothing");
    assert_eq!(first.since_resumed("wrote"), [""; 0], "{first:?}");
    (first, ended)
}

#[tokio::test]
async fn a_worker_paused_before_its_fence_check_writes_nothing_once_another_took_over() {
    join_all(["transaction_signed", "submission_accepted"].map(refused_to_write)).await;
}

async fn refused_to_write(kind: &'static str) {
    let world = World::new().await;
    let (first, _) = taken_over(&world, Point::BeforeWriting(kind), async |_| {}).await;
    let refused = first.since_resumed("refused");
    assert!(refused.iter().any(|kinds| kinds.contains(kind)), "{first:?}");
}

#[tokio::test]
async fn a_worker_paused_after_its_commit_goes_no_further_once_another_took_over() {
    let world = World::new().await;
    let (first, (_, history)) =
        taken_over(&world, Point::AfterWriting("transaction_signed"), async |_| {}).await;
    let signed = history.iter().filter(|record| record.event.kind() == "transaction_signed").count();
    assert_eq!(signed, 1, "whoever takes over sends what was committed: {first:?}");
}

#[tokio::test]
async fn a_worker_paused_between_commit_and_send_sends_nothing_but_the_same_bytes() {
    let world = World::new().await;
    let (first, (order, history)) = taken_over(&world, Point::BeforeSending, async |_| {}).await;
    let sent = first.since_resumed("sent");
    assert_eq!(sent.len(), 1, "{first:?}");
    let committed = transactions(&history);
    assert_eq!(committed.len(), 1, "{order:?}");
    assert_eq!(sent[0], format!("{} Accepted", committed[0]), "the chain already had it");
}

#[tokio::test]
async fn bytes_sent_after_their_death_was_proven_have_no_effect() {
    let world = World::with_slots_of("5").await;
    let expired = async |id| world.until_expired(id).await;
    let (first, (_, history)) = taken_over(&world, Point::BeforeSending, expired).await;
    let committed = transactions(&history);
    assert_eq!(committed.len(), 2, "the first one died: {history:?}");
    let sent = first.since_resumed("sent");
    assert!(matches!(&sent[..], [sent] if sent.starts_with(&committed[0])), "{first:?}");
    assert!(sent[0].contains("DefinitelyNotAccepted"), "{first:?}");
}

#[tokio::test]
async fn an_observer_paused_before_it_confirms_confirms_nothing_once_another_did() {
    refused_to_write("confirmed").await;
}

#[tokio::test]
async fn the_fence_alone_refuses_a_worker_where_the_next_one_has_written_nothing_yet() {
    let world = World::new().await;
    let point = Point::BeforeWriting("confirmed");
    let (mut first, id) = world.paused_worker(point).await;
    let mut second = Worker::with_lease(Duration::from_mins(10), &world, Some(point), Some(id));
    second.until_stopped().await;
    // Both are about to write the same after the same; only one of them has the lease.
    let before = world.stored(id).await;
    first.resume().await;
    assert_eq!(first.hear_of("refused").await, "confirmed");
    assert_eq!(world.stored(id).await, before);
    second.resume().await;
    assert_eq!(second.hear_of("wrote").await, "confirmed");
    world.assert_executed_once(id, &[&first.ends().await, &second.ends().await]).await;
}

#[tokio::test]
async fn a_worker_resumed_past_its_lease_and_before_anybody_claimed_goes_on() {
    join_all(POINTS.map(resumed_unclaimed)).await;
}

async fn resumed_unclaimed(point: Point) {
    let world = World::new().await;
    let (mut worker, id) = world.paused_worker(point).await;
    if point != Point::AfterWriting("confirmed") {
        world.until_due(id).await;
    }
    worker.resume().await;
    let told = worker.ends().await;
    let (_, history) = world.assert_executed_once(id, &[&told]).await;
    assert_eq!(transactions(&history).len(), 1, "{point:?}: {history:?}");
}

/// The transactions that were signed for an order.
fn transactions(history: &[EventRecord]) -> Vec<String> {
    let signed = |record: &EventRecord| match &record.event {
        OrderEvent::TransactionSigned { tx } => Some(tx.id.to_string()),
        _ => None,
    };
    history.iter().filter_map(signed).collect()
}
