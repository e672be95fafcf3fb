//! What a chain of the EVM has of orders and a wallet, read by calls of the test's own.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, U256};
use order_engine_core::{Order, Status};
use order_engine_evm_market::abi::Token;
use order_engine_evm_market::market::Market;
use serde_json::{Value, json};

/// What the chain had before trading began.
pub(crate) struct Audit {
    height: u64,
    nonce: u64,
    /// ETH in wei, and the other tokens in base units.
    balances: [u128; 3],
}

/// What a transaction of the wallet did.
struct Sent {
    nonce: u64,
    /// The last 16 bytes of its calldata.
    tag: Vec<u8>,
    /// Whether it is a call of the router that succeeded and traded.
    is_execution: bool,
    fee: u128,
}

impl Audit {
    /// Notes what the wallet has, before a server is started.
    pub(crate) async fn begin(market: &Market) -> Self {
        let params = json!([market.wallet(), "latest"]);
        let nonce = number(&market.chain.call("eth_getTransactionCount", params).await.unwrap());
        Self { height: market.chain.height().await, nonce, balances: balances(market).await }
    }

    /// Asserts that the chain and the wallet have what the orders say.
    pub(crate) async fn compare(self, market: &Market, orders: &[Order]) -> String {
        let (mut confirmed, mut failed, mut dexes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut balances_due = self.balances.map(|balance| i128::try_from(balance).unwrap());
        for order in orders {
            if order.status() == Status::Failed {
                let failure = order.state.failure().expect("it has failed");
                *failed.entry(failure.code.as_str().to_owned()).or_insert(0) += 1;
                continue;
            }
            let fill = order.state.fill().expect("it is filled");
            let place =
                |mint: &str| market.tokens().iter().position(|token| token.to_string() == mint).unwrap();
            let (sold, bought) = (place(&order.request.input.mint), place(&order.request.output.mint));
            balances_due[sold] -= i128::try_from(fill.amount_in.base_units()).unwrap();
            balances_due[bought] += i128::try_from(fill.amount_out.base_units()).unwrap();
            assert!(Some(fill.amount_out) >= order.worst_price(), "{}", order.id);
            confirmed.insert(order.id.as_uuid().as_bytes().to_vec(), 1);
            *dexes.entry(order.state.chosen_dex().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        let sent = self.sent(market).await;
        let mut executions = BTreeMap::new();
        for sent in sent.iter().filter(|sent| sent.is_execution) {
            *executions.entry(sent.tag.clone()).or_insert(0) += 1;
        }
        assert_eq!(executions, confirmed, "the confirmed orders, and no others, took effect once each");
        let nonces: Vec<u64> = sent.iter().map(|sent| sent.nonce).collect();
        let gapless: Vec<u64> = (self.nonce..).take(nonces.len()).collect();
        assert_eq!(nonces, gapless, "the wallet's nonces have no gap");
        let fees: u128 = sent.iter().map(|sent| sent.fee).sum();
        balances_due[0] -= i128::try_from(fees).unwrap();
        let has = balances(market).await.map(|balance| i128::try_from(balance).unwrap());
        assert_eq!(has, balances_due, "the wallet has what the events say, to the wei");
        // Prices move, for all orders trade with the same pools; nothing else goes wrong.
        let is_price = |code: &String| ["slippage", "retries-exhausted"].contains(&code.as_str());
        assert!(failed.keys().all(is_price), "{failed:?}");
        let others = nonces.len() - confirmed.len();
        format!(
            "{} confirmed {dexes:?}, {others} other transactions, balances equal to the wei; failed: {failed:?}",
            confirmed.len()
        )
    }

    /// Returns the wallet's transactions in the blocks since then, in their order.
    async fn sent(&self, market: &Market) -> Vec<Sent> {
        let mut all = Vec::new();
        for height in self.height + 1..=market.chain.height().await {
            let params = json!([format!("{height:#x}"), true]);
            let block = market.chain.call("eth_getBlockByNumber", params).await.unwrap();
            for tx in block["transactions"].as_array().unwrap() {
                if address(&tx["from"]) == market.wallet() {
                    all.push(sent(market, tx).await);
                }
            }
        }
        all
    }
}

async fn sent(market: &Market, tx: &Value) -> Sent {
    let receipt = market.chain.call("eth_getTransactionReceipt", json!([tx["hash"]])).await.unwrap();
    let input: Bytes = serde_json::from_value(tx["input"].clone()).unwrap();
    let has_logs = receipt["logs"].as_array().is_some_and(|logs| !logs.is_empty());
    Sent {
        nonce: number(&tx["nonce"]),
        tag: input[input.len().saturating_sub(16)..].to_vec(),
        is_execution: address(&tx["to"]) == market.contracts.router && receipt["status"] == "0x1" && has_logs,
        fee: u128::from(number(&receipt["gasUsed"])) * u128::from(number(&receipt["effectiveGasPrice"])),
    }
}

/// Returns what the wallet has: ETH, and the other tokens.
async fn balances(market: &Market) -> [u128; 3] {
    let owner = market.wallet();
    let [_, apple, pear] = market.tokens();
    let token = async |token: Address| {
        let balance: U256 = market.chain.read(token, &Token::balanceOfCall { owner }).await;
        balance.to::<u128>()
    };
    [market.chain.wei(owner).await, token(apple).await, token(pear).await]
}

fn address(value: &Value) -> Address {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(&value.as_str().expect("it is a number")[2..], 16).unwrap()
}
