//! The events of orders.

use serde::Deserialize;

use crate::answers::{Candidate, Route, Status};
use crate::error::Error;

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Where the order stands.
    pub status: Status,
    /// The order.
    pub order_id: String,
    /// The number of the event among the order's, from 1 on.
    pub seq: u64,
    /// How far the attempt is, in percent.
    pub progress: u8,
    /// One sentence for people.
    pub message: String,
    /// When it happened.
    pub timestamp: String,
    /// Which attempt it is of.
    pub attempt: Option<u32>,
    /// How many attempts the order has.
    pub max_attempts: Option<u32>,
    /// What each exchange said.
    #[serde(default)]
    pub quotes: Vec<Candidate>,
    /// The exchange that was chosen.
    pub chosen_dex: Option<String>,
    /// The route that was chosen.
    pub route: Option<Route>,
    /// The id of the transaction.
    pub tx_hash: Option<String>,
    /// The least output.
    pub min_out: Option<String>,
    /// What went wrong.
    pub error: Option<EventError>,
    /// How long the order waits for its next attempt, in milliseconds.
    pub retry_in_ms: Option<u64>,
    /// When the next attempt begins.
    pub retry_at: Option<String>,
    /// The price at which the order was executed.
    pub execution_price_exact: Option<String>,
    /// What was bought.
    pub amount_out: Option<String>,
    /// What was bought, in base units.
    pub amount_out_base_units: Option<String>,
    /// When the order was executed.
    pub filled_at: Option<String>,
    /// Its place in the stream of all orders; there only.
    pub cursor: Option<String>,
    #[serde(skip)]
    json: String,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The order was accepted.
    Pending,
    /// Quotes are asked for, or a route was chosen.
    Routing,
    /// The transaction is built, or signed.
    Building,
    /// The transaction is sent, or seen on the chain.
    Submitted,
    /// An attempt failed.
    ExecutionFailed,
    /// The order waits for its next attempt.
    RetryPending,
    /// The user wants it cancelled.
    CancelRequested,
    /// It needs an operator.
    Attention,
    /// It needs the operator no more.
    AttentionCleared,
    /// It was executed, finally.
    Confirmed,
    /// It came to its end without being executed.
    Failed,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct EventError {
    /// A stable code.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// Whether the engine tries again.
    pub retryable: Option<bool>,
}

/// Events of an order, by their numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// The number of the order's last event: greater than that of the last one here if there are more.
    pub last_seq: u64,
}

impl Event {
    /// Reads an event, and keeps its text.
    pub(crate) fn read(json: String) -> Result<Self, Error> {
        let event: Self =
            serde_json::from_str(&json).map_err(|error| Error::Unexpected(error.to_string()))?;
        Ok(Self { json, ..event })
    }

    /// Returns the event as the server sent it. An event of an [`EventPage`] has no text of its own.
    pub fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_later_version_is_read() {
        let json = r#"{"type":"dancing","status":"upside-down","orderId":"x","seq":7,"progress":3,"message":"","timestamp":"","new":[]}"#;
        let event = Event::read(json.to_owned()).unwrap();
        assert_eq!((event.kind, event.status, event.seq), (EventKind::Other, Status::Unknown, 7));
        assert_eq!(event.json(), json);
    }
}
