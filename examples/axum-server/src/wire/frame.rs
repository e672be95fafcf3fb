//! The frames of the live stream. One pure function makes each from one event.

use chrono::{DateTime, Utc};
use order_engine_core::{
    Amount, EventRecord, Failure, FailureClass, FeedCursor, Fill, OrderEvent, OrderId, Purpose, SignedTx,
    Status, TxId, amount,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::wire::error::ErrorBody;
use crate::wire::quotes::{Decimals, QuoteBody, RouteBody, price_number, quotes};
use crate::wire::schema;
use crate::wire::{serialize_time, timestamp};

/// An event as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Frame<'a> {
    r#type: &'static str,
    status: Status,
    order_id: OrderId,
    seq: u64,
    progress: u8,
    message: String,
    #[serde(serialize_with = "serialize_time")]
    timestamp: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(flatten)]
    adds: Adds<'a>,
}

/// The schema of a [`Frame`]: the fields of all types.
#[derive(ToSchema)]
#[schema(as = Event, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is the form of another type, and never made")]
pub(crate) struct FrameSchema<'a> {
    /// What happened: `pending`, `routing`, `building`, `submitted`, `execution-failed`, `retry-pending`, `cancel-requested`,
    /// `attention`, `attention-cleared`, `confirmed`, `failed`; there may be others in future.
    r#type: String,
    #[schema(schema_with = schema::status)]
    status: Status,
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    /// The number of the event among the order's, from 1 on.
    #[schema(minimum = 1)]
    seq: u64,
    /// How far the attempt is, in percent.
    #[schema(maximum = 100)]
    progress: u8,
    /// One sentence for people.
    message: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: String,
    attempt: Option<u32>,
    max_attempts: Option<u32>,
    quotes: Option<Vec<QuoteBody<'a>>>,
    chosen_dex: Option<String>,
    route: Option<RouteBody<'a>>,
    tx_hash: Option<String>,
    /// The least output, in units of the output token.
    min_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units, required = false)]
    min_out_base_units: Option<String>,
    error: Option<FrameErrorSchema>,
    retry_in_ms: Option<u64>,
    #[schema(format = DateTime)]
    retry_at: Option<String>,
    execution_price: Option<f64>,
    execution_price_exact: Option<String>,
    amount_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units, required = false)]
    amount_out_base_units: Option<String>,
    #[schema(format = DateTime)]
    filled_at: Option<String>,
}

/// The error of a frame.
#[derive(ToSchema)]
#[schema(as = EventError)]
#[expect(dead_code, reason = "it is the form of other types, and never made")]
struct FrameErrorSchema {
    code: String,
    message: String,
    /// Whether the engine tries again.
    retryable: Option<bool>,
}

/// The fields that only some types of frames have.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Adds<'a> {
    Nothing {},
    Routed { quotes: Vec<QuoteBody<'a>>, chosen_dex: &'a str, route: RouteBody<'a> },
    Signed { tx_hash: &'a TxId, min_out: String, min_out_base_units: Amount },
    AttemptFailed { error: RetryableErrorBody },
    RetryPending { retry_in_ms: u64, retry_at: String },
    Confirmed(ConfirmedBody<'a>),
    Failed { error: ErrorBody },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfirmedBody<'a> {
    tx_hash: &'a TxId,
    execution_price: Option<Box<RawValue>>,
    execution_price_exact: Option<String>,
    amount_out: String,
    amount_out_base_units: Amount,
    #[serde(serialize_with = "serialize_time")]
    filled_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct RetryableErrorBody {
    #[serde(flatten)]
    error: ErrorBody,
    retryable: bool,
}

/// A frame among those of many orders, with the place behind it.
#[derive(Debug, Serialize)]
pub(crate) struct PlacedFrame<'a> {
    #[serde(flatten)]
    pub(crate) frame: Frame<'a>,
    pub(crate) cursor: String,
}

/// Returns the frame for an event of an order.
pub(crate) fn frame(decimals: Decimals, record: &EventRecord) -> Frame<'_> {
    let has_begun = record.attempt > 0;
    Frame {
        r#type: frame_type(record),
        status: record.status,
        order_id: record.order_id,
        seq: record.seq,
        progress: record.progress,
        message: record.message(),
        timestamp: record.at,
        attempt: has_begun.then_some(record.attempt),
        max_attempts: has_begun.then_some(record.max_attempts),
        adds: adds(decimals, record),
    }
}

/// Returns the type of an event's frame.
pub(crate) fn frame_type(record: &EventRecord) -> &'static str {
    match &record.event {
        OrderEvent::Accepted { .. } => "pending",
        OrderEvent::RoutingStarted { .. } | OrderEvent::RouteChosen { .. } => "routing",
        OrderEvent::BuildStarted
        | OrderEvent::BuildRestarted { .. }
        | OrderEvent::TransactionSigned { .. } => "building",
        OrderEvent::SubmissionStarted
        | OrderEvent::SubmissionAccepted
        | OrderEvent::SiblingSigned { .. }
        | OrderEvent::NonceFilled { .. }
        | OrderEvent::InclusionObserved { .. }
        | OrderEvent::InclusionUndone => "submitted",
        OrderEvent::AttemptFailed { .. }
        | OrderEvent::TransactionDied { .. }
        | OrderEvent::Suspected { .. } => "execution-failed",
        OrderEvent::RetryScheduled { .. } | OrderEvent::Deferred { .. } | OrderEvent::PriceTooLow { .. } => {
            "retry-pending"
        }
        OrderEvent::CancelRequested => "cancel-requested",
        OrderEvent::Quarantined { .. } | OrderEvent::OutcomeUnknown { .. } => "attention",
        OrderEvent::QuarantineLifted | OrderEvent::OutcomeResolved { .. } => "attention-cleared",
        OrderEvent::Confirmed { .. } => "confirmed",
        OrderEvent::Failed { .. } => "failed",
        // An event without a frame of its own shows clients the status that it led to.
        _ => record.status.as_str(),
    }
}

fn adds(decimals: Decimals, record: &EventRecord) -> Adds<'_> {
    match &record.event {
        OrderEvent::RouteChosen { route, candidates, .. } => Adds::Routed {
            quotes: quotes(candidates, decimals),
            chosen_dex: &route.dex,
            route: RouteBody::new(route, decimals),
        },
        OrderEvent::TransactionSigned { tx }
        | OrderEvent::SiblingSigned { purpose: Purpose::FeeBump, tx } => signed(tx, decimals),
        OrderEvent::AttemptFailed { failure, class } | OrderEvent::TransactionDied { failure, class, .. } => {
            Adds::AttemptFailed { error: retryable(failure, *class) }
        }
        OrderEvent::Suspected { failure, .. } => {
            Adds::AttemptFailed { error: retryable(failure, FailureClass::Transient) }
        }
        OrderEvent::RetryScheduled { retry_at, retry_in }
        | OrderEvent::Deferred { retry_at, retry_in, .. }
        | OrderEvent::PriceTooLow { retry_at, retry_in, .. } => {
            let retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
            Adds::RetryPending { retry_in_ms, retry_at: timestamp(*retry_at) }
        }
        OrderEvent::Confirmed { tx_id, fill } => Adds::Confirmed(confirmed(decimals, tx_id, fill, record.at)),
        OrderEvent::Failed { failure } | OrderEvent::Quarantined { failure } => {
            Adds::Failed { error: ErrorBody::new(failure) }
        }
        _ => Adds::Nothing {},
    }
}

fn signed(tx: &SignedTx, decimals: Decimals) -> Adds<'_> {
    Adds::Signed {
        tx_hash: &tx.id,
        min_out: tx.min_amount_out.to_human(decimals.output),
        min_out_base_units: tx.min_amount_out,
    }
}

fn retryable(failure: &Failure, class: FailureClass) -> RetryableErrorBody {
    RetryableErrorBody { error: ErrorBody::new(failure), retryable: class.is_retryable() }
}

fn confirmed<'a>(
    decimals: Decimals,
    tx_id: &'a TxId,
    fill: &Fill,
    filled_at: DateTime<Utc>,
) -> ConfirmedBody<'a> {
    let price = amount::price((fill.amount_in, decimals.input), (fill.amount_out, decimals.output));
    ConfirmedBody {
        tx_hash: tx_id,
        execution_price: price.as_deref().and_then(price_number),
        execution_price_exact: price,
        amount_out: fill.amount_out.to_human(decimals.output),
        amount_out_base_units: fill.amount_out,
        filled_at,
    }
}

/// A frame about the connection, not about an event.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum ControlFrame {
    /// The first frame of a stream.
    Connection {
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
        timestamp: String,
    },
    /// The second frame of a stream: where it begins.
    Subscribed {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_seq: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// An event that this server cannot decode, most likely because a newer one wrote it.
    Unreadable { message: &'static str, order_id: OrderId, cursor: String, timestamp: String },
    /// Why the stream ends.
    Error { code: &'static str, message: &'static str, timestamp: String },
    /// A message of the operator to all clients.
    Notice { message: String, timestamp: String },
}

impl ControlFrame {
    /// Returns the two frames that begin a stream.
    pub(crate) fn opening(order_id: OrderId, last_seq: u64, now: DateTime<Utc>) -> [Self; 2] {
        let timestamp = timestamp(now);
        [
            Self::Connection {
                message: "Connected to order status stream",
                order_id: Some(order_id),
                timestamp: timestamp.clone(),
            },
            Self::Subscribed {
                message: format!("Subscribed to real-time updates for order {order_id}"),
                order_id: Some(order_id),
                timestamp,
                last_seq: Some(last_seq),
                cursor: None,
            },
        ]
    }

    /// Returns the two frames that begin a stream of many orders behind a place.
    pub(crate) fn opening_of_all(after: FeedCursor, now: DateTime<Utc>) -> [Self; 2] {
        let timestamp = timestamp(now);
        let message = "Connected to the stream of orders";
        let subscribed = Self::Subscribed {
            message: "Subscribed to real-time updates for all orders".to_owned(),
            order_id: None,
            timestamp: timestamp.clone(),
            last_seq: None,
            cursor: Some(after.to_string()),
        };
        [Self::Connection { message, order_id: None, timestamp }, subscribed]
    }

    pub(crate) fn unreadable(order_id: OrderId, cursor: FeedCursor, now: DateTime<Utc>) -> Self {
        let message = "The event cannot be read. The server's log says why.";
        Self::Unreadable { message, order_id, cursor: cursor.to_string(), timestamp: timestamp(now) }
    }

    pub(crate) fn error(code: &'static str, message: &'static str, now: DateTime<Utc>) -> Self {
        Self::Error { code, message, timestamp: timestamp(now) }
    }

    pub(crate) fn notice(message: impl Into<String>, now: DateTime<Utc>) -> Self {
        Self::Notice { message: message.into(), timestamp: timestamp(now) }
    }
}

/// Returns a frame as JSON.
pub(crate) fn to_json(frame: &impl Serialize) -> String {
    // Most frames fit, so that the buffer grows for few.
    let mut json = Vec::with_capacity(512);
    // Neither can fail: frames have text and numbers under text keys.
    let written = serde_json::to_writer(&mut json, frame).map(|()| String::from_utf8(json));
    written.ok().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
