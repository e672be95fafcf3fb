//! What both ends agree upon.

use order_engine_core::Certainty;
use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(feature = "rpc-server")]
use serde_json::json;

use crate::Execution;

/// The most signatures that one call may ask about.
pub(crate) const STATUSES_MAX: usize = 256;

/// The output would fall below the minimum.
pub(crate) const CUSTOM_SLIPPAGE: u64 = 6_001;
/// A pool cannot carry out its swap.
#[cfg(feature = "rpc-server")]
pub(crate) const CUSTOM_SWAP: u64 = 6_002;

/// A result, and what the node that gave it knew.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WithContext<T> {
    pub(crate) context: Context,
    pub(crate) value: T,
}

/// What a node knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Context {
    /// The newest slot of which it has the transactions.
    pub(crate) slot: u64,
    /// The newest slot that is final for it.
    pub(crate) finalized_slot: u64,
    /// The oldest slot of which it still has the transactions.
    pub(crate) first_available_slot: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatestBlockhash {
    pub(crate) blockhash: String,
    pub(crate) last_valid_block_height: u64,
}

/// What became of a transaction.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureStatus {
    pub(crate) slot: u64,
    /// How many blocks follow its own; none once it is final.
    pub(crate) confirmations: Option<u64>,
    pub(crate) err: Option<Value>,
    /// The same as `err`, in an older form.
    pub(crate) status: Value,
    pub(crate) confirmation_status: Certainty,
    /// What it did: a real adapter finds it in the transaction's own logs and balances.
    pub(crate) sim: Execution,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Simulation {
    pub(crate) err: Option<Value>,
    pub(crate) logs: Vec<String>,
}

/// The error of a program.
#[cfg(feature = "rpc-server")]
pub(crate) fn custom(code: u64) -> Value {
    json!({ "InstructionError": [0, { "Custom": code }] })
}

/// The code of a program's error.
#[cfg(feature = "rpc-client")]
pub(crate) fn custom_code(err: &Value) -> Option<u64> {
    err.pointer("/InstructionError/1/Custom")?.as_u64()
}
