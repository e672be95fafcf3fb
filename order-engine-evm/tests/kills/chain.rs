//! What the chain itself says, read by plain JSON-RPC from the honest node, without any part of the adapter.

use std::collections::BTreeMap;

use order_engine_evm::{Address, B256, Bytes, U256};
use serde_json::{Value, json};

use crate::nodes::{hex, quantity};

/// The hash of the signature of `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// Those of `Swap` of a pair of V2 and of a pool of V3.
const SWAPS: [&str; 2] = [
    "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822",
    "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
];
/// Those of `Deposit(address,uint256)` and `Withdrawal(address,uint256)` of the wrapped token.
const DEPOSIT: &str = "0xe1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c";
const WITHDRAWAL: &str = "0x7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65";

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) block: u64,
    pub(crate) input: Bytes,
    pub(crate) has_succeeded: bool,
    pub(crate) fee: U256,
    logs: Vec<Value>,
}

impl Landed {
    /// Whether a pool says that it traded.
    pub(crate) fn has_traded(&self, pools: &[Address]) -> bool {
        self.logs.iter().any(|log| {
            let is_swap = log["topics"][0].as_str().is_some_and(|topic| SWAPS.contains(&topic));
            is_swap && pools.contains(&address(&log["address"]))
        })
    }

    /// Returns what moved of a token from its sender, less what came back.
    pub(crate) fn sold(&self, token: Address, weth: Address) -> U256 {
        let moved = if token == weth { self.wrapped(weth, DEPOSIT) } else { self.moved(token, 1) };
        moved - if token == weth { U256::ZERO } else { self.moved(token, 2) }
    }

    /// Returns what came to its sender of a token, less what went.
    pub(crate) fn bought(&self, token: Address, weth: Address) -> U256 {
        if token == weth {
            self.wrapped(weth, WITHDRAWAL)
        } else {
            self.moved(token, 2) - self.moved(token, 1)
        }
    }

    /// Returns the sum of the transfers of a token that have its sender in this place: 1 gives, 2 gets.
    fn moved(&self, token: Address, place: usize) -> U256 {
        let own = self.from.into_word().to_string();
        let is_own = |log: &&Value| {
            log["topics"][0] == TRANSFER
                && address(&log["address"]) == token
                && log["topics"][place] == own.as_str()
        };
        self.logs.iter().filter(is_own).map(data).sum()
    }

    fn wrapped(&self, weth: Address, event: &str) -> U256 {
        let is_it = |log: &&Value| log["topics"][0] == event && address(&log["address"]) == weth;
        self.logs.iter().filter(is_it).map(data).sum()
    }
}

fn data(log: &Value) -> U256 {
    log["data"].as_str().and_then(|data| data.parse().ok()).expect("it is an amount")
}

fn address(value: &Value) -> Address {
    value.as_str().and_then(|text| text.parse().ok()).expect("it is an address")
}

/// Transactions in blocks, by sender and nonce.
pub(crate) type ByNonce = BTreeMap<(Address, u64), Landed>;

/// The honest node.
pub(crate) struct Chain {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

impl Chain {
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.http.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    pub(crate) async fn head(&self) -> u64 {
        quantity(&self.call("eth_blockNumber", json!([])).await.unwrap()).unwrap()
    }

    pub(crate) async fn nonce(&self, wallet: Address, block: u64) -> u64 {
        quantity(&self.call("eth_getTransactionCount", json!([wallet, hex(block)])).await.unwrap()).unwrap()
    }

    pub(crate) async fn wei(&self, wallet: Address, block: u64) -> U256 {
        number(&self.call("eth_getBalance", json!([wallet, hex(block)])).await.unwrap())
    }

    /// Returns what a wallet has of a token.
    pub(crate) async fn tokens(&self, token: Address, wallet: Address, block: u64) -> U256 {
        let data = format!("0x70a08231{}", alloy_primitives::hex::encode(wallet.into_word()));
        number(&self.call("eth_call", json!([{ "to": token, "data": data }, hex(block)])).await.unwrap())
    }

    /// Returns all transactions of these wallets in the blocks after one, by sender and nonce.
    pub(crate) async fn landed(&self, wallets: &[Address], after: u64) -> ByNonce {
        let mut landed = BTreeMap::new();
        for block in after + 1..=self.head().await {
            let whole = self.call("eth_getBlockByNumber", json!([hex(block), true])).await.unwrap();
            let receipts = self.call("eth_getBlockReceipts", json!([hex(block)])).await.unwrap();
            let (txs, receipts) = (whole["transactions"].as_array().unwrap(), receipts.as_array().unwrap());
            assert_eq!(txs.len(), receipts.len());
            for (tx, receipt) in txs.iter().zip(receipts) {
                assert_eq!(tx["hash"], receipt["transactionHash"]);
                let tx = one(block, tx, receipt);
                if wallets.contains(&tx.from) {
                    let before = landed.insert((tx.from, tx.nonce), tx);
                    assert!(before.is_none(), "a nonce was used twice: {before:?}");
                }
            }
        }
        landed
    }
}

fn one(block: u64, tx: &Value, receipt: &Value) -> Landed {
    Landed {
        hash: tx["hash"].as_str().unwrap().parse().unwrap(),
        from: address(&tx["from"]),
        nonce: quantity(&tx["nonce"]).unwrap(),
        block,
        input: tx["input"].as_str().unwrap().parse().unwrap(),
        has_succeeded: receipt["status"] == "0x1",
        fee: number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"]),
        logs: receipt["logs"].as_array().unwrap().clone(),
    }
}

fn number(value: &Value) -> U256 {
    value.as_str().and_then(|text| text.parse().ok()).expect("it is a number")
}
