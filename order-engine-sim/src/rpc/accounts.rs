//! What a venue asks a node about accounts and fees.

use order_engine_core::{AccountId, AccountView};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::rpc::client::{RpcClient, RpcError};
use crate::rpc::hex;
use crate::rpc::wire::BlockHeader;
use crate::wallets::Wallets;

/// The most accounts in one request: each takes two calls, and the finalized block one more.
const ACCOUNTS_MAX: usize = 40;

/// The accounts of a node, fetched once.
#[derive(Debug, Default)]
pub(crate) struct NodeAccounts {
    wallets: OnceCell<Wallets>,
}

/// What a new transaction of an account needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The account's next number.
    pub(crate) latest: u64,
    /// The fee that the node suggests.
    pub(crate) fee: u128,
}

/// An answer about an account or a block.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Quantity(String),
    Block(BlockHeader),
}

impl NodeAccounts {
    /// Returns the accounts of a node.
    ///
    /// # Errors
    /// If the node does not answer, or has none.
    pub(crate) async fn wallets(&self, client: &RpcClient) -> Result<&Wallets, RpcError> {
        let fetch = || async {
            let accounts = fetch(client).await?;
            Wallets::of_accounts(accounts)
                .ok_or_else(|| RpcError::Malformed("the node has no accounts with nonces".into()))
        };
        self.wallets.get_or_try_init(fetch).await
    }
}

/// Returns the accounts of a node: none if its transactions have no nonces.
pub(crate) async fn fetch(client: &RpcClient) -> Result<Vec<AccountId>, RpcError> {
    client.query("eth_accounts", json!([])).await
}

/// Returns the opaque values of accounts, in their order, as one node has them; nothing if the nonces of the node's chain
/// are numbers.
pub(crate) async fn opaque_views(
    client: &RpcClient,
    accounts: &[AccountId],
) -> Result<Option<Vec<AccountView>>, RpcError> {
    let views: Option<Vec<AccountView>> = client.query("simNonceValues", json!([accounts])).await?;
    if views.as_ref().is_some_and(|views| views.len() != accounts.len()) {
        return Err(RpcError::Malformed("an answer has an entry for each account".into()));
    }
    Ok(views)
}

/// Returns the fee that the node suggests.
pub(crate) async fn fee(client: &RpcClient) -> Result<u128, RpcError> {
    number(&client.query::<String>("eth_gasPrice", json!([])).await?)
}

/// Returns the next number of an account, and the fee that the node suggests.
pub(crate) async fn offer(client: &RpcClient, account: &AccountId) -> Result<Offer, RpcError> {
    let calls = [count(account, "latest"), ("eth_gasPrice", json!([]))];
    let [nonce, fee] = batch::<String, 2>(client, &calls).await?;
    Ok(Offer { latest: small(&nonce)?, fee: number(&fee)? })
}

/// Returns how far accounts have come, in their order. One node answers for each account.
pub(crate) async fn views(client: &RpcClient, accounts: &[AccountId]) -> Result<Vec<AccountView>, RpcError> {
    let mut views = Vec::with_capacity(accounts.len());
    for accounts in accounts.chunks(ACCOUNTS_MAX) {
        // One node answers a whole batch, so the height is that of the node that counts.
        let mut calls = vec![("eth_getBlockByNumber", json!(["finalized", false]))];
        calls.extend(
            accounts.iter().flat_map(|account| [count(account, "latest"), count(account, "finalized")]),
        );
        let answers: Vec<Answer> = client.query_batch(&calls).await?;
        let [Answer::Block(BlockHeader { number: height }), counts @ ..] = &answers[..] else {
            return Err(RpcError::Malformed("a block has a number".into()));
        };
        let height = small(height)?;
        for pair in counts.chunks(2) {
            let [Answer::Quantity(latest), Answer::Quantity(finalized)] = pair else {
                return Err(RpcError::Malformed("a count of transactions is a number".into()));
            };
            views.push(AccountView::new(small(latest)?, small(finalized)?, height));
        }
    }
    Ok(views)
}

fn count(account: &AccountId, tag: &str) -> (&'static str, Value) {
    ("eth_getTransactionCount", json!([account, tag]))
}

async fn batch<T: DeserializeOwned, const N: usize>(
    client: &RpcClient,
    calls: &[(&str, Value); N],
) -> Result<[T; N], RpcError> {
    let answers: Vec<T> = client.query_batch(calls).await?;
    answers.try_into().map_err(|_| RpcError::Malformed("a batch has an answer to each call".into()))
}

fn number(text: &str) -> Result<u128, RpcError> {
    hex::read_quantity(text).ok_or_else(|| RpcError::Malformed(format!("{text:?} is not a quantity").into()))
}

fn small(text: &str) -> Result<u64, RpcError> {
    u64::try_from(number(text)?).map_err(|error| RpcError::Malformed(error.into()))
}
