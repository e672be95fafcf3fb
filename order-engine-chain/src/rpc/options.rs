//! Which nodes are called, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use order_engine_core::Backoff;

/// The nodes of a chain, and how they are called.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodesOptions {
    /// The URLs of the nodes, the preferred ones first. They may have keys in them, so they appear in no log and no
    /// `Debug`.
    pub urls: Vec<String>,
    /// The longest time of one call of one node.
    pub timeout: Duration,
    /// How often all nodes are tried again for a call without an effect.
    pub retries: u32,
    /// The waits between these, and how long a node that failed is left alone.
    pub backoff: Backoff,
    /// How many heights a node may be behind the furthest one before others are asked first, on chains whose nodes tell how far they are.
    pub lag_max: u64,
    /// How many nodes have to agree before something counts as final. With one node, that node is believed.
    pub quorum: usize,
    /// A file with the certificates (PEM) of the authorities that nodes behind `https://` are trusted by. Without it, those of the
    /// machine count.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for NodesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesOptions")
            .field("nodes", &self.urls.len())
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("lag_max", &self.lag_max)
            .field("quorum", &self.quorum)
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

impl NodesOptions {
    /// Returns options for these nodes: two seconds a call, two retries after 100 and 200 ms, a lag of 50 heights, the machine's
    /// certificates, and a quorum of more than half of the nodes.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        let backoff =
            Backoff::default().with_initial(Duration::from_millis(100)).with_max(Duration::from_secs(5));
        let quorum = urls.len() / 2 + 1;
        let timeout = Duration::from_secs(2);
        Self { urls, timeout, retries: 2, backoff, lag_max: 50, quorum, ca_file: None }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets [`retries`](Self::retries).
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets [`lag_max`](Self::lag_max).
    #[must_use]
    pub fn with_lag_max(self, heights: u64) -> Self {
        Self { lag_max: heights, ..self }
    }

    /// Sets [`quorum`](Self::quorum), from one to the number of nodes.
    #[must_use]
    pub fn with_quorum(self, quorum: usize) -> Self {
        let quorum = quorum.clamp(1, self.urls.len().max(1));
        Self { quorum, ..self }
    }

    /// Sets [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }
}
