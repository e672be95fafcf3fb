//! The types and codes that the server and the client share.

use order_engine_core::Certainty;
use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(feature = "rpc-server")]
use serde_json::json;

use crate::execution::Execution;

/// The most signatures in one call.
pub(crate) const STATUSES_MAX: usize = 256;

/// The program's error code for an output below the minimum.
pub(crate) const CUSTOM_SLIPPAGE: u64 = 6_001;
/// The program's error code for a swap that a pool cannot execute.
#[cfg(feature = "rpc-server")]
pub(crate) const CUSTOM_SWAP: u64 = 6_002;

/// The error code of a transaction that a node of the EVM refuses.
#[cfg(feature = "rpc-server")]
pub(crate) const TRANSACTION_REFUSED: i64 = -32_000;
/// The message of such a node that has the transaction.
pub(crate) const ALREADY_KNOWN: &str = "already known";

/// What a node of the EVM says about a block.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlockHeader {
    /// The height, in hexadecimal.
    pub(crate) number: String,
}

/// A result, and the context of the node that gave it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WithContext<T> {
    pub(crate) context: Context,
    pub(crate) value: T,
}

/// The slots that a node knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Context {
    /// The newest slot whose transactions the node has.
    pub(crate) slot: u64,
    /// The newest slot that is final for the node.
    pub(crate) finalized_slot: u64,
    /// The oldest slot whose transactions the node still has.
    pub(crate) first_available_slot: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatestBlockhash {
    pub(crate) blockhash: String,
    pub(crate) last_valid_block_height: u64,
}

/// The status of a transaction.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureStatus {
    pub(crate) slot: u64,
    /// The number of blocks after the transaction's own, `None` once it is final.
    pub(crate) confirmations: Option<u64>,
    pub(crate) err: Option<Value>,
    /// The same as `err`, in an older form.
    pub(crate) status: Value,
    pub(crate) confirmation_status: Certainty,
    /// The execution. A real adapter finds it in the transaction's logs and balances.
    pub(crate) sim: Execution,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Simulation {
    pub(crate) err: Option<Value>,
    pub(crate) logs: Vec<String>,
}

/// Returns the error of a program with this code.
#[cfg(feature = "rpc-server")]
pub(crate) fn custom(code: u64) -> Value {
    json!({ "InstructionError": [0, { "Custom": code }] })
}

/// Returns the code of a program's error.
#[cfg(feature = "rpc-client")]
pub(crate) fn custom_code(err: &Value) -> Option<u64> {
    err.pointer("/InstructionError/1/Custom")?.as_u64()
}
