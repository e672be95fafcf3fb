//! The nodes of a cluster.

use std::time::Duration;

use order_engine_chain::{Nodes, NodesOptions, RpcError};
use order_engine_core::Runtime;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::rpc::wire::{ACCOUNTS_MAX, AccountJson, WithContext};

/// A node that is behind the slot that was asked for, or lags behind the cluster.
const NODE_BEHIND: i64 = -32_005;
/// A node that has not come to the least slot that was asked for.
const MIN_SLOT_NOT_REACHED: i64 = -32_016;
/// A fault of the node itself.
const INTERNAL: i64 = -32_603;

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
    nodes: Nodes,
}

impl Cluster {
    /// Returns a client of these nodes. Nothing is sent yet.
    ///
    /// # Errors
    /// If there are no nodes, or the HTTP client cannot be made.
    pub fn new(options: NodesOptions, runtime: Runtime) -> Result<Self, RpcError> {
        let nodes = Nodes::new(options, |code, _| may_pass(code), runtime)?;
        Ok(Self { nodes })
    }

    pub(crate) const fn quorum(&self) -> usize {
        self.nodes.quorum()
    }

    /// Waits on the clock of the process.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.runtime().clock.sleep(duration).await;
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

    /// Makes a call on every node at once, without repetition. The answers stand in the order of the nodes.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Vec<Result<T, RpcError>> {
        self.nodes.ask_all(method, params).await
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
        self.nodes.runtime()
    }

    /// Notes how far a node says it has come.
    pub(crate) fn note_slot(&self, node: usize, slot: u64) {
        self.nodes.note_height(node, slot);
    }
}

/// Whether another node, or this one soon, may not refuse for the same reason.
const fn may_pass(code: i64) -> bool {
    matches!(code, NODE_BEHIND | MIN_SLOT_NOT_REACHED | INTERNAL)
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
