//! What the server answers. Amounts are decimal texts, in units of their token unless the name ends in `base_units`; times are texts
//! in RFC 3339.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// It is accepted, and durable.
    Pending,
    /// Quotes are asked for.
    Routing,
    /// Its transaction is built and signed.
    Building,
    /// Its transaction is sent, and may land.
    Submitted,
    /// It was executed, finally.
    Confirmed,
    /// It came to its end without being executed.
    Failed,
    /// A status that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// Returns the name that the interface uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Routing => "routing",
            Self::Building => "building",
            Self::Submitted => "submitted",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether nothing more happens to the order.
    ///
    /// ```
    /// use order_engine_client::Status;
    /// assert!(Status::Failed.is_terminal() && !Status::Submitted.is_terminal());
    /// ```
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An order that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Placed {
    /// Its id.
    pub order_id: String,
    /// Where it stands.
    pub status: Status,
    /// The WebSocket with its events.
    pub ws_url: String,
    /// When it was accepted.
    pub created_at: String,
    /// Its name, under which the same form places it once.
    #[serde(default)]
    pub client_order_id: String,
    /// Whether an earlier request had placed it.
    #[serde(default)]
    pub is_replay: bool,
    /// The answer, as the server sent it.
    #[serde(skip)]
    pub(crate) json: String,
}

impl Placed {
    /// Returns the answer as the server sent it.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// Its user.
    pub user_id: String,
    /// The name that the user gave it.
    pub client_order_id: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// What kind of order it is: `market`.
    pub order_type: String,
    /// What is sold.
    pub token_in: String,
    /// What is bought.
    pub token_out: String,
    /// How much is sold.
    pub amount: String,
    /// How much is sold.
    pub amount_base_units: String,
    /// How far below its first quote the output may be, in basis points.
    pub slippage_bps: u32,
    /// The least output; known from the first quote on.
    pub min_out: Option<String>,
    /// The exchange that was chosen.
    pub chosen_dex: Option<String>,
    /// The id of its transaction.
    pub tx_hash: Option<String>,
    /// The price at which it was executed.
    pub execution_price_exact: Option<String>,
    /// What was bought.
    pub amount_out: Option<String>,
    /// What was bought.
    pub amount_out_base_units: Option<String>,
    /// Which attempt it is at, from 1 on; 0 before the first.
    pub attempt: u32,
    /// How many attempts it has.
    pub max_attempts: u32,
    /// Why it needs an operator, if it does.
    pub attention: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<OrderFailure>,
    /// The messages of its events; an order of a list has none.
    #[serde(default)]
    pub logs: Option<Vec<String>>,
    /// The number of its last event.
    pub last_seq: u64,
    /// When it was accepted.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// When it is given up.
    pub expires_at: Option<String>,
}

/// Why an order failed, or an exchange has no quote.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OrderFailure {
    /// A stable code, such as `slippage`, `expired` or `cancelled`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// An order of a list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum ListedOrder {
    /// An order.
    Order(Box<Order>),
    /// An order that this server cannot read, most likely because a newer one wrote it.
    Unreadable {
        /// Its id.
        order_id: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A page of orders.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<ListedOrder>,
    /// Where the next page begins; the last page has none.
    pub next_cursor: Option<String>,
}

/// What came of a cancel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Cancellation {
    /// The order.
    pub order_id: String,
    /// `cancelled`, or `pending` while the transaction may still land.
    pub cancel: String,
    /// Where the order stands.
    pub status: Status,
    /// The number of its last event.
    pub last_seq: u64,
}

/// What routing would do now.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Quote {
    /// What would be sold.
    pub token_in: String,
    /// What would be bought.
    pub token_out: String,
    /// How much would be sold.
    pub amount: String,
    /// How much would be bought, if there is a route.
    pub amount_out: Option<String>,
    /// How much would be bought at least.
    pub min_out: Option<String>,
    /// The exchange that would be chosen.
    pub chosen_dex: Option<String>,
    /// The route.
    pub route: Option<Route>,
    /// What each exchange says.
    pub quotes: Vec<Candidate>,
    /// By which an order has this least output.
    pub quote_id: Option<String>,
    /// Until when it may.
    pub expires_at: Option<String>,
}

/// A route from one token to another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Route {
    /// The exchange, or the exchanges.
    pub dex: String,
    /// What it buys.
    pub amount_out: String,
    /// What it buys.
    pub amount_out_base_units: String,
    /// Its trades, in their order.
    #[serde(default)]
    pub legs: Vec<Leg>,
    /// How far the output stays below what the mid price promises, in basis points.
    pub price_impact_bps: Option<u32>,
}

/// One trade of a route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Leg {
    /// The exchange.
    pub dex: String,
    /// The pool.
    pub pool: String,
    /// What it takes.
    pub input_mint: String,
    /// What it gives.
    pub output_mint: String,
    /// How much it takes.
    pub amount_in_base_units: String,
    /// How much it gives.
    pub amount_out_base_units: String,
}

/// What one exchange says to a quote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Candidate {
    /// The exchange.
    pub dex: String,
    /// What it would give, unless it has no quote.
    pub amount_out: Option<String>,
    /// What it would give.
    pub amount_out_base_units: Option<String>,
    /// How far that stays below what the mid price promises, in basis points.
    pub price_impact_bps: Option<u32>,
    /// Why it has no quote.
    pub error: Option<OrderFailure>,
}

/// A pair that may be traded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Pair {
    /// What may be sold.
    pub token_in: String,
    /// For what.
    pub token_out: String,
    /// About the least amount that buys anything.
    pub least: Option<String>,
    /// About the greatest amount within the server's limit of the price impact.
    pub greatest: Option<String>,
}

/// A token that may be traded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Token {
    /// What people call it.
    pub symbol: String,
    /// What the chain calls it.
    pub mint: String,
    /// How many digits its units have behind the point.
    pub decimals: u8,
}

/// The chain on which the server trades.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Whether it is a simulation, on which nothing has a value.
    pub is_simulated: bool,
    /// The URL of a transaction at an explorer, with `{tx}` in the place of its id.
    pub explorer: Option<String>,
}

/// The server's clock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Time {
    /// The time.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub unix_ms: u64,
}
