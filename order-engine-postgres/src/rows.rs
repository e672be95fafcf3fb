//! Between core's types and rows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::codec::{self, PAYLOAD_VERSION};
use order_engine_core::{
    Append, Attention, ClientOrderId, DecodeError, DeliveryAck, DeliveryOutcome, EventRecord, Fence, Guard,
    ItemRejected, Lane, Lease, NewOrder, Order, OrderId, Release, ReleaseReason, Status, Then,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Error;
use crate::statement::list;

/// The attention that an order needs which cannot be read; any other stands in its state.
const UNREADABLE: &str = "unreadable";

/// The longest wait, in microseconds: three hundred years. PostgreSQL's calendar ends.
const ENDLESS_US: i64 = 9_467_280_000_000_000;

/// PostgreSQL's integers are signed.
pub(crate) fn integer(value: u64) -> Result<i64, ItemRejected> {
    i64::try_from(value).map_err(|_| ItemRejected { message: format!("{value} does not fit into 63 bits") })
}

/// An epoch as it stands in a row. One beyond 63 bits was never given to anybody; it becomes one
/// that is in no row either.
fn epoch_integer(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(-1)
}

fn unsigned(value: i64, what: &str) -> Result<u64, DecodeError> {
    u64::try_from(value).map_err(|_| DecodeError { message: format!("{what} is negative: {value}") })
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(ENDLESS_US).min(ENDLESS_US)
}

/// A text for people to read. PostgreSQL's texts cannot hold the NUL character; in the payload, which
/// is what the engine reads, it is escaped.
fn readable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// A text that is compared, and must stay as it is.
fn exact(text: &str) -> Result<&str, ItemRejected> {
    if text.contains('\0') {
        return Err(ItemRejected { message: "an id contains a NUL character".to_owned() });
    }
    Ok(text)
}

list! {
    /// The columns of an order that its events change.
    StateRow<'a> {
        status: &'static str = "text[]",
        attempt: i64 = "bigint[]",
        max_attempts: i64 = "bigint[]",
        chosen_dex: Option<Cow<'a, str>> = "text[]",
        tx_hash: Option<Cow<'a, str>> = "text[]",
        execution_price: Option<String> = "text[]::numeric[]",
        amount_out: Option<String> = "text[]::numeric[]",
        error_code: Option<Cow<'a, str>> = "text[]",
        error_message: Option<Cow<'a, str>> = "text[]",
        attention: Option<&'static str> = "text[]",
        updated_at: DateTime<Utc> = "timestamptz[]",
        seq: i64 = "bigint[]",
        state_version: i64 = "bigint[]",
        state: String = "text[]",
        lane: Option<&'static str> = "text[]",
    }
}

impl<'a> StateRow<'a> {
    fn new(order: &'a Order) -> Result<Self, ItemRejected> {
        let state = &order.state;
        let failure = state.failure().filter(|_| state.status() == Status::Failed);
        Ok(Self {
            status: state.status().as_str(),
            attempt: i64::from(state.attempt()),
            max_attempts: i64::from(state.max_attempts()),
            chosen_dex: state.chosen_dex().map(readable),
            tx_hash: state.tx_id().map(|id| readable(id.as_str())),
            execution_price: order.execution_price(),
            amount_out: state.fill().map(|fill| fill.amount_out.to_string()),
            error_code: failure.map(|failure| readable(failure.code.as_str())),
            error_message: failure.map(|failure| readable(&failure.message)),
            attention: state.attention().map(Attention::as_str),
            updated_at: order.updated_at,
            seq: integer(order.seq)?,
            state_version: i64::from(PAYLOAD_VERSION),
            state: codec::encode(state)?,
            lane: state.lane().map(Lane::as_str),
        })
    }
}

list! {
    /// The columns of an order that stay as they are.
    RequestRow<'a> {
        order_id: Uuid = "uuid[]",
        user_id: &'a str = "text[]",
        client_order_id: Option<&'a str> = "text[]",
        origin: Option<Uuid> = "uuid[]",
        order_type: &'static str = "text[]",
        input_token: Cow<'a, str> = "text[]",
        input_symbol: Cow<'a, str> = "text[]",
        input_decimals: i16 = "smallint[]",
        output_token: Cow<'a, str> = "text[]",
        output_symbol: Cow<'a, str> = "text[]",
        output_decimals: i16 = "smallint[]",
        amount: String = "text[]::numeric[]",
        slippage_bps: i32 = "integer[]",
        expires_at: Option<DateTime<Utc>> = "timestamptz[]",
        created_at: DateTime<Utc> = "timestamptz[]",
        request_version: i64 = "bigint[]",
        request: String = "text[]",
    }
}

impl<'a> RequestRow<'a> {
    fn new(order: &'a Order) -> Result<Self, ItemRejected> {
        let request = &order.request;
        let client_order_id = request.client_order_id.as_ref().map(ClientOrderId::as_str);
        Ok(Self {
            order_id: *order.id.as_uuid(),
            user_id: exact(request.user_id.as_str())?,
            client_order_id: client_order_id.map(exact).transpose()?,
            origin: order.origin.map(|id| *id.as_uuid()),
            order_type: "market",
            input_token: readable(&request.input.mint),
            input_symbol: readable(&request.input.symbol),
            input_decimals: i16::from(request.input.decimals),
            output_token: readable(&request.output.mint),
            output_symbol: readable(&request.output.symbol),
            output_decimals: i16::from(request.output.decimals),
            amount: request.amount.to_string(),
            slippage_bps: i32::from(request.slippage_bps),
            expires_at: order.expires_at(),
            created_at: order.created_at,
            request_version: i64::from(PAYLOAD_VERSION),
            request: codec::encode(request)?,
        })
    }
}

list! {
    /// A row of `order_events`, and of `order_failures` where it tells of a failure.
    EventRow<'a> {
        order_id: Uuid = "uuid[]",
        seq: i64 = "bigint[]",
        at: DateTime<Utc> = "timestamptz[]",
        kind: &'static str = "text[]",
        status: &'static str = "text[]",
        progress: i16 = "smallint[]",
        attempt: i64 = "bigint[]",
        max_attempts: i64 = "bigint[]",
        message: String = "text[]",
        payload_version: i64 = "bigint[]",
        payload: String = "text[]",
        failure_code: Option<Cow<'a, str>> = "text[]",
        failure_message: Option<Cow<'a, str>> = "text[]",
    }
}

impl<'a> EventRow<'a> {
    fn new(record: &'a EventRecord) -> Result<Self, ItemRejected> {
        let failure = record.event.failure();
        Ok(Self {
            order_id: *record.order_id.as_uuid(),
            seq: integer(record.seq)?,
            at: record.at,
            kind: record.event.kind(),
            status: record.status.as_str(),
            progress: i16::from(record.progress),
            attempt: i64::from(record.attempt),
            max_attempts: i64::from(record.max_attempts),
            message: readable(&record.message()).into_owned(),
            payload_version: i64::from(PAYLOAD_VERSION),
            payload: codec::encode(&record.event)?,
            failure_code: failure.map(|failure| readable(failure.code.as_str())),
            failure_message: failure.map(|failure| readable(&failure.message)),
        })
    }
}

list! {
    /// What an append asks of an order's row.
    GuardRow {
        order_id: Uuid = "uuid[]",
        expected_seq: i64 = "bigint[]",
        epoch: Option<i64> = "bigint[]",
        owner: Option<Uuid> = "uuid[]",
        revokes: bool = "boolean[]",
        release_us: Option<i64> = "bigint[]",
        not_after: Option<DateTime<Utc>> = "timestamptz[]",
    }
}

impl GuardRow {
    fn new(append: &Append) -> Result<Self, ItemRejected> {
        let fence = match append.guard {
            Guard::Fence(fence) => Some(fence),
            Guard::Revision { .. } => None,
        };
        Ok(Self {
            order_id: *append.order.id.as_uuid(),
            expected_seq: integer(append.expected_seq)?,
            epoch: fence.map(|fence| epoch_integer(fence.epoch)),
            owner: fence.map(|fence| owner_uuid(fence.owner)),
            revokes: append.guard == (Guard::Revision { revoke: true }),
            release_us: match append.then {
                Then::Keep => None,
                Then::Release { due_in } => Some(micros(due_in)),
            },
            not_after: append.not_after,
        })
    }

    /// Whether a row with this lease may be written under the guard.
    pub(crate) fn admits(&self, epoch: i64, owner: Option<Uuid>) -> bool {
        self.epoch.is_none_or(|expected| expected == epoch && self.owner == owner)
    }
}

/// A new order, ready to be written.
#[derive(Debug)]
pub(crate) struct NewRow<'a> {
    pub(crate) order: &'a Arc<Order>,
    pub(crate) request: RequestRow<'a>,
    pub(crate) state: StateRow<'a>,
    pub(crate) event: EventRow<'a>,
}

impl<'a> NewRow<'a> {
    pub(crate) fn new(new: &'a NewOrder) -> Result<Self, ItemRejected> {
        new.check()?;
        Ok(Self {
            order: &new.order,
            request: RequestRow::new(&new.order)?,
            state: StateRow::new(&new.order)?,
            event: EventRow::new(&new.event)?,
        })
    }
}

/// An append, ready to be written.
#[derive(Debug)]
pub(crate) struct AppendRow<'a> {
    pub(crate) guard: GuardRow,
    pub(crate) state: StateRow<'a>,
    pub(crate) events: Vec<EventRow<'a>>,
}

impl<'a> AppendRow<'a> {
    pub(crate) fn new(append: &'a Append) -> Result<Self, ItemRejected> {
        append.check()?;
        Ok(Self {
            guard: GuardRow::new(append)?,
            state: StateRow::new(&append.order)?,
            events: append.events.iter().map(|event| EventRow::new(event)).collect::<Result<_, _>>()?,
        })
    }
}

list! {
    /// A lease to prolong.
    LeaseRow {
        order_id: Uuid = "uuid[]",
        epoch: i64 = "bigint[]",
        owner: Uuid = "uuid[]",
    }
}

impl From<&Lease> for LeaseRow {
    fn from(Lease { order_id, fence }: &Lease) -> Self {
        Self {
            order_id: *order_id.as_uuid(),
            epoch: epoch_integer(fence.epoch),
            owner: owner_uuid(fence.owner),
        }
    }
}

list! {
    /// What becomes of an order whose lease is given back.
    ReleaseRow {
        due_us: i64 = "bigint[]",
        innocent: i64 = "bigint[]",
        attention: Option<&'static str> = "text[]",
    }
}

impl From<&Release> for ReleaseRow {
    fn from(Release { due_in, reason, .. }: &Release) -> Self {
        Self {
            due_us: micros(*due_in),
            innocent: i64::from(*reason == ReleaseReason::Yielded),
            attention: (*reason == ReleaseReason::Undecodable).then_some(UNREADABLE),
        }
    }
}

list! {
    /// What became of a delivery.
    DeliveryAckRow<'a> {
        sink: &'a str = "text[]",
        delivered_seq: Option<i64> = "bigint[]",
        retry_us: Option<i64> = "bigint[]",
    }
}

impl<'a> DeliveryAckRow<'a> {
    pub(crate) fn new(ack: &'a DeliveryAck) -> Self {
        let (delivered_seq, retry_us) = match ack.outcome {
            // No order has an event beyond 63 bits.
            DeliveryOutcome::Ack { seq } => (Some(integer(seq).unwrap_or(i64::MAX)), None),
            DeliveryOutcome::Nack { retry_in } => (None, Some(micros(retry_in))),
        };
        Self { sink: &ack.sink, delivered_seq, retry_us }
    }
}

list! {
    /// Events of an order: those after one number, up to another.
    RangeRow {
        order_id: Uuid = "uuid[]",
        after_seq: i64 = "bigint[]",
        last_seq: i64 = "bigint[]",
    }
}

/// The owner half of a fence, as it stands in a row.
pub(crate) fn owner_uuid(owner: u128) -> Uuid {
    Uuid::from_u128(owner)
}

pub(crate) fn uuids(ids: &[OrderId]) -> Vec<Uuid> {
    ids.iter().map(|id| *id.as_uuid()).collect()
}

/// The columns that [`order`] reads, in its order.
pub(crate) const ORDER_COLUMNS: &str =
    "order_id, origin, request_version, request, state_version, state, seq, created_at, updated_at";

/// How many columns [`order`] reads.
pub(crate) const ORDER_WIDTH: usize = 9;

/// The order of a row that begins with [`ORDER_COLUMNS`].
pub(crate) fn order(row: &PgRow) -> Result<Order, Error> {
    Ok(Order {
        id: order_id(row)?,
        origin: row.try_get::<Option<Uuid>, _>(1)?.map(OrderId::from),
        request: codec::decode(version(row, 2)?, row.try_get(3)?)?,
        state: codec::decode(version(row, 4)?, row.try_get(5)?)?,
        seq: unsigned(row.try_get(6)?, "seq")?,
        created_at: row.try_get(7)?,
        updated_at: row.try_get(8)?,
    })
}

/// The id in the first column of a row.
pub(crate) fn order_id(row: &PgRow) -> Result<OrderId, Error> {
    Ok(row.try_get::<Uuid, _>(0)?.into())
}

/// The lease of a row that begins with the id, the epoch and the owner.
pub(crate) fn lease(row: &PgRow) -> Result<Lease, Error> {
    let epoch = unsigned(row.try_get(1)?, "lease_epoch")?;
    let owner = row.try_get::<Uuid, _>(2)?.as_u128();
    Ok(Lease { order_id: order_id(row)?, fence: Fence { epoch, owner } })
}

/// The columns that [`event`] reads, in its order.
pub(crate) const EVENT_COLUMNS: &str =
    "order_id, seq, at, status, progress, attempt, max_attempts, payload_version, payload";

/// The event of a row that begins with [`EVENT_COLUMNS`].
pub(crate) fn event(row: &PgRow) -> Result<EventRecord, Error> {
    let status: &str = row.try_get(3)?;
    let status = Status::ALL.into_iter().find(|known| known.as_str() == status);
    Ok(EventRecord {
        order_id: order_id(row)?,
        seq: unsigned(row.try_get(1)?, "seq")?,
        at: row.try_get(2)?,
        status: status.ok_or_else(|| DecodeError { message: "unknown status".to_owned() })?,
        progress: small(row.try_get::<i16, _>(4)?.into(), "progress")?,
        attempt: small(row.try_get(5)?, "attempt")?,
        max_attempts: small(row.try_get(6)?, "max_attempts")?,
        event: codec::decode(version(row, 7)?, row.try_get(8)?)?,
    })
}

fn version(row: &PgRow, column: usize) -> Result<u32, Error> {
    Ok(small(row.try_get(column)?, "payload version")?)
}

fn small<T: TryFrom<i64>>(value: i64, what: &str) -> Result<T, DecodeError> {
    T::try_from(value).map_err(|_| DecodeError { message: format!("{what} is out of range: {value}") })
}
