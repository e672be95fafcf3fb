//! A server in this process, and the program as a process of its own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use expect_test::Expect;
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue};
use order_engine_core::{Engine, EngineBuilder, EngineConfig, MemoryStore, Runtime, execute_order};
use order_engine_server::{AppState, Options, TokenRegistry, serve};
use order_engine_sim::{Rate, SimConfig, Simulator};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What outlives a server: its orders, its chain, and its address.
pub(crate) struct Site {
    /// Makes an engine over the orders and the chain.
    engine: Box<dyn Fn() -> EngineBuilder + Send + Sync>,
    pub(crate) address: std::net::SocketAddr,
    options: Options,
    pub(crate) folder: tempfile::TempDir,
}

/// A server in this process.
pub(crate) struct Server {
    engine: Engine,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Site {
    /// Starts a server on the simulated chain.
    pub(crate) async fn new(options: Options) -> (Self, Server) {
        let sim = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        let simulator = Simulator::open(sim, Runtime::tokio()).await.unwrap();
        let store = Arc::new(MemoryStore::new());
        let engine = move || {
            let engine = Engine::builder().store(store.clone());
            engine.router(simulator.router()).venue(simulator.venue())
        };
        Self::open(engine, options).await
    }

    /// Starts a server on a chain that does what a test says, and soon gives up to find out what became of a transaction.
    pub(crate) async fn scripted(options: Options) -> (Self, Server, Arc<ScriptedVenue>) {
        let (router, venue) = (Arc::new(ScriptedRouter::new()), Arc::new(ScriptedVenue::new()));
        let (store, script) = (Arc::new(MemoryStore::new()), venue.clone());
        let engine = move || {
            let mut config = EngineConfig::default();
            config.observe_interval = Duration::from_millis(5);
            config.unknown_after = Duration::from_millis(5);
            Engine::builder().store(store.clone()).router(router.clone()).venue(venue.clone()).config(config)
        };
        let (site, server) = Self::open(engine, options).await;
        (site, server, script)
    }

    async fn open(
        engine: impl Fn() -> EngineBuilder + Send + Sync + 'static,
        options: Options,
    ) -> (Self, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, folder) = (listener.local_addr().unwrap(), tempfile::tempdir().unwrap());
        let site = Self { engine: Box::new(engine), address, options, folder };
        let server = site.serve(listener).await;
        (site, server)
    }

    /// Starts a server whose orders stay pending until it works.
    pub(crate) async fn serve(&self, listener: TcpListener) -> Server {
        let engine = (self.engine)().build().await.unwrap();
        let app = AppState::new(engine.clone(), TokenRegistry::default(), self.address, self.options.clone());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, app, async {
            let _ = stopped.await;
        }));
        Server { engine, stop, serving }
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-engine"));
        command.env_clear().env("ORDER_ENGINE_URL", format!("http://{}", self.address));
        command.args(args.split('|').flat_map(|part| match part.strip_prefix('=') {
            Some(whole) => vec![whole],
            None => part.split_whitespace().collect(),
        }));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs the program. What stands between `|=` and `|` is one argument. Returns its exit code and both outputs.
    pub(crate) async fn run(&self, args: &str) -> (i32, String, String) {
        let output = self.command(args).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Checks what people see of a command, after its exit code.
    pub(crate) async fn check(&self, args: &str, expected: Expect) {
        let (code, out, err) = self.run(args).await;
        let err = if err.is_empty() { String::new() } else { format!("{err}[beside the results]\n") };
        expected.assert_eq(&self.normalise(&format!("exit {code}\n{out}{err}")));
    }

    /// Replaces what differs between two runs.
    fn normalise(&self, text: &str) -> String {
        let text = text.replace(&self.address.to_string(), "SERVER");
        // Whether an order is seen in a block before that is final depends on when its observer looks.
        let lines = text.split_inclusive('\n').filter(|line| !line.contains("awaiting"));
        let lines = lines.map(|line| match line.split_once("the first for ") {
            Some((before, _)) => format!("{before}the first for AGE\n"),
            None => line.split_inclusive([' ', '\n']).map(normalised).collect(),
        });
        lines.collect()
    }

    /// Places an order, and returns its id.
    pub(crate) async fn placed(&self) -> String {
        let (code, out, err) = self.run("--json submit 1.5 SOL USDC").await;
        assert_eq!(code, 0, "{err}");
        let placed: Value = serde_json::from_str(&out).unwrap();
        placed["orderId"].as_str().unwrap().to_owned()
    }
}

impl Server {
    pub(crate) fn work(&self) {
        let engine = self.engine.clone();
        let monitor = Monitor::new().register(move |n| {
            WorkerBuilder::new(format!("worker-{n}")).backend(engine.backend(4)).build(execute_order)
        });
        tokio::spawn(monitor.run());
    }

    /// Ends the server, its streams and its engine.
    pub(crate) async fn end(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.engine.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

/// Returns a word, or what stands for a word of its kind.
fn normalised(word: &str) -> String {
    let word_end = word.trim_end().len();
    let (bare, end) = word.split_at(word_end);
    let (prefix, bare) = bare.strip_prefix("retry:").map_or(("", bare), |id| ("retry:", id));
    let is_time = bare.len() == 24 && bare.ends_with('Z') && bare.contains('T');
    let is_id = bare.len() == 36 && bare.matches('-').count() == 4;
    let is_tx = bare.len() > 40 && bare.chars().all(char::is_alphanumeric);
    let name = match bare {
        _ if is_id => "ID",
        _ if is_time => "TIME",
        _ if is_tx => "TX",
        _ => bare,
    };
    format!("{prefix}{name}{end}")
}
