//! The nodes of a chain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rpc::client::{Call, Client, Dialect};
use crate::rpc::error::RpcError;
use crate::rpc::options::NodesOptions;

/// The longest that a node is left alone because it asks for it, in seconds.
const REST_MAX_S: u64 = 60;

/// How a node tells which chain it serves. It is asked before anything else, and until it has told.
#[derive(Clone, Debug)]
pub struct ChainCheck {
    /// A method without parameters.
    pub method: &'static str,
    /// How its result names a chain; nothing if it is no name of one.
    pub read: fn(&Value) -> Option<String>,
    /// The chain as it should be. A node of another one is never asked anything else.
    pub expected: String,
}

/// Calls the nodes of a chain: each by itself, all at once, or the one that is likely to answer best.
#[derive(Debug)]
pub struct Nodes {
    all: Vec<Node>,
    options: NodesOptions,
    check: Option<ChainCheck>,
    runtime: Runtime,
}

/// A node and how it has answered.
#[derive(Debug)]
struct Node {
    client: Client,
    /// Whether it has told that it serves the chain.
    is_of_chain: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The greatest height of which the node has told.
    height: u64,
    /// Failures in a row.
    failures: u32,
    /// Until when the node is left alone, if others can be asked.
    rests_until: Option<DateTime<Utc>>,
}

impl Nodes {
    /// Returns a client of these nodes, which speak this dialect. Nothing is sent yet.
    ///
    /// # Errors
    /// If there are no nodes, or the HTTP client cannot be made.
    pub fn new(options: NodesOptions, dialect: Dialect, runtime: Runtime) -> Result<Self, RpcError> {
        let node = |url: &String| {
            let client = Client::new(url, &options, dialect)?;
            Ok(Node { client, is_of_chain: AtomicBool::new(false), health: Mutex::default() })
        };
        let all: Vec<Node> = options.urls.iter().map(node).collect::<Result<_, RpcError>>()?;
        if all.is_empty() {
            return Err(RpcError::NoNodes);
        }
        Ok(Self { all, options, check: None, runtime })
    }

    /// Asks each node which chain it serves before it is asked anything else.
    #[must_use]
    pub fn with_check(self, check: ChainCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Returns how many nodes have to agree.
    pub const fn quorum(&self) -> usize {
        self.options.quorum
    }

    /// Returns the clock and what else of the process it runs on.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes a call without an effect on the node that is likely to answer best, and on the others while it fails.
    ///
    /// # Errors
    /// If a node refuses it for a reason that another node would have as well, or no node answers.
    pub async fn query<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        let answers = self.query_batch(&[(method, params)]).await?;
        answers.into_iter().next().ok_or_else(|| RpcError::malformed("a call has an answer"))
    }

    /// Makes several calls without an effect, all on one node, in one request.
    ///
    /// # Errors
    /// As [`Self::query`], of any of the calls.
    pub async fn query_batch<T: DeserializeOwned>(&self, calls: &[Call]) -> Result<Vec<T>, RpcError> {
        let mut tries = 0;
        loop {
            let mut last = RpcError::NoNodes;
            for node in self.by_health() {
                match self.ask_together(node, calls).await {
                    Err(error) if error.is_transient() => last = error,
                    result => return result,
                }
            }
            if tries == self.options.retries {
                return Err(last);
            }
            tries += 1;
            let wait = self.options.backoff.delay(tries, self.runtime.entropy.next_u128());
            let method = calls.first().map(|(method, _)| *method);
            tracing::debug!(error = %chain(&last), wait_ms = wait.as_millis(), method, "no node answered");
            self.runtime.clock.sleep(wait).await;
        }
    }

    /// Asks a node for answers to all calls.
    async fn ask_together<T: DeserializeOwned>(
        &self,
        node: &Node,
        calls: &[Call],
    ) -> Result<Vec<T>, RpcError> {
        match calls {
            [(method, params)] => Ok(vec![self.ask(node, method, params).await?]),
            calls => self.ask_batch(node, calls).await?.into_iter().collect(),
        }
    }

    /// Makes a call on every node at once, without repetition. The answers stand in the order of the nodes.
    pub async fn ask_all<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Vec<Result<T, RpcError>> {
        join_all(self.all.iter().map(|node| self.ask(node, method, params))).await
    }

    /// Makes several calls in one request on every node at once, without repetition.
    pub async fn ask_all_batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Vec<Result<Vec<Result<T, RpcError>>, RpcError>> {
        join_all(self.all.iter().map(|node| self.ask_batch(node, calls))).await
    }

    /// Notes how far a node says it has come, by its place among the nodes. Those that lag are asked last.
    pub fn note_height(&self, node: usize, height: u64) {
        if let Some(node) = self.all.get(node) {
            node.health().height = height;
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: &Node,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let result = match self.check_chain(node).await {
            Ok(()) => node.client.call(method, params).await,
            Err(error) => Err(error),
        };
        self.note(node, result.as_ref().err());
        result
    }

    async fn ask_batch<T: DeserializeOwned>(
        &self,
        node: &Node,
        calls: &[Call],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let result = match self.check_chain(node).await {
            Ok(()) => node.client.batch(calls).await,
            Err(error) => Err(error),
        };
        self.note(node, result.as_ref().err());
        result
    }

    /// Asks a node which chain it serves, until it has told once.
    async fn check_chain(&self, node: &Node) -> Result<(), RpcError> {
        let Some(check) = self.check.as_ref().filter(|_| !node.is_of_chain.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let told: Value = node.client.call(check.method, &json!([])).await?;
        let found = (check.read)(&told).ok_or_else(|| RpcError::malformed("it names no chain"))?;
        if found != check.expected {
            return Err(RpcError::OtherChain { expected: check.expected.clone(), found });
        }
        node.is_of_chain.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn note(&self, node: &Node, error: Option<&RpcError>) {
        let mut health = node.health();
        let Some(error) = error.filter(|error| error.is_transient()) else {
            *health = Health { height: health.height, ..Health::default() };
            return;
        };
        health.failures = health.failures.saturating_add(1);
        let wait = match error {
            RpcError::Status { retry_after_s: Some(seconds), .. } => {
                Duration::from_secs((*seconds).min(REST_MAX_S))
            }
            _ => self.options.backoff.delay(health.failures, self.runtime.entropy.next_u128()),
        };
        health.rests_until = Some(self.runtime.now() + wait);
    }

    /// Returns the nodes, those first that neither rest nor lag.
    fn by_health(&self) -> Vec<&Node> {
        let now = self.runtime.now();
        let furthest = self.all.iter().map(|node| node.health().height).max().unwrap_or(0);
        let mut nodes: Vec<&Node> = self.all.iter().collect();
        nodes.sort_by_cached_key(|node| {
            let health = node.health();
            let rests = health.rests_until.is_some_and(|until| until > now);
            (rests, furthest.saturating_sub(health.height) > self.options.lag_max)
        });
        nodes
    }
}

impl Node {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
