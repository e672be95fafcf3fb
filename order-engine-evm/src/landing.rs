//! What landed transactions did.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, Bytes, U64};
use order_engine_core::{Amount, Certainty, Failure, FailureClass, FailureCode, Fill, Observation};
use serde_json::json;

use crate::agreement::quorum_of;
use crate::fill::{self, Outcome, Sent};
use crate::revert;
use crate::rpc::wire::{Head, Receipt, Transaction};
use crate::rpc::{Cluster, RpcError};

/// Of how many transactions it is remembered what they did.
const LANDINGS_MAX: usize = 4_096;

/// What a transaction did in a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Landing {
    Filled(Fill),
    Failed(Failure, FailureClass),
}

impl Landing {
    pub(crate) fn observed(self, certainty: Certainty) -> Observation {
        match self {
            Self::Filled(fill) => Observation::Landed { certainty, fill },
            Self::Failed(failure, class) => Observation::Reverted { certainty, failure, class },
        }
    }
}

/// Reads what transactions did, each once a block.
#[derive(Debug)]
pub(crate) struct Landings {
    /// The contract that wraps the chain's own token.
    wrapped_native: Address,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    landings: BTreeMap<(B256, B256), Landing>,
    order: VecDeque<(B256, B256)>,
}

impl Landings {
    pub(crate) fn new(wrapped_native: Address) -> Self {
        Self { wrapped_native, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a transaction did, of which nodes show this receipt; nothing as long as no quorum of nodes shows the
    /// transaction, or if its events do not say it clearly.
    pub(crate) async fn read(&self, cluster: &Cluster, receipt: &Receipt) -> Option<Landing> {
        let key = (receipt.transaction_hash, receipt.block_hash);
        if let Some(landing) = self.known().landings.get(&key) {
            return Some(landing.clone());
        }
        let landing = self.fetch(cluster, receipt).await?;
        let mut known = self.known();
        if known.landings.insert(key, landing.clone()).is_none() {
            known.order.push_back(key);
        }
        if known.order.len() > LANDINGS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.landings.remove(&oldest);
        }
        Some(landing)
    }

    async fn fetch(&self, cluster: &Cluster, receipt: &Receipt) -> Option<Landing> {
        let tx = transaction(cluster, receipt.transaction_hash).await?;
        if receipt.status.is_zero() {
            let (failure, class) = failure(cluster, receipt, &tx).await;
            return Some(Landing::Failed(failure, class));
        }
        let sent = Sent { wallet: tx.from, to: tx.to?, value: tx.value, wrapped_native: self.wrapped_native };
        let height = receipt.block_number.to();
        let fill = |sold, bought| Landing::Filled(Fill::new(Amount::new(sold), Amount::new(bought), height));
        match fill::outcome(&sent, &receipt.logs) {
            Outcome::Traded { sold, bought } => Some(fill(sold, bought)),
            Outcome::Idle => Some(fill(0, 0)),
            Outcome::Nothing => {
                let message = "The transaction succeeded without the event of a pool; nothing was swapped";
                let failure = Failure::new(FailureCode::TRANSACTION_FAILED, message);
                Some(Landing::Failed(failure, FailureClass::Requote))
            }
            Outcome::Unclear => {
                tracing::warn!(transaction = %receipt.transaction_hash, "its events do not say what it traded");
                None
            }
        }
    }
}

/// Returns a transaction as a quorum of the nodes shows it.
async fn transaction(cluster: &Cluster, hash: B256) -> Option<Transaction> {
    let answers = cluster.ask_all::<Option<Transaction>>("eth_getTransactionByHash", &json!([hash])).await;
    quorum_of(answers.into_iter().flatten().flatten().collect(), cluster.quorum())
}

/// Returns why a transaction was reverted. The receipt does not say it, so the call is made again on the block before, at the time
/// of its own block. The state may have been another one there if other transactions stood before it in its block.
async fn failure(cluster: &Cluster, receipt: &Receipt, tx: &Transaction) -> (Failure, FailureClass) {
    if receipt.gas_used >= tx.gas {
        return revert::out_of_gas();
    }
    let failure = match again(cluster, receipt, tx).await.as_ref().err().and_then(revert::revert_data) {
        Some(data) => revert::failure(&data).0,
        None => {
            let message = "The transaction was reverted, and it is not known why";
            Failure::new(FailureCode::TRANSACTION_FAILED, message)
        }
    };
    // It had what it needs when it was signed. Whether that is gone for good is asked before another one is.
    (failure, FailureClass::Requote)
}

/// Makes the call of a transaction again.
async fn again(cluster: &Cluster, receipt: &Receipt, tx: &Transaction) -> Result<Bytes, RpcError> {
    let call = json!({ "from": tx.from, "to": tx.to, "value": tx.value, "input": tx.input, "gas": tx.gas });
    let number = receipt.block_number;
    let parent = number.saturating_sub(U64::from(1));
    let block: Head = cluster.query("eth_getBlockByNumber", json!([number, false])).await?;
    let at = json!({ "number": number, "time": block.timestamp });
    let answer = cluster.query("eth_call", json!([call, parent, {}, at])).await;
    match answer {
        Err(error) if revert::revert_data(&error).is_none() => {
            // Not every node can pretend another time.
            cluster.query("eth_call", json!([call, parent])).await
        }
        answer => answer,
    }
}
