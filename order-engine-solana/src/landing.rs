//! What landed transactions did.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use order_engine_core::{Certainty, Failure, FailureClass, Fill, Observation, TxId};
use serde_json::{Value, json};
use solana_pubkey::Pubkey;

use crate::fill::{self, Exchanged};
use crate::program_error;
use crate::rpc::wire::{BlockHead, LandedTransaction};
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
#[derive(Debug, Default)]
pub(crate) struct Landings {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    landings: BTreeMap<(TxId, u64), Landing>,
    order: VecDeque<(TxId, u64)>,
}

impl Landings {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a transaction did in the block of a slot; nothing as long as no quorum of nodes shows it, or if its
    /// balances do not say it clearly.
    pub(crate) async fn read(
        &self,
        cluster: &Cluster,
        tx_id: &TxId,
        slot: u64,
        err: Option<&Value>,
    ) -> Option<Landing> {
        let key = (tx_id.clone(), slot);
        if let Some(landing) = self.known().landings.get(&key) {
            return Some(landing.clone());
        }
        let landing = fetch(cluster, tx_id, slot, err).await?;
        let mut known = self.known();
        if known.landings.insert(key.clone(), landing.clone()).is_none() {
            known.order.push_back(key);
        }
        if known.order.len() > LANDINGS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.landings.remove(&oldest);
        }
        Some(landing)
    }
}

async fn fetch(cluster: &Cluster, tx_id: &TxId, slot: u64, err: Option<&Value>) -> Option<Landing> {
    let settings =
        json!({ "encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0 });
    let params = json!([tx_id.as_str(), settings]);
    let answers: Vec<Result<Option<LandedTransaction>, RpcError>> =
        cluster.ask_all("getTransaction", &params).await;
    let shown: Vec<LandedTransaction> =
        answers.into_iter().flatten().flatten().filter(|tx| tx.slot == slot).collect();
    if let Some(err) = err {
        // The error is agreed on; the logs of any node only help to name it.
        let (failure, class) = shown.first().map_or_else(
            || program_error::failure(err, &[], |_| None),
            |tx| {
                program_error::failure(err, tx.meta.log_messages.as_deref().unwrap_or_default(), program(tx))
            },
        );
        return Some(Landing::Failed(failure, class));
    }
    let exchanged: Vec<Exchanged> =
        shown.iter().filter(|tx| tx.meta.err.is_none()).filter_map(fill::exchanged).collect();
    let agreed = exchanged
        .iter()
        .find(|one| exchanged.iter().filter(|other| other == one).count() >= cluster.quorum())?;
    let height = height_of(cluster, slot).await;
    Some(Landing::Filled(Fill::new(agreed.amount_in, agreed.amount_out, height)))
}

/// Returns the programs of a transaction's instructions by their numbers.
fn program(tx: &LandedTransaction) -> impl Fn(usize) -> Option<Pubkey> + '_ {
    let message = &tx.transaction.message;
    |index| {
        let instruction = message.instructions.get(index)?;
        message.account_keys.get(instruction.program_id_index)?.parse().ok()
    }
}

/// Returns the height of the block of a slot, and the slot if no node tells.
async fn height_of(cluster: &Cluster, slot: u64) -> u64 {
    let head: Result<Option<BlockHead>, RpcError> =
        cluster.query("getBlock", BlockHead::params(slot, "confirmed")).await;
    head.ok().flatten().and_then(|head| head.block_height).unwrap_or(slot)
}
