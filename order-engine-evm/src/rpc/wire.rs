//! The shapes of the answers, as nodes of the EVM write them.

use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use serde::Deserialize;

/// A block without its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) number: U64,
    pub(crate) hash: B256,
    pub(crate) timestamp: U64,
}

/// A block with its transactions.
#[derive(Debug, Deserialize)]
pub(crate) struct Block {
    pub(crate) hash: B256,
    pub(crate) transactions: Vec<Transaction>,
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) nonce: U64,
    pub(crate) to: Option<Address>,
    #[serde(default)]
    pub(crate) value: U256,
    pub(crate) input: Bytes,
    pub(crate) gas: U64,
}

/// What a transaction did in a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) transaction_hash: B256,
    pub(crate) block_number: U64,
    pub(crate) block_hash: B256,
    pub(crate) from: Address,
    /// 1 if it did what it should, and 0 if it was reverted.
    pub(crate) status: U64,
    pub(crate) gas_used: U64,
    pub(crate) logs: Vec<Log>,
}

/// An event of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Log {
    pub(crate) address: Address,
    pub(crate) topics: Vec<B256>,
    pub(crate) data: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FeeHistory {
    /// Of each block that was asked for, and of the one after them.
    pub(crate) base_fee_per_gas: Vec<U128>,
    pub(crate) gas_used_ratio: Vec<f64>,
    /// Of each block, the tips at the percentiles that were asked for; zeros if the block is empty.
    #[serde(default)]
    pub(crate) reward: Option<Vec<Vec<U128>>>,
}

/// A block of `eth_simulateV1`.
#[derive(Debug, Deserialize)]
pub(crate) struct SimulatedBlock {
    pub(crate) calls: Vec<SimulatedCall>,
}

/// A call of `eth_simulateV1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SimulatedCall {
    #[serde(default)]
    pub(crate) return_data: Bytes,
    #[serde(default)]
    pub(crate) logs: Vec<Log>,
    pub(crate) status: U64,
    #[serde(default)]
    pub(crate) error: Option<SimulationError>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SimulationError {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Option<Bytes>,
}
