//! The programs, each as a process of its own.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::text;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server as a process of its own.
pub struct Program {
    child: Child,
    pub url: String,
    /// Collects the log after the start, so that the program never blocks on a full pipe.
    logging: tokio::task::JoinHandle<()>,
    log: watch::Receiver<String>,
}

pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_order-engine-server"));
    command.current_dir(folder).args(args);
    command
}

/// Returns a command of which only the standard error is read, and which ends with the test.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    // The environment of the tests must not change the settings.
    command.env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Returns a command that runs the program of a folder which is its root, as the user of the image: without any rights.
pub fn command_in(root: &Path, args: &[&str]) -> Command {
    let mut command = bare("unshare");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.args(["--setuid", "65532", "--setgid", "65532"]);
    } else {
        // Only who is root somewhere may change the root.
        command.arg("--map-root-user");
    }
    command.arg("--root").arg(root).arg("/usr/local/bin/order-engine-server").args(args);
    command
}

/// Runs the program, which must fail, and returns its standard error.
pub async fn fails(folder: &Path, args: &[&str]) -> String {
    let Output { status, stderr, .. } = command(folder, args).output().await.unwrap();
    assert!(!status.success(), "{args:?}");
    String::from_utf8(stderr).unwrap()
}

impl Program {
    pub async fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_with(folder, args, &[]).await
    }

    /// Starts it with these variables in its environment.
    pub async fn start_with(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = command(folder, &[&["--port", "0"], args].concat());
        command.envs(variables.iter().copied());
        Self::run(command).await
    }

    /// Starts it in a folder that is its root.
    pub async fn start_in(root: &Path, args: &[&str]) -> Self {
        Self::run(command_in(root, &[&["--port", "0"], args].concat())).await
    }

    /// Starts it with these limits on the files that it may have open, the one that it starts with and the highest one.
    pub async fn start_limited(folder: &Path, args: &[&str], [soft, hard]: [u32; 2]) -> Self {
        let program = env!("CARGO_BIN_EXE_order-engine-server");
        let mut command = bare("sh");
        let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec {program} \"$@\"");
        command.current_dir(folder).args(["-c", &script, "sh", "--port", "0"]).args(args);
        Self::run(command).await
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next_line().await.unwrap().expect("the server starts");
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.split(['"', ' ']).next().unwrap().to_owned();
            }
        };
        let (collected, log) = watch::channel(String::new());
        let logging = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                collected.send_modify(|log| log.extend([&*line, "\n"]));
            }
        });
        Self { child, url, logging, log }
    }

    /// Returns the id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the program runs")
    }

    pub fn ws(&self, id: &str) -> String {
        format!("{}/ws/orders/{id}", self.url.replacen("http", "ws", 1))
    }

    pub async fn place(&self, http: &reqwest::Client, key: &str) -> String {
        try_place(&self.url, http, key).await.expect("the server takes the order")
    }

    /// Kills the program, as a crash would.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends the signal that asks it to end.
    pub async fn signal(&self) {
        self.send_signal("TERM").await;
    }

    pub async fn send_signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    /// Asks the program to end, and returns its exit code and the rest of its log.
    pub async fn terminate(mut self) -> (Option<i32>, String) {
        self.signal().await;
        let status = self.child.wait().await.unwrap();
        self.logging.await.unwrap();
        (status.code(), self.log.borrow().clone())
    }

    /// Waits until the log has this text.
    pub async fn logged(&self, text: &str) {
        let mut log = self.log.clone();
        let waited = timeout(PATIENCE, log.wait_for(|log| log.contains(text))).await;
        waited.expect("the program logs it in time").expect("the program runs");
    }
}

/// Returns an order under this client order id.
pub fn order_form(key: &str) -> Value {
    json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "0.1", "clientOrderId": key})
}

/// Places an order, and returns its id, or `None` if the server dies meanwhile.
pub async fn try_place(url: &str, http: &reqwest::Client, key: &str) -> Option<String> {
    try_place_as(url, http, &order_form(key)).await
}

/// The same with all the fields of the order.
pub async fn try_place_as(url: &str, http: &reqwest::Client, body: &Value) -> Option<String> {
    let response = http.post(format!("{url}/api/orders/execute")).json(body).send().await.ok()?;
    assert!(response.status().is_success(), "{}", response.status());
    Some(text(&response.json().await.ok()?, "orderId"))
}

/// The simulated chain as a process of its own.
pub struct SimVenue {
    _child: Child,
    pub url: String,
}

impl SimVenue {
    pub async fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_at("0", folder, args).await
    }

    /// Starts it on a port.
    pub async fn start_at(port: &str, folder: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(sim_venue().await);
        command.env_clear().current_dir(folder).args(["--port", port]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening on ")).expect("it starts");
        Self { url: url.to_owned(), _child: child }
    }
}

/// Returns the path of `sim-venue`. The tests of the whole workspace build it next to the server; if only
/// this package is tested, it is built now.
pub async fn sim_venue() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_order-engine-server")).with_file_name("sim-venue");
    if !program.exists() {
        let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "order-engine-sim", "--features", "rpc-server"]);
        build.args(["--bin", "sim-venue"]).args(release).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().await.unwrap().success());
    }
    program
}

/// Returns how often the simulated chain executed each order.
pub fn executions(ledger: &Path) -> BTreeMap<String, usize> {
    let ledger = std::fs::read_to_string(ledger).unwrap();
    let mut executions = BTreeMap::new();
    for line in ledger.lines() {
        let execution: Value = serde_json::from_str(line).unwrap();
        if execution["executed"] == true {
            *executions.entry(text(&execution, "orderId")).or_default() += 1;
        }
    }
    executions
}
