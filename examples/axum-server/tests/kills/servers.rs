//! The servers that are killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::common::program::Program;

/// How many servers there are.
const SERVERS: usize = 2;
/// How often one of them is killed.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// After how many kills of one of them, all are killed at once.
const KILL_ALL_AFTER: usize = 5;
/// How long orders of a killed server wait, in milliseconds.
const LEASE_MS: &str = "2000";

/// Servers on one store and one chain.
pub(crate) struct Servers {
    folder: PathBuf,
    args: Vec<String>,
    programs: Vec<Program>,
    urls: watch::Sender<Vec<String>>,
}

impl Servers {
    /// Starts them with so many workers each, and flags that name what they trade on.
    pub(crate) async fn start(folder: &Path, store_url: &str, workers: &str, venue: [&str; 2]) -> Self {
        let [flag, venue] = venue;
        let args = ["--store", store_url, flag, venue, "--workers", workers, "--lease-ms", LEASE_MS];
        let args = args.map(str::to_owned).to_vec();
        let mut servers =
            Self { folder: folder.to_owned(), args, programs: Vec::new(), urls: watch::Sender::default() };
        for _ in 0..SERVERS {
            servers.add().await;
        }
        servers
    }

    async fn add(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.programs.push(Program::start(&self.folder, &args).await);
        self.urls.send_replace(self.programs.iter().map(|program| program.url.clone()).collect());
    }

    /// Returns where the servers are at any time.
    pub(crate) fn urls(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    /// Kills so many processes, one in a second and sometimes all at once, and starts others in their places.
    pub(crate) async fn are_killed(&mut self, kills: usize) {
        let mut seconds = tokio::time::interval(KILL_EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        seconds.tick().await;
        let mut killed = 0;
        for round in 1.. {
            if killed >= kills {
                return;
            }
            let victims = if round % KILL_ALL_AFTER == 0 { SERVERS.min(kills - killed) } else { 1 };
            for _ in 0..victims {
                seconds.tick().await;
            }
            for _ in 0..victims {
                // The oldest comes first.
                self.programs.remove(0).kill().await;
            }
            killed += victims;
            while self.programs.len() < SERVERS {
                self.add().await;
            }
        }
    }

    /// Asks all servers to end.
    pub(crate) async fn terminate(self) {
        for program in self.programs {
            let (code, log) = program.terminate().await;
            assert_eq!(code, Some(0), "{log}");
        }
    }
}
