//! The shapes of the answers, as nodes of Solana write them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_chain::RpcError;
use order_engine_core::Certainty;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use solana_pubkey::Pubkey;
use solana_signature::Signature;

use crate::account::Account;

/// The most signatures in one call of `getSignatureStatuses`.
pub(crate) const STATUSES_MAX: usize = 256;
/// The most accounts in one call of `getMultipleAccounts`.
pub(crate) const ACCOUNTS_MAX: usize = 100;
/// The most entries in one answer of `getSignaturesForAddress`.
pub(crate) const SIGNATURES_MAX: usize = 1_000;

/// A result, and how far the node had come that gave it.
#[derive(Debug, Deserialize)]
pub(crate) struct WithContext<T> {
    pub(crate) context: Context,
    pub(crate) value: T,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Context {
    pub(crate) slot: u64,
}

/// The answer of `getEpochInfo`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EpochInfo {
    pub(crate) absolute_slot: u64,
    pub(crate) block_height: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatestBlockhash {
    pub(crate) blockhash: String,
    pub(crate) last_valid_block_height: u64,
}

/// A transaction as `getSignatureStatuses` shows it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureStatus {
    pub(crate) slot: u64,
    pub(crate) err: Option<Value>,
    pub(crate) confirmation_status: Option<Certainty>,
}

/// A transaction as `getSignaturesForAddress` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedSignature {
    pub(crate) signature: String,
    pub(crate) memo: Option<String>,
    pub(crate) block_time: Option<i64>,
    pub(crate) confirmation_status: Option<Certainty>,
}

impl ListedSignature {
    /// Whether it is a transaction at all: some nodes list what they simulated without a signature.
    pub(crate) fn is_transaction(&self) -> bool {
        self.signature != Signature::default().to_string()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Simulation {
    pub(crate) err: Option<Value>,
    #[serde(default)]
    pub(crate) logs: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) units_consumed: Option<u64>,
    /// The accounts that were asked for, as they are afterwards.
    #[serde(default)]
    pub(crate) accounts: Option<Vec<Option<AccountJson>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecentFee {
    pub(crate) prioritization_fee: u64,
}

/// A block without its transactions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockHead {
    pub(crate) block_height: Option<u64>,
}

impl BlockHead {
    /// Returns the parameters of `getBlock` for it.
    pub(crate) fn params(slot: u64, commitment: &str) -> Value {
        let settings = json!({
            "transactionDetails": "none", "rewards": false, "commitment": commitment,
            "maxSupportedTransactionVersion": 0,
        });
        json!([slot, settings])
    }
}

/// A transaction as `getTransaction` shows it, with the encoding `json`.
#[derive(Debug, Deserialize)]
pub(crate) struct LandedTransaction {
    pub(crate) slot: u64,
    pub(crate) meta: Meta,
    pub(crate) transaction: TransactionJson,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TransactionJson {
    pub(crate) message: MessageJson,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageJson {
    pub(crate) account_keys: Vec<String>,
    pub(crate) header: HeaderJson,
    pub(crate) instructions: Vec<InstructionJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeaderJson {
    pub(crate) num_required_signatures: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstructionJson {
    pub(crate) program_id_index: usize,
    /// The accounts, by their numbers among all of the transaction.
    #[serde(default)]
    pub(crate) accounts: Vec<usize>,
    /// The bytes in base58.
    pub(crate) data: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) err: Option<Value>,
    pub(crate) fee: u64,
    pub(crate) pre_balances: Vec<u64>,
    pub(crate) post_balances: Vec<u64>,
    pub(crate) pre_token_balances: Option<Vec<TokenBalance>>,
    pub(crate) post_token_balances: Option<Vec<TokenBalance>>,
    pub(crate) log_messages: Option<Vec<String>>,
    pub(crate) loaded_addresses: LoadedAddresses,
}

/// The accounts that come from lookup tables. They are numbered after those of the message, the writable ones first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadedAddresses {
    pub(crate) writable: Vec<String>,
    pub(crate) readonly: Vec<String>,
}

impl LandedTransaction {
    /// Returns an account by its number.
    pub(crate) fn account(&self, number: usize) -> Option<&str> {
        let loaded = &self.meta.loaded_addresses;
        let named = self.transaction.message.account_keys.iter();
        named.chain(&loaded.writable).chain(&loaded.readonly).nth(number).map(String::as_str)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenBalance {
    pub(crate) account_index: usize,
    pub(crate) mint: String,
    pub(crate) owner: Option<String>,
    pub(crate) ui_token_amount: TokenAmount,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TokenAmount {
    /// Base units, as decimal text.
    pub(crate) amount: String,
}

/// An account with its bytes in base64.
#[derive(Debug, Deserialize)]
pub(crate) struct AccountJson {
    pub(crate) owner: String,
    pub(crate) lamports: u64,
    /// The bytes and the name of their encoding.
    pub(crate) data: (String, String),
}

impl AccountJson {
    pub(crate) fn decode(&self) -> Result<Account, RpcError> {
        let owner: Pubkey = self.owner.parse().map_err(|_| RpcError::malformed("the owner is no address"))?;
        let data = STANDARD.decode(&self.data.0).map_err(RpcError::malformed)?;
        Ok(Account { owner, lamports: self.lamports, data })
    }
}

/// How a transaction is sent: to this node once, without a simulation before.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendSettings {
    pub(crate) encoding: &'static str,
    pub(crate) skip_preflight: bool,
    pub(crate) max_retries: u32,
}

impl SendSettings {
    pub(crate) const RAW: Self = Self { encoding: "base64", skip_preflight: true, max_retries: 0 };
}

/// Amounts by mint.
pub(crate) type ByMint = BTreeMap<String, i128>;
