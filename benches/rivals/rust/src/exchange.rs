//! The mocked exchanges, which answer at once.

// They stand for calls over a network.
#![allow(clippy::unused_async)]

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::Request;

/// The price that an exchange offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quote {
    /// The exchange.
    pub venue: String,
    /// The bought tokens for each sold one, after the exchange's fee.
    pub price: f64,
}

/// A transaction that is ready to be submitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// The exchange.
    pub venue: String,
    /// The sold amount.
    pub amount: String,
    /// A recent block, which bounds the life of the transaction.
    pub blockhash: String,
}

/// Returns the price on Raydium.
pub async fn raydium(_: &Request) -> Quote {
    Quote { venue: "raydium".to_owned(), price: 150.0 * (1.0 - 0.0025) }
}

/// Returns the price on Meteora.
pub async fn meteora(_: &Request) -> Quote {
    Quote { venue: "meteora".to_owned(), price: 150.3 * (1.0 - 0.002) }
}

/// Returns the better of two prices.
pub fn best(left: Quote, right: Quote) -> Quote {
    if right.price > left.price { right } else { left }
}

/// Builds a transaction.
pub async fn build(request: &Request, quote: &Quote) -> Transaction {
    Transaction { venue: quote.venue.clone(), amount: request.amount.clone(), blockhash: random() }
}

/// Submits a transaction, and returns its signature.
pub async fn submit(_: &Transaction) -> String {
    random()
}

/// Waits until a transaction is confirmed.
pub async fn confirm(_: &str) {}

fn random() -> String {
    let mut random = rand::rng();
    format!("{:032x}{:032x}", random.random::<u128>(), random.random::<u128>())
}
