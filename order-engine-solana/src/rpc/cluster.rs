//! The nodes of a cluster.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use order_engine_core::telemetry::chain;
use order_engine_core::{Backoff, Runtime};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::rpc::client::Client;
use crate::rpc::error::RpcError;
use crate::rpc::wire::{ACCOUNTS_MAX, AccountJson, WithContext};

/// The options of a [`Cluster`].
#[derive(Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The URLs of the nodes, the preferred ones first. They may have keys in them, so they appear in no log and no
    /// `Debug`.
    pub urls: Vec<String>,
    /// The longest time of one call of one node.
    pub timeout: Duration,
    /// How often all nodes are tried again for a call without an effect.
    pub retries: u32,
    /// The waits between these, and how long a node that failed is left alone.
    pub backoff: Backoff,
    /// How many slots a node may be behind the furthest one before others are asked first.
    pub lag_slots_max: u64,
    /// How many nodes have to agree before something counts as final. With one node, that node is believed.
    pub quorum: usize,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("nodes", &self.urls.len())
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("lag_slots_max", &self.lag_slots_max)
            .field("quorum", &self.quorum)
            .finish()
    }
}

impl ClusterOptions {
    /// Returns options for these nodes: two seconds a call, two retries after 100 and 200 ms, a lag of 50 slots, which
    /// are 20 seconds, and a quorum of more than half of the nodes.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        let backoff =
            Backoff::default().with_initial(Duration::from_millis(100)).with_max(Duration::from_secs(5));
        let quorum = urls.len() / 2 + 1;
        Self { urls, timeout: Duration::from_secs(2), retries: 2, backoff, lag_slots_max: 50, quorum }
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

    /// Sets [`lag_slots_max`](Self::lag_slots_max).
    #[must_use]
    pub fn with_lag_slots_max(self, slots: u64) -> Self {
        Self { lag_slots_max: slots, ..self }
    }

    /// Sets [`quorum`](Self::quorum), from one to the number of nodes.
    #[must_use]
    pub fn with_quorum(self, quorum: usize) -> Self {
        let quorum = quorum.clamp(1, self.urls.len().max(1));
        Self { quorum, ..self }
    }
}

/// Accounts as they were at one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountsAtSlot {
    /// The slot.
    pub slot: u64,
    /// The accounts, in the order asked; `None` where there is none.
    pub accounts: Vec<Option<Account>>,
}

/// Calls the nodes of a cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    options: ClusterOptions,
    runtime: Runtime,
}

/// A node and how it has answered.
#[derive(Debug)]
struct Node {
    client: Client,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The newest slot of which the node has told.
    slot: u64,
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
            let client = Client::new(url, options.timeout)?;
            Ok(Node { client, health: Mutex::default() })
        };
        let nodes: Vec<Node> = options.urls.iter().map(node).collect::<Result<_, RpcError>>()?;
        if nodes.is_empty() {
            return Err(RpcError::NoNodes);
        }
        Ok(Self { nodes, options, runtime })
    }

    pub(crate) const fn quorum(&self) -> usize {
        self.options.quorum
    }

    /// Waits on the clock of the process.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.runtime.clock.sleep(duration).await;
    }

    /// Makes a call without an effect on the node that is likely to answer best, and on the others while it fails.
    ///
    /// # Errors
    /// If a node refuses it for a reason that another node would have as well, or no node answers.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        let mut tries = 0;
        loop {
            let mut last = RpcError::NoNodes;
            for node in self.by_health() {
                match self.ask(node, method, &params).await {
                    Err(error) if error.is_transient() => last = error,
                    result => return result,
                }
            }
            if tries == self.options.retries {
                return Err(last);
            }
            tries += 1;
            let wait = self.options.backoff.delay(tries, self.runtime.entropy.next_u128());
            tracing::debug!(error = %chain(&last), wait_ms = wait.as_millis(), method, "no node answered");
            self.runtime.clock.sleep(wait).await;
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

    /// Reads accounts as they all were at one slot, in the order asked. Missing ones are `None`.
    ///
    /// # Errors
    /// If no node answers, or there are more than a node reads at one slot: a hundred.
    pub async fn accounts(&self, addresses: &[Pubkey]) -> Result<AccountsAtSlot, RpcError> {
        let told = self.query("getMultipleAccounts", accounts_params(addresses)?).await?;
        at_slot(addresses, told)
    }

    /// Reads the same accounts from every node at once, without repetition. The answers stand in the order of the nodes.
    ///
    /// # Errors
    /// If there are more than a node reads at one slot: a hundred.
    pub(crate) async fn accounts_of_all(
        &self,
        addresses: &[Pubkey],
    ) -> Result<Vec<Result<AccountsAtSlot, RpcError>>, RpcError> {
        let told = self.ask_all("getMultipleAccounts", &accounts_params(addresses)?).await;
        Ok(told.into_iter().map(|answer| at_slot(addresses, answer?)).collect())
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Notes how far a node says it has come.
    pub(crate) fn note_slot(&self, node: usize, slot: u64) {
        if let Some(node) = self.nodes.get(node) {
            node.health().slot = slot;
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: &Node,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let result = node.client.call(method, params).await;
        let now = self.runtime.now();
        let mut health = node.health();
        match &result {
            Err(error) if error.is_transient() => {
                health.failures = health.failures.saturating_add(1);
                let wait = match error {
                    RpcError::Status { retry_after_s: Some(seconds), .. } => {
                        Duration::from_secs((*seconds).min(60))
                    }
                    _ => self.options.backoff.delay(health.failures, self.runtime.entropy.next_u128()),
                };
                health.rests_until = Some(now + wait);
            }
            _ => *health = Health { slot: health.slot, ..Health::default() },
        }
        result
    }

    /// Returns the nodes, those first that neither rest nor lag.
    fn by_health(&self) -> Vec<&Node> {
        let now = self.runtime.now();
        let furthest = self.nodes.iter().map(|node| node.health().slot).max().unwrap_or(0);
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by_cached_key(|node| {
            let health = node.health();
            let rests = health.rests_until.is_some_and(|until| until > now);
            (rests, furthest - health.slot > self.options.lag_slots_max)
        });
        nodes
    }
}

fn accounts_params(addresses: &[Pubkey]) -> Result<Value, RpcError> {
    if addresses.len() > ACCOUNTS_MAX {
        return Err(RpcError::TooMany { most: ACCOUNTS_MAX });
    }
    let named: Vec<String> = addresses.iter().map(Pubkey::to_string).collect();
    Ok(json!([named, { "encoding": "base64", "commitment": "confirmed" }]))
}

fn at_slot(
    addresses: &[Pubkey],
    WithContext { context, value }: WithContext<Vec<Option<AccountJson>>>,
) -> Result<AccountsAtSlot, RpcError> {
    if value.len() != addresses.len() {
        return Err(RpcError::malformed("another number of accounts was asked for"));
    }
    let accounts = value.iter().map(|account| account.as_ref().map(AccountJson::decode).transpose());
    Ok(AccountsAtSlot { slot: context.slot, accounts: accounts.collect::<Result<_, RpcError>>()? })
}

impl Node {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
