//! The methods of a chain whose transactions have nonces, in the shapes of nodes of the EVM.

use order_engine_core::{AccountId, OrderId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arrival::Arrival;
use crate::chain::SimChain;
use crate::config::NonceKind;
use crate::node::Node;
use crate::rpc::call::{CallError, ErrorObject, INVALID_PARAMS, error_object, param, stopped, to_value};
use crate::rpc::hex;
use crate::rpc::wire::{ALREADY_KNOWN, BlockHeader, TRANSACTION_REFUSED};
use crate::wallets::Wallets;

/// The block as of which a call is answered.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BlockTag {
    #[default]
    Latest,
    Safe,
    Finalized,
}

/// Calls a method of a node and returns the result, or `None` if there is no such method here.
pub(crate) async fn call(
    (chain, node): (&SimChain, &Node),
    method: &str,
    params: &Value,
) -> Option<Result<Value, CallError>> {
    let result = match method {
        "eth_accounts" => to_value(&chain.wallets().map(Wallets::accounts).unwrap_or_default()),
        "eth_gasPrice" => Ok(json!(hex::quantity(chain.fee()))),
        "eth_getTransactionCount" => transaction_count((chain, node), params).await,
        "eth_getBlockByNumber" => block(node, params),
        "eth_sendRawTransaction" => return Some(send(chain, params).await),
        "simNonceValues" => nonce_values((chain, node), params).await,
        "simFind" => find((chain, node), params).await,
        "simNonces" => nonces(chain).await,
        "simWaiting" => to_value(&chain.waiting()),
        _ => return None,
    };
    Some(result.map_err(CallError::from))
}

fn height(node: &Node, tag: BlockTag) -> u64 {
    match tag {
        BlockTag::Latest => node.view.processed,
        BlockTag::Safe => node.view.confirmed,
        BlockTag::Finalized => node.view.finalized,
    }
}

/// Returns the block tag at this place of the parameters; the latest block if there is none.
fn tag(params: &Value, index: usize) -> Result<BlockTag, ErrorObject> {
    Ok(param::<Option<BlockTag>>(params, index, "block")?.unwrap_or_default())
}

async fn transaction_count((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let account: AccountId = param(params, 0, "address")?;
    let tag = tag(params, 1)?;
    let (nonce, ticket) = chain.nonce_at(&account, height(node, tag));
    chain.durable(ticket).await.map_err(|error| stopped(&error))?;
    let opaque = || error_object(INVALID_PARAMS, "the nonces of this chain are no numbers");
    Ok(json!(hex::quantity(nonce.number().ok_or_else(opaque)?.into())))
}

/// Returns the opaque values of accounts, as one node has them: nothing if nonces are numbers.
async fn nonce_values((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let accounts: Option<Vec<AccountId>> = param(params, 0, "accounts")?;
    if chain.nonce_kind() != NonceKind::Opaque {
        return Ok(Value::Null);
    }
    let (views, ticket) = chain.accounts(&accounts.unwrap_or_default(), node);
    chain.durable(ticket).await.map_err(|error| stopped(&error))?;
    to_value(&views)
}

fn block(node: &Node, params: &Value) -> Result<Value, ErrorObject> {
    let number = hex::quantity(height(node, tag(params, 0)?).into());
    to_value(&BlockHeader { number })
}

async fn send(chain: &SimChain, params: &Value) -> Result<Value, CallError> {
    let text: String = param(params, 0, "transaction")?;
    let bytes = hex::read_data(&text)
        .ok_or_else(|| error_object(INVALID_PARAMS, "transaction: it is not hexadecimal"))?;
    let (id, arrival, ticket) = chain
        .submit_bytes(&bytes)
        .map_err(|malformed| error_object(INVALID_PARAMS, malformed.to_string()))?;
    chain.durable(ticket).await.map_err(|error| stopped(&error))?;
    match arrival {
        Arrival::Accepted => Ok(json!(id)),
        Arrival::Known => Err(error_object(TRANSACTION_REFUSED, ALREADY_KNOWN).into()),
        Arrival::Refused(reason) => Err(error_object(TRANSACTION_REFUSED, reason).into()),
        Arrival::Lost(_) => Err(CallError::Lost),
    }
}

async fn find((chain, node): (&SimChain, &Node), params: &Value) -> Result<Value, ErrorObject> {
    let order: OrderId = param(params, 0, "orderId")?;
    if node.searched_through().is_none() {
        return Err(error_object(TRANSACTION_REFUSED, "the history of this node has gaps"));
    }
    let (ids, ticket) = chain.find(order, node);
    chain.durable(ticket).await.map_err(|error| stopped(&error))?;
    to_value(&ids)
}

async fn nonces(chain: &SimChain) -> Result<Value, ErrorObject> {
    chain.flush().await.map_err(|error| stopped(&error))?;
    to_value(&chain.nonce_uses())
}
