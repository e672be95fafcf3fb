//! The nodes of a chain.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{B256, U64};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use order_engine_core::telemetry::chain;
use order_engine_core::{Backoff, Runtime};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agreement::{BlockId, quorum_of, quorum_th};
use crate::rpc::client::{Call, Client};
use crate::rpc::error::RpcError;
use crate::rpc::wire::Head;

/// Which blocks are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// Those that the nodes call `finalized`: the chain's consensus says so.
    Finalized,
    /// Those that the nodes call `safe`: undone only by an attack that the chain punishes.
    Safe,
    /// Those with so many blocks after them, for chains that offer nothing better.
    Confirmations(u64),
}

/// The options of a [`Cluster`].
#[derive(Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The URLs of the nodes, the preferred ones first. They may have keys in them, so they appear in no log and no
    /// `Debug`.
    pub urls: Vec<String>,
    /// The id of the chain. A node of another chain is never asked anything else.
    pub chain_id: u64,
    /// The longest time of one call of one node.
    pub timeout: Duration,
    /// How often all nodes are tried again for a call without an effect.
    pub retries: u32,
    /// The waits between these, and how long a node that failed is left alone.
    pub backoff: Backoff,
    /// How many nodes have to agree before something counts as final. With one node, that node is believed.
    pub quorum: usize,
    /// Which blocks are final.
    pub finality: Finality,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("nodes", &self.urls.len())
            .field("chain_id", &self.chain_id)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("quorum", &self.quorum)
            .field("finality", &self.finality)
            .finish()
    }
}

impl ClusterOptions {
    /// Returns options for these nodes of a chain: two seconds a call, two retries after 100 and 200 ms, a quorum of more
    /// than half of the nodes, and the finality of the chain's consensus.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>, chain_id: u64) -> Self {
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        let backoff =
            Backoff::default().with_initial(Duration::from_millis(100)).with_max(Duration::from_secs(5));
        let quorum = urls.len() / 2 + 1;
        let (timeout, finality) = (Duration::from_secs(2), Finality::Finalized);
        Self { urls, chain_id, timeout, retries: 2, backoff, quorum, finality }
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

    /// Sets [`quorum`](Self::quorum), from one to the number of nodes.
    #[must_use]
    pub fn with_quorum(self, quorum: usize) -> Self {
        let quorum = quorum.clamp(1, self.urls.len().max(1));
        Self { quorum, ..self }
    }

    /// Sets [`finality`](Self::finality).
    #[must_use]
    pub fn with_finality(self, finality: Finality) -> Self {
        Self { finality, ..self }
    }
}

/// Calls the nodes of a chain.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    options: ClusterOptions,
    runtime: Runtime,
    /// The highest final block on which the nodes have agreed.
    newest_final: Mutex<u64>,
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
    /// Failures in a row.
    failures: u32,
    /// Until when the node is left alone, if others can be asked.
    rests_until: Option<DateTime<Utc>>,
}

impl Cluster {
    /// Returns a client of these nodes. Nothing is sent yet.
    ///
    /// # Errors
    /// If there are no nodes, or the HTTP client cannot be made.
    pub fn new(options: ClusterOptions, runtime: Runtime) -> Result<Self, RpcError> {
        let node = |url: &String| {
            let client = Client::new(url.clone(), options.timeout)?;
            Ok(Node { client, is_of_chain: AtomicBool::new(false), health: Mutex::default() })
        };
        let nodes: Vec<Node> = options.urls.iter().map(node).collect::<Result<_, RpcError>>()?;
        if nodes.is_empty() {
            return Err(RpcError::NoNodes);
        }
        Ok(Self { nodes, options, runtime, newest_final: Mutex::default() })
    }

    /// Returns the id of the chain.
    pub const fn chain_id(&self) -> u64 {
        self.options.chain_id
    }

    pub(crate) const fn quorum(&self) -> usize {
        self.options.quorum
    }

    /// Makes a call without an effect on the node that is likely to answer best, and on the others while it fails.
    ///
    /// # Errors
    /// If a node refuses it for a reason that another node would have as well, or no node answers.
    pub(crate) async fn query<T: DeserializeOwned>(
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
    pub(crate) async fn query_batch<T: DeserializeOwned>(&self, calls: &[Call]) -> Result<Vec<T>, RpcError> {
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
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Vec<Result<T, RpcError>> {
        join_all(self.nodes.iter().map(|node| self.ask(node, method, params))).await
    }

    /// Makes several calls in one request on every node at once, without repetition.
    pub(crate) async fn ask_all_batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Vec<Result<Vec<Result<T, RpcError>>, RpcError>> {
        join_all(self.nodes.iter().map(|node| self.ask_batch(node, calls))).await
    }

    /// Returns the block at this tag or number as a quorum of the nodes has it, and no older one.
    async fn agreed_head(&self, block: Value, behind: u64) -> Result<Head, RpcError> {
        let heads = self.heads(&block).await?;
        let numbers = heads.iter().map(|head| head.number.to::<u64>());
        let number = quorum_th(numbers, self.quorum()).ok_or(RpcError::NoQuorum { what: "a height" })?;
        let number = number.saturating_sub(behind);
        let is_there = |head: &Head| head.number.to::<u64>() == number;
        let named: Vec<Head> = heads.into_iter().filter(is_there).collect();
        if let Some(head) = quorum_of(named, self.quorum()) {
            return Ok(head);
        }
        let heads = self.heads(&json!(U64::from(number))).await?;
        quorum_of(heads, self.quorum()).ok_or(RpcError::NoQuorum { what: "a block" })
    }

    async fn heads(&self, block: &Value) -> Result<Vec<Head>, RpcError> {
        let answers = self.ask_all::<Option<Head>>("eth_getBlockByNumber", &json!([block, false])).await;
        let (heads, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let heads: Vec<Head> = heads.into_iter().flatten().flatten().collect();
        match errors.into_iter().find_map(Result::err) {
            Some(error) if heads.len() < self.quorum() => Err(error),
            _ => Ok(heads),
        }
    }

    /// Returns the newest block that a quorum of the nodes has.
    ///
    /// # Errors
    /// If too few nodes answer or agree.
    pub(crate) async fn latest(&self) -> Result<Head, RpcError> {
        self.agreed_head(json!("latest"), 0).await
    }

    /// Returns the newest block that a quorum of the nodes calls safe.
    ///
    /// # Errors
    /// If too few nodes answer or agree, or the chain has no such blocks.
    pub(crate) async fn safe(&self) -> Result<Head, RpcError> {
        self.agreed_head(json!("safe"), 0).await
    }

    /// Returns the newest final block on which a quorum of the nodes agrees. It never goes back.
    ///
    /// # Errors
    /// If too few nodes answer or agree, or they are behind what they have said before.
    pub(crate) async fn final_block(&self) -> Result<BlockId, RpcError> {
        let head = match self.options.finality {
            Finality::Finalized => self.agreed_head(json!("finalized"), 0).await?,
            Finality::Safe => self.safe().await?,
            Finality::Confirmations(blocks) => self.agreed_head(json!("latest"), blocks).await?,
        };
        let (height, hash) = (head.number.to::<u64>(), head.hash);
        let mut before = self.newest_final.lock().unwrap_or_else(PoisonError::into_inner);
        if height < *before {
            return Err(RpcError::Behind { height, before: *before });
        }
        *before = height;
        Ok(BlockId { number: height, hash })
    }

    /// Returns the hash of the block at a height, as a quorum of the nodes has it.
    ///
    /// # Errors
    /// If too few nodes answer or agree.
    pub(crate) async fn hash_at(&self, number: u64) -> Result<B256, RpcError> {
        let heads = self.heads(&json!(U64::from(number))).await?;
        let hashes = heads.into_iter().map(|head| head.hash).collect();
        quorum_of(hashes, self.quorum()).ok_or(RpcError::NoQuorum { what: "a block" })
    }

    /// Asks a node, after it has told once that it serves the chain.
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

    async fn check_chain(&self, node: &Node) -> Result<(), RpcError> {
        if node.is_of_chain.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found: U64 = node.client.call("eth_chainId", &json!([])).await?;
        let (expected, found) = (self.options.chain_id, found.to::<u64>());
        if found != expected {
            return Err(RpcError::OtherChain { expected, found });
        }
        node.is_of_chain.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn note(&self, node: &Node, error: Option<&RpcError>) {
        let mut health = node.health();
        match error.filter(|error| error.is_transient()) {
            Some(error) => {
                health.failures = health.failures.saturating_add(1);
                let wait = match error {
                    RpcError::Status { retry_after_s: Some(seconds), .. } => {
                        Duration::from_secs((*seconds).min(60))
                    }
                    _ => self.options.backoff.delay(health.failures, self.runtime.entropy.next_u128()),
                };
                health.rests_until = Some(self.runtime.now() + wait);
            }
            None => *health = Health::default(),
        }
    }

    /// Returns the nodes, those first that do not rest.
    fn by_health(&self) -> Vec<&Node> {
        let now = self.runtime.now();
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by_cached_key(|node| node.health().rests_until.is_some_and(|until| until > now));
        nodes
    }
}

impl Node {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
