//! The JSON-RPC methods of a chain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_core::telemetry;
use order_engine_core::{Certainty, ChainView, FailureCode, OrderId, TxId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arrival::{Arrival, VisibleLanding};
use crate::chain::{SimChain, SimulationError};
use crate::heights::BLOCKHASH_WINDOW_SLOTS;
use crate::node::Node;
use crate::rpc::call::{
    CallError, ErrorObject, INVALID_PARAMS, METHOD_NOT_FOUND, error_object, param, stopped, to_value,
};
use crate::rpc::eth;
use crate::rpc::wire::{
    CUSTOM_SLIPPAGE, CUSTOM_SWAP, Context, LatestBlockhash, STATUSES_MAX, SignatureStatus, Simulation,
    WithContext, custom,
};

/// The transaction would fail, or its blockhash has expired.
const PREFLIGHT_FAILED: i64 = -32_002;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    commitment: Option<Certainty>,
    encoding: Option<Encoding>,
    skip_preflight: bool,
    search_transaction_history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Base58,
    Base64,
}

/// Calls a method of a node and returns the result.
pub(crate) async fn call(
    (chain, node): (&SimChain, &Node),
    method: &str,
    params: &Value,
) -> Result<Value, CallError> {
    Ok(match method {
        "getHealth" => json!("ok"),
        "getBlockHeight" | "getSlot" => json!(height(node, &config(params, 0)?)),
        "getLatestBlockhash" => latest_blockhash((chain, node), &config(params, 0)?)?,
        "isBlockhashValid" => is_blockhash_valid((chain, node), params)?,
        "simulateTransaction" => simulate((chain, node), params)?,
        "sendTransaction" => send(chain, params).await?,
        "getSignatureStatuses" => statuses((chain, node), params).await?,
        "simPools" => {
            let set = chain.pools();
            let pools: Vec<_> = set.pools().collect();
            to_value(&pools)?
        }
        "simLedger" => ledger(chain, params).await?,
        "simWallet" => json!(bs58::encode(chain.wallet()).into_string()),
        _ => {
            let unknown =
                || Err(error_object(METHOD_NOT_FOUND, format!("there is no method {method}")).into());
            return eth::call((chain, node), method, params).await.unwrap_or_else(unknown);
        }
    })
}

/// Returns the configuration object, which may be the last parameter.
fn config(params: &Value, index: usize) -> Result<Config, ErrorObject> {
    Ok(param::<Option<Config>>(params, index, "configuration")?.unwrap_or_default())
}

/// Returns the node's height at the requested commitment, which is "finalized" by default.
fn height(node: &Node, config: &Config) -> u64 {
    let view = node.view;
    match config.commitment.unwrap_or(Certainty::Finalized) {
        Certainty::Processed => view.processed,
        Certainty::Confirmed => view.confirmed,
        Certainty::Finalized => view.finalized,
    }
}

fn with_context<T: serde::Serialize>(node: &Node, value: T) -> Result<Value, ErrorObject> {
    let ChainView { processed, finalized, .. } = node.view;
    let context = Context { slot: processed, finalized_slot: finalized, first_available_slot: 0 };
    to_value(&WithContext { context, value })
}

fn latest_blockhash((chain, node): (&SimChain, &Node), config: &Config) -> Result<Value, ErrorObject> {
    let height = height(node, config);
    let value = LatestBlockhash {
        blockhash: chain.blockhash(height),
        last_valid_block_height: height + BLOCKHASH_WINDOW_SLOTS,
    };
    with_context(node, value)
}

fn is_blockhash_valid((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let blockhash: String = param(params, 0, "blockhash")?;
    let now = height(node, &config(params, 1)?);
    let named = chain.height_of(&blockhash);
    with_context(node, named.is_some_and(|height| now <= height + BLOCKHASH_WINDOW_SLOTS))
}

/// Returns the bytes of a transaction, which is in base58 unless the configuration names another encoding.
fn transaction(params: &Value, config: &Config) -> Result<Vec<u8>, ErrorObject> {
    let text: String = param(params, 0, "transaction")?;
    let unreadable = |error: String| error_object(INVALID_PARAMS, format!("transaction: {error}"));
    match config.encoding.unwrap_or(Encoding::Base58) {
        Encoding::Base58 => bs58::decode(text).into_vec().map_err(|error| unreadable(error.to_string())),
        Encoding::Base64 => STANDARD.decode(text).map_err(|error| unreadable(error.to_string())),
    }
}

/// Simulates a transaction. Returns the program's error and its description if it would fail.
fn failure(chain: &SimChain, bytes: &[u8]) -> Result<Option<(Value, String)>, ErrorObject> {
    match chain.simulate_bytes(bytes) {
        Ok(_) => Ok(None),
        Err(SimulationError::Malformed(malformed)) => {
            Err(error_object(INVALID_PARAMS, malformed.to_string()))
        }
        Err(SimulationError::Expired(reason)) => Ok(Some((json!("BlockhashNotFound"), reason))),
        Err(SimulationError::Swap(error)) => {
            Ok(Some((custom(CUSTOM_SWAP), telemetry::chain(&error).to_string())))
        }
        Err(SimulationError::Slippage(reason)) => Ok(Some((custom(CUSTOM_SLIPPAGE), reason))),
    }
}

fn simulate((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let bytes = transaction(params, &config(params, 1)?)?;
    let (err, logs) = failure(chain, &bytes)?.map(|(err, log)| (err, vec![log])).unzip();
    with_context(node, Simulation { err, logs: logs.unwrap_or_default() })
}

async fn send(chain: &SimChain, params: &Value) -> Result<Value, CallError> {
    let config = config(params, 1)?;
    let bytes = transaction(params, &config)?;
    if !config.skip_preflight
        && let Some((err, log)) = failure(chain, &bytes)?
    {
        let message = format!("Transaction simulation failed: {log}");
        let data = Some(json!({ "err": err, "logs": [log] }));
        return Err(ErrorObject { code: PREFLIGHT_FAILED, message, data }.into());
    }
    let (id, arrival, ticket) = chain
        .submit_bytes(&bytes)
        .map_err(|malformed| error_object(INVALID_PARAMS, malformed.to_string()))?;
    chain.durable(ticket).await.map_err(|error| stopped(&error))?;
    match arrival {
        Arrival::Accepted | Arrival::Known => Ok(json!(id)),
        Arrival::Refused(reason) => Err(error_object(PREFLIGHT_FAILED, reason).into()),
        Arrival::Lost(_) => Err(CallError::Lost),
    }
}

async fn statuses((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let ids: Vec<TxId> = param(params, 0, "signatures")?;
    if ids.len() > STATUSES_MAX {
        return Err(error_object(INVALID_PARAMS, format!("Too many inputs provided; max {STATUSES_MAX}")));
    }
    let searches = config(params, 1)?.search_transaction_history;
    let visible = chain.observe(&ids, node);
    chain.durable(visible.ticket).await.map_err(|error| stopped(&error))?;
    let ChainView { processed, finalized, .. } = node.view;
    let recent = processed.saturating_sub(BLOCKHASH_WINDOW_SLOTS);
    // Without a search of the history, a node reports only recent slots.
    let is_reported = |landing: &VisibleLanding| searches || landing.execution.height >= recent;
    let status = |landing: Option<VisibleLanding>| {
        landing.filter(is_reported).map(|landing| status(landing, processed))
    };
    let oldest = if searches { *node.visible.start() } else { recent };
    let context =
        Context { slot: *node.visible.end(), finalized_slot: finalized, first_available_slot: oldest };
    let value: Vec<Option<SignatureStatus>> = visible.landings.into_iter().map(status).collect();
    to_value(&WithContext { context, value })
}

fn status(VisibleLanding { execution, certainty }: VisibleLanding, processed: u64) -> SignatureStatus {
    let err = (!execution.executed).then(|| match &execution.reason {
        Some(code) if *code == FailureCode::SLIPPAGE => custom(CUSTOM_SLIPPAGE),
        _ => custom(CUSTOM_SWAP),
    });
    SignatureStatus {
        slot: execution.height,
        confirmations: (certainty < Certainty::Finalized).then(|| processed.saturating_sub(execution.height)),
        status: err.as_ref().map_or_else(|| json!({ "Ok": null }), |err| json!({ "Err": err })),
        err,
        confirmation_status: certainty,
        sim: execution,
    }
}

async fn ledger(chain: &SimChain, params: &Value) -> Result<Value, ErrorObject> {
    let order: Option<OrderId> = param(params, 0, "orderId")?;
    chain.flush().await.map_err(|error| stopped(&error))?;
    to_value(&chain.executions(order))
}
