//! The nodes of a chain.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{B256, U64};
use order_engine_chain::{Call, ChainCheck, Nodes, NodesOptions, RpcError, quorum_of, quorum_th};
use order_engine_core::Runtime;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::agreement::BlockId;
use crate::rpc::wire::Head;

/// A fault of the node itself.
const INTERNAL: i64 = -32_603;
/// A block or a state that the node does not have, or not yet.
const RESOURCE_NOT_FOUND: i64 = -32_001;
/// Too many requests (EIP-1474).
const LIMIT_EXCEEDED: i64 = -32_005;

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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The nodes, and how they are called.
    pub nodes: NodesOptions,
    /// The id of the chain. A node of another chain is never asked anything else.
    pub chain_id: u64,
    /// Which blocks are final.
    pub finality: Finality,
}

impl ClusterOptions {
    /// Returns options for these nodes of a chain: those of [`NodesOptions::new`], and the finality of the chain's consensus.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>, chain_id: u64) -> Self {
        Self::with_nodes(NodesOptions::new(urls), chain_id)
    }

    /// Returns options for nodes that are called as it says, and the finality of the chain's consensus.
    pub const fn with_nodes(nodes: NodesOptions, chain_id: u64) -> Self {
        Self { nodes, chain_id, finality: Finality::Finalized }
    }

    /// Sets the longest time of one call of one node.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { nodes: self.nodes.with_timeout(timeout), ..self }
    }

    /// Sets how often all nodes are tried again for a call without an effect.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { nodes: self.nodes.with_retries(retries), ..self }
    }

    /// Sets how many nodes have to agree before something counts as final, from one to the number of nodes.
    #[must_use]
    pub fn with_quorum(self, quorum: usize) -> Self {
        Self { nodes: self.nodes.with_quorum(quorum), ..self }
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
    nodes: Nodes,
    chain_id: u64,
    finality: Finality,
    /// The highest final block on which the nodes have agreed.
    newest_final: Mutex<u64>,
}

impl Cluster {
    /// Returns a client of these nodes. Nothing is sent yet.
    ///
    /// # Errors
    /// If there are no nodes, or the HTTP client cannot be made.
    pub fn new(options: ClusterOptions, runtime: Runtime) -> Result<Self, RpcError> {
        let ClusterOptions { nodes, chain_id, finality } = options;
        let read = |told: &Value| Some(U64::deserialize(told).ok()?.to_string());
        let check = ChainCheck { method: "eth_chainId", read, expected: chain_id.to_string() };
        let nodes = Nodes::new(nodes, may_pass, runtime)?.with_check(check);
        Ok(Self { nodes, chain_id, finality, newest_final: Mutex::default() })
    }

    /// Returns the id of the chain.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        self.nodes.runtime()
    }

    pub(crate) const fn quorum(&self) -> usize {
        self.nodes.quorum()
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
        self.nodes.query(method, params).await
    }

    /// Makes several calls without an effect, all on one node, in one request.
    ///
    /// # Errors
    /// As [`Self::query`], of any of the calls.
    pub(crate) async fn query_batch<T: DeserializeOwned>(&self, calls: &[Call]) -> Result<Vec<T>, RpcError> {
        self.nodes.query_batch(calls).await
    }

    /// Makes a call on every node at once, without repetition. The answers stand in the order of the nodes.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Vec<Result<T, RpcError>> {
        self.nodes.ask_all(method, params).await
    }

    /// Makes several calls in one request on every node at once, without repetition.
    pub(crate) async fn ask_all_batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Vec<Result<Vec<Result<T, RpcError>>, RpcError>> {
        self.nodes.ask_all_batch(calls).await
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
        let head = match self.finality {
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
}

/// Whether another node, or this one soon, may not refuse for the same reason.
fn may_pass(code: i64, message: &str) -> bool {
    matches!(code, INTERNAL | RESOURCE_NOT_FOUND | LIMIT_EXCEEDED) || lacks_block(message)
}

/// Whether a node says that it does not have the block that was asked for. Each kind of node says it in its own words.
fn lacks_block(message: &str) -> bool {
    let message = message.to_lowercase();
    ["header not found", "unknown block", "block not found", "blockoutofrange", "missing trie node"]
        .iter()
        .any(|words| message.contains(words))
}
