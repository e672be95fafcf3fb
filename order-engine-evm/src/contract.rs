//! Calls of contracts without an effect.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};

use crate::rpc::RpcError;

/// Returns the call of a function of a contract, as of a block.
pub(crate) fn call<C: SolCall>(to: Address, function: &C, block: &Value) -> (&'static str, Value) {
    let input = Bytes::from(function.abi_encode());
    ("eth_call", json!([{ "to": to, "input": input }, block]))
}

/// Reads what a function returned.
///
/// # Errors
/// If it is something else: there is no contract, or another one.
pub(crate) fn returned<C: SolCall>(bytes: &[u8]) -> Result<C::Return, RpcError> {
    C::abi_decode_returns(bytes).map_err(RpcError::malformed)
}
