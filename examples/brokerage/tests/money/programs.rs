//! The broker and the chain, each as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The broker.
pub(crate) struct Service {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
}

impl Service {
    /// Starts the broker, and waits until it listens.
    pub(crate) async fn start(folder: &Path, database_url: &str, venue_url: &str) -> Self {
        let log = folder.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-engine-brokerage"));
        // The market walks, and may stay below what an order accepts for minutes. That it waits so long by
        // default is not what is checked here.
        command.args(["--port", "0", "--lease-ms", "1000", "--price-looks", "3"]);
        command.args(["--database-url", database_url, "--venue-url", venue_url]);
        command.stderr(File::options().append(true).create(true).open(&log).unwrap());
        let (child, line) = start(command, folder).await;
        let text = std::fs::read_to_string(&log).unwrap();
        let line = line.unwrap_or_else(|| panic!("the broker does not start:\n{text}"));
        Self { child, url: listening_at(&line), log }
    }

    /// Kills the broker, as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks the broker to end, and returns its exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.child.wait().await.unwrap().code()
    }

    /// Returns what all brokers have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// The simulated chain, with faults.
pub(crate) struct SimVenue {
    _child: Child,
    pub(crate) url: String,
}

impl SimVenue {
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut command = Command::new(program().await);
        command.args(["--port", "0", "--slot-ms", "20", "--step-ms", "20", "--fail-rate", "25%"]);
        command.args([
            "--drop-rate",
            "5%",
            "--lost-reply-rate",
            "10%",
            "--reorg-rate",
            "5%",
            "--delay-rate",
            "5%",
        ]);
        command.args(["--ledger", "chain.jsonl"]).stderr(Stdio::null());
        let (child, line) = start(command, folder).await;
        Self { _child: child, url: listening_at(&line.expect("the chain starts")) }
    }

    /// Returns the file with what the chain has executed.
    pub(crate) fn ledger(folder: &Path) -> PathBuf {
        folder.join("chain.jsonl")
    }
}

/// Starts a program, and returns the first line that it prints.
async fn start(mut command: Command, folder: &Path) -> (Child, Option<String>) {
    // The environment of the tests must not change the settings.
    command.env_clear().current_dir(folder).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
    (child, line)
}

fn listening_at(line: &str) -> String {
    line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?} names no address")).to_owned()
}

/// Returns the path of `sim-venue`. The tests of the whole workspace build it next to the broker; if only
/// this package is tested, it is built now.
async fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_order-engine-brokerage")).with_file_name("sim-venue");
    if !program.exists() {
        let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "order-engine-sim", "--features", "rpc-server"]);
        build.args(["--bin", "sim-venue"]).args(release).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().await.unwrap().success());
    }
    program
}
