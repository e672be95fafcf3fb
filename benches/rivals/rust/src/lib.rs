//! What the rivals share: the order, the exchanges, and the protocol by which they are loaded.
//!
//! `benches/README.md` has the protocol.

pub mod exchange;
pub mod hub;
pub mod server;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Any error of a rival.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An accepted order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// The client's wish.
    pub request: Request,
}

/// The body of a request for an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The token that is sold.
    pub token_in: String,
    /// The token that is bought.
    pub token_out: String,
    /// How much is sold, as a decimal number of whole tokens.
    pub amount: String,
}
