//! The body of a request. It has only what a receiver may know: no signed bytes, no routes.

use chrono::{DateTime, Utc};
use order_engine_core::{Amount, EventRecord, Failure, Fill, OrderEvent, OrderId, OrderUpdate, Status, TxId};
use serde::{Deserialize, Serialize};

/// Events of one order, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookBody {
    /// The order.
    pub order_id: OrderId,
    /// The events. `(orderId, seq)` identifies an event for ever.
    pub events: Vec<WebhookEvent>,
}

/// An event of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEvent {
    /// The number of the event: an order's events are numbered from 1 without a gap.
    pub seq: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The kind of the event: `accepted`, `routing_started`, `confirmed`, `failed`, …
    pub kind: String,
    /// The order's status after the event.
    pub status: Status,
    /// The progress of the attempt, 0..=100.
    pub progress: u8,
    /// The number of the attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// One sentence for people.
    pub message: String,
    /// The transaction that was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_hash: Option<TxId>,
    /// The amounts that were executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<WebhookFill>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WebhookError>,
}

/// The amounts that were executed, in base units as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookFill {
    /// How much of the input token was taken.
    pub amount_in: Amount,
    /// How much of the output token was paid.
    pub amount_out: Amount,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookError {
    /// A stable code.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

impl WebhookBody {
    /// Returns the body for events of one order, or `None` if there are no events.
    pub fn new(updates: &[OrderUpdate]) -> Option<Self> {
        let order_id = updates.first()?.order.id;
        let events = updates.iter().map(|update| WebhookEvent::new(&update.event)).collect();
        Some(Self { order_id, events })
    }

    /// Returns the name of the message: the same events have the same one.
    pub(crate) fn message_id(&self) -> String {
        let seq = |event: Option<&WebhookEvent>| event.map_or(0, |event| event.seq);
        let (first, last) = (seq(self.events.first()), seq(self.events.last()));
        format!("msg_{}_{first}_{last}", self.order_id)
    }
}

impl WebhookEvent {
    fn new(record: &EventRecord) -> Self {
        let event = &record.event;
        Self {
            seq: record.seq,
            at: record.at,
            kind: event.kind().to_owned(),
            status: record.status,
            progress: record.progress,
            attempt: record.attempt,
            message: record.message(),
            tx_hash: match event {
                OrderEvent::TransactionSigned { tx } | OrderEvent::SiblingSigned { tx, .. } => {
                    Some(tx.id.clone())
                }
                OrderEvent::Confirmed { tx_id, .. } => Some(tx_id.clone()),
                _ => None,
            },
            fill: match event {
                OrderEvent::Confirmed { fill: Fill { amount_in, amount_out, .. }, .. } => {
                    Some(WebhookFill { amount_in: *amount_in, amount_out: *amount_out })
                }
                _ => None,
            },
            error: event.failure().map(|Failure { code, message, .. }| WebhookError {
                code: code.to_string(),
                message: message.clone(),
            }),
        }
    }
}
