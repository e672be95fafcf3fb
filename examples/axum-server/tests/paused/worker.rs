//! What runs in the process of a worker that is to be paused.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use async_trait::async_trait;
use order_engine_core::store::Append;
use order_engine_core::testing::{Call, Intercept, InterceptedStore, InterceptedVenue, Reply};
use order_engine_core::{
    Amount, ChainView, Engine, EngineConfig, Observation, OrderId, OrderRequest, OrderStore, PrepareRequest,
    Runtime, SignedTx, StepError, StoreError, Submission, SubmitReport, TxRef, Venue, VenueCapabilities,
    VenueError, execute_order,
};
use order_engine_sim::default_tokens;
use order_engine_sim::rpc::{RpcClient, RpcOptions, RpcRouter, RpcVenue};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use tokio::sync::{oneshot, watch};

/// The variable with the URL of the venue.
pub(crate) const VENUE_URL: &str = "ORDER_ENGINE_TEST_VENUE_URL";
/// The variable with the file of the orders.
pub(crate) const FILE: &str = "ORDER_ENGINE_TEST_FILE";
/// The variable with the point at which the worker stops, if it does.
pub(crate) const STOP_AT: &str = "ORDER_ENGINE_TEST_STOP_AT";
/// The variable with the order whose events the worker reports. Without it the worker submits one.
pub(crate) const ORDER: &str = "ORDER_ENGINE_TEST_ORDER";
/// The variable with the duration of the worker's leases in milliseconds.
pub(crate) const LEASE_MS: &str = "ORDER_ENGINE_TEST_LEASE_MS";

/// Where a worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the write of an event reaches the store, and so before its fence is checked.
    BeforeWriting(&'static str),
    /// After that write, and before the worker gets the reply.
    AfterWriting(&'static str),
    /// Between the commit of a transaction and its sending.
    BeforeSending,
}

pub(crate) const POINTS: [Point; 6] = [
    Point::BeforeWriting("transaction_signed"),
    Point::BeforeWriting("submission_accepted"),
    Point::BeforeWriting("confirmed"),
    Point::AfterWriting("transaction_signed"),
    Point::AfterWriting("confirmed"),
    Point::BeforeSending,
];

impl Point {
    /// Returns the name of the point in the environment of a worker.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Reports what the worker does to the test that started it, in lines, and counts the writes that are
/// running.
#[derive(Debug, Default)]
struct Reporter {
    lines: watch::Sender<Vec<String>>,
    writes: watch::Sender<Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    running: usize,
    /// Whether new writes have to wait.
    are_held: bool,
}

impl Reporter {
    fn report(&self, line: String) {
        let mut out = std::io::stdout().lock();
        // The test harness may have begun a line, which the first line break ends.
        writeln!(out, "\n@ {line}").unwrap();
        out.flush().unwrap();
        self.lines.send_modify(|lines| lines.push(line));
    }

    /// Waits until the process was resumed and has then reported a line with one of these prefixes.
    async fn until_reported_after_resumption(&self, prefixes: &[&str]) {
        let is_reported = |lines: &Vec<String>| {
            let mut since = lines.iter().skip_while(|line| *line != "resumed");
            since.any(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
        };
        self.lines.subscribe().wait_for(is_reported).await.unwrap();
    }

    async fn begin_write(&self) {
        let mut changes = self.writes.subscribe();
        let begin = |writes: &mut Writes| {
            writes.running += usize::from(!writes.are_held);
            !writes.are_held
        };
        while !self.writes.send_if_modified(begin) {
            changes.wait_for(|writes| !writes.are_held).await.unwrap();
        }
    }

    fn end_write(&self) {
        self.writes.send_modify(|writes| writes.running -= 1);
    }
}

/// Stops the process at a point, once.
#[derive(Debug)]
struct Pause {
    point: Option<Point>,
    is_over: AtomicBool,
    store: SqliteStore,
    reporter: Arc<Reporter>,
}

impl Pause {
    /// Stops the process if this is the point. The caller itself has `own_writes` running.
    async fn at(&self, own_writes: usize, is_here: impl Fn(Point) -> bool) {
        if !self.point.is_some_and(is_here) || self.is_over.swap(true, Ordering::SeqCst) {
            return;
        }
        // A process that stops in the middle of another write keeps the lock of the file, so that no other
        // worker can take the order over. These tests are not about that case.
        self.reporter.writes.send_modify(|writes| writes.are_held = true);
        let is_quiet = |writes: &Writes| writes.running == own_writes;
        self.reporter.writes.subscribe().wait_for(is_quiet).await.unwrap();
        tokio::task::block_in_place(|| {
            let stop = ["-STOP".to_owned(), std::process::id().to_string()];
            assert!(std::process::Command::new("kill").args(stop).status().unwrap().success());
            // This thread may run on for a moment if the signal reaches another one first, so it waits for
            // the line that the test writes before it resumes the process.
            std::io::stdin().read_line(&mut String::new()).unwrap();
        });
        self.reporter.report("resumed".to_owned());
        self.reporter.writes.send_modify(|writes| writes.are_held = false);
    }

    /// Reports whether the store has the events of a write of this process.
    async fn report_outcome(&self, append: &Append) {
        let found = self.store.events(append.order.id, append.expected_seq, u32::MAX).await.unwrap();
        let is_written = append.events.iter().all(|event| found.contains(event));
        let kinds: Vec<&str> = append.events.iter().map(|record| record.event.kind()).collect();
        self.reporter.report(format!("{} {}", if is_written { "wrote" } else { "refused" }, kinds.join(" ")));
    }
}

#[async_trait]
impl Intercept for Pause {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        if is_write(call) {
            self.reporter.begin_write().await;
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
                self.report_outcome(append).await;
            }
            self.at(1, |point| is_after(point, appends)).await;
        }
        if is_write(call) {
            self.reporter.end_write();
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

/// A venue whose sending goes on when its caller is cancelled, like a packet that is under way.
#[derive(Debug)]
struct UncancellableVenue {
    venue: Arc<dyn Venue>,
    reporter: Arc<Reporter>,
}

#[async_trait]
impl Venue for UncancellableVenue {
    fn capabilities(&self) -> VenueCapabilities {
        self.venue.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.venue.prepare(request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        let (venue, reporter, tx) = (Arc::clone(&self.venue), Arc::clone(&self.reporter), tx.clone());
        let sending = async move {
            let report = venue.submit(&tx).await;
            reporter.report(format!("sent {} {report:?}", tx.id));
            report
        };
        tokio::spawn(sending).await.unwrap()
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.venue.view().await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        self.venue.observe(txs).await
    }
}

/// Runs a worker with the settings in the environment. Without them it does nothing.
pub(crate) async fn run() {
    let variable = |name| std::env::var(name).ok();
    let (Some(url), Some(file)) = (variable(VENUE_URL), variable(FILE)) else { return };
    let point = variable(STOP_AT).map(|name| POINTS.into_iter().find(|point| point.name() == name).unwrap());
    let order = variable(ORDER).map(|id| id.parse().unwrap());
    let lease = Duration::from_millis(variable(LEASE_MS).unwrap().parse().unwrap());
    let reporter = Arc::new(Reporter::default());
    let engine = engine(&url, Path::new(&file), (point, lease), &reporter).await;
    work(&engine, point, order, &reporter).await;
}

/// Opens the store of the orders.
pub(crate) async fn open(file: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(file)).await.unwrap()
}

/// Executes orders until one has ended: the given one, or a new one.
async fn work(engine: &Engine, point: Option<Point>, order: Option<OrderId>, reporter: &Reporter) {
    let (stop, stopped) = oneshot::channel::<()>();
    let monitor = Monitor::new().register({
        let engine = engine.clone();
        move |_| {
            let name = format!("orders-{}", std::process::id());
            WorkerBuilder::new(name).backend(engine.backend(2)).build(execute_order)
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
    reporter.report(format!("order {id}"));
    let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        reporter.report(format!("event {} {}", event.seq, event.event.kind()));
    }
    // The subscription may end before the paused step has gone on.
    let expected: &[&str] = match point {
        Some(Point::BeforeWriting(_)) => &["wrote", "refused"],
        Some(Point::AfterWriting(_)) => &["resumed"],
        Some(Point::BeforeSending) => &["sent"],
        None => &[],
    };
    if !expected.is_empty() {
        reporter.until_reported_after_resumption(expected).await;
    }
    engine.shutdown(Duration::from_secs(30)).await.unwrap();
    // An error means that the worker has ended already, because the engine shut down.
    let _ = stop.send(());
    working.await.unwrap().unwrap();
    reporter.report("done".to_owned());
}

async fn engine(
    url: &str,
    file: &Path,
    (point, lease): (Option<Point>, Duration),
    reporter: &Arc<Reporter>,
) -> Engine {
    let store = open(file).await;
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio()).unwrap();
    let router = RpcRouter::new(&client);
    router.refresh().await.unwrap();
    let venue = UncancellableVenue {
        venue: Arc::new(RpcVenue::new(client, &router)),
        reporter: Arc::clone(reporter),
    };
    let pause = Arc::new(Pause {
        point,
        is_over: AtomicBool::new(false),
        store: store.clone(),
        reporter: Arc::clone(reporter),
    });
    let mut config = EngineConfig::default();
    config.lease_duration = lease;
    config.poll_interval = Duration::from_millis(50);
    config.observe_interval = Duration::from_millis(20);
    config.retry.requote.backoff.initial = Duration::from_millis(10);
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
    let request =
        OrderRequest::new("alice", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
            .with_slippage_bps(500);
    let Submission::Created(order) = engine.submit(request).await.unwrap() else {
        panic!("the order is new")
    };
    order.id
}
