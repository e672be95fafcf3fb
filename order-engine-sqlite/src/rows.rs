//! Between core's types and rows.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use order_engine_core::codec::{self, PAYLOAD_VERSION};
use order_engine_core::{
    Append, Attention, DecodeError, DeliveryAck, DeliveryOutcome, EventRecord, Fence, Guard, ItemRejected,
    Lane, Lease, NewOrder, Order, OrderId, Release, ReleaseReason, Status, Then,
};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row};

use crate::error::Error;
use crate::statement::ListRow;

/// Adds values to the arguments, and returns at the first that cannot be encoded.
macro_rules! add {
    ($arguments:expr; $($value:expr),+ $(,)?) => {{
        $($arguments.add($value)?;)+
        Ok(())
    }};
}

/// The attention that an order needs which cannot be read; any other stands in its state.
const UNREADABLE: &str = "unreadable";

/// SQLite's integers are signed.
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

/// The owner half of a fence, as it stands in a row.
pub(crate) fn owner_text(owner: u128) -> String {
    format!("{owner:032x}")
}

pub(crate) fn time_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A moment so long after `now`, in milliseconds since 1970; the end of time if beyond it.
pub(crate) fn due_after(now: DateTime<Utc>, duration: std::time::Duration) -> i64 {
    let due = TimeDelta::from_std(duration).ok().and_then(|delta| now.checked_add_signed(delta));
    due.unwrap_or(DateTime::<Utc>::MAX_UTC).timestamp_millis()
}

/// The columns of an order that its events change.
#[derive(Debug)]
pub(crate) struct StateColumns {
    status: &'static str,
    attempt: i64,
    max_attempts: i64,
    chosen_dex: Option<String>,
    tx_hash: Option<String>,
    execution_price: Option<String>,
    amount_out: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    attention: Option<&'static str>,
    updated_at: String,
    seq: i64,
    state_version: i64,
    state: String,
    lane: Option<&'static str>,
}

impl StateColumns {
    fn new(order: &Order) -> Result<Self, ItemRejected> {
        let state = &order.state;
        let failure = state.failure().filter(|_| state.status() == Status::Failed);
        Ok(Self {
            status: state.status().as_str(),
            attempt: i64::from(state.attempt()),
            max_attempts: i64::from(state.max_attempts()),
            chosen_dex: state.chosen_dex().map(str::to_owned),
            tx_hash: state.tx_id().map(ToString::to_string),
            execution_price: order.execution_price(),
            amount_out: state.fill().map(|fill| fill.amount_out.to_string()),
            error_code: failure.map(|failure| failure.code.to_string()),
            error_message: failure.map(|failure| failure.message.clone()),
            attention: state.attention().map(Attention::as_str),
            updated_at: time_text(order.updated_at),
            seq: integer(order.seq)?,
            state_version: i64::from(PAYLOAD_VERSION),
            state: codec::encode(state)?,
            lane: state.lane().map(Lane::as_str),
        })
    }

    /// How many columns there are.
    pub(crate) const COUNT: usize = 15;

    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        add!(arguments; self.status, self.attempt, self.max_attempts, &self.chosen_dex, &self.tx_hash,
            &self.execution_price, &self.amount_out, &self.error_code, &self.error_message, self.attention, &self.updated_at,
            self.seq, self.state_version, &self.state, self.lane)
    }
}

/// A row of `orders` to insert.
#[derive(Debug)]
pub(crate) struct OrderRow {
    pub(crate) order: Arc<Order>,
    order_id: String,
    expires_at: Option<String>,
    created_at: String,
    request: String,
    columns: StateColumns,
    pub(crate) event: EventRow,
    due_at: i64,
}

impl OrderRow {
    pub(crate) fn new(new: &NewOrder, now: DateTime<Utc>) -> Result<Self, ItemRejected> {
        new.check()?;
        let order = &new.order;
        let request = &order.request;
        let key = request.client_order_id.as_ref().map_or("", |key| key.as_str());
        if request.user_id.as_str().contains('\0') || key.contains('\0') {
            // SQLite's text functions end at a NUL, so two different keys could look alike.
            return Err(ItemRejected { message: "an id contains a NUL character".to_owned() });
        }
        Ok(Self {
            order_id: order.id.to_string(),
            expires_at: order.expires_at().map(time_text),
            created_at: time_text(order.created_at),
            request: codec::encode(request)?,
            columns: StateColumns::new(order)?,
            event: EventRow::new(&new.event)?,
            due_at: now.timestamp_millis(),
            order: Arc::clone(order),
        })
    }

    pub(crate) const COUNT: usize = 18 + StateColumns::COUNT;
}

impl ListRow for &OrderRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let request = &self.order.request;
        self.columns.bind(arguments)?;
        add!(arguments; &self.order_id, request.user_id.as_str(),
            request.client_order_id.as_ref().map(order_engine_core::ClientOrderId::as_str), self.order.origin.map(|id| id.to_string()),
            "market", &request.input.mint, &request.input.symbol, i64::from(request.input.decimals),
            &request.output.mint, &request.output.symbol, i64::from(request.output.decimals),
            request.amount.to_string(), i64::from(request.slippage_bps), &self.expires_at, &self.created_at,
            i64::from(PAYLOAD_VERSION), &self.request, self.due_at)
    }
}

/// A row of `order_events`.
#[derive(Debug)]
pub(crate) struct EventRow {
    record: Arc<EventRecord>,
    order_id: String,
    seq: i64,
    at: String,
    payload: String,
}

impl EventRow {
    pub(crate) fn new(record: &Arc<EventRecord>) -> Result<Self, ItemRejected> {
        Ok(Self {
            order_id: record.order_id.to_string(),
            seq: integer(record.seq)?,
            at: time_text(record.at),
            payload: codec::encode(&record.event)?,
            record: Arc::clone(record),
        })
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.record.event.failure().is_some()
    }

    pub(crate) const COUNT: usize = 11;
}

impl ListRow for &EventRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let record = &self.record;
        add!(arguments; &self.order_id, self.seq, &self.at, record.event.kind(), record.status.as_str(),
            i64::from(record.progress), i64::from(record.attempt), i64::from(record.max_attempts), record.message(),
            i64::from(PAYLOAD_VERSION), &self.payload)
    }
}

/// A row of `order_failures`.
#[derive(Debug)]
pub(crate) struct FailureRow<'a>(pub(crate) &'a EventRow);

impl ListRow for FailureRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let record = &self.0.record;
        let failure = record.event.failure();
        add!(arguments; &self.0.order_id, self.0.seq, i64::from(record.attempt),
            failure.map(|failure| failure.code.as_str()), failure.map(|failure| failure.message.as_str()), &self.0.at)
    }
}

/// An update of `orders`, and the events that come with it.
#[derive(Debug)]
pub(crate) struct AppendRow {
    pub(crate) order_id: String,
    pub(crate) fence: Option<(i64, String)>,
    pub(crate) expected_seq: i64,
    revoke_due_at: Option<i64>,
    release_due_at: Option<i64>,
    is_too_late: bool,
    columns: StateColumns,
    pub(crate) events: Vec<EventRow>,
}

impl AppendRow {
    pub(crate) fn new(append: &Append, now: DateTime<Utc>) -> Result<Self, ItemRejected> {
        append.check()?;
        let revokes = append.guard == (Guard::Revision { revoke: true });
        Ok(Self {
            order_id: append.order.id.to_string(),
            fence: match append.guard {
                Guard::Fence(Fence { epoch, owner }) => Some((epoch_integer(epoch), owner_text(owner))),
                Guard::Revision { .. } => None,
            },
            expected_seq: integer(append.expected_seq)?,
            revoke_due_at: revokes.then(|| now.timestamp_millis()),
            release_due_at: match append.then {
                Then::Keep => None,
                Then::Release { due_in } => Some(due_after(now, due_in)),
            },
            is_too_late: append.not_after.is_some_and(|limit| now > limit),
            columns: StateColumns::new(&append.order)?,
            events: append.events.iter().map(EventRow::new).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) const COUNT: usize = 7 + StateColumns::COUNT;
}

impl ListRow for &AppendRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        self.columns.bind(arguments)?;
        let (epoch, owner) = self.fence.as_ref().map(|(epoch, owner)| (*epoch, owner.as_str())).unzip();
        add!(arguments; &self.order_id, self.expected_seq, epoch, owner, self.revoke_due_at, self.release_due_at,
            self.is_too_late)
    }
}

/// A lease to prolong, and until when.
#[derive(Debug)]
pub(crate) struct RenewRow(pub(crate) Lease, pub(crate) i64);

impl ListRow for RenewRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let Fence { epoch, owner } = self.0.fence;
        add!(arguments; self.0.order_id.to_string(), epoch_integer(epoch), owner_text(owner), self.1)
    }
}

/// An order of which sinks are owed the events after one, from now on.
#[derive(Debug)]
pub(crate) struct DebtRow(pub(crate) OrderId, pub(crate) u64, pub(crate) DateTime<Utc>);

impl ListRow for DebtRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        add!(arguments; self.0.to_string(), integer(self.1)?, self.2.timestamp_millis())
    }
}

/// What became of a delivery, and the store's time.
#[derive(Debug)]
pub(crate) struct DeliveryAckRow<'a>(pub(crate) &'a DeliveryAck, pub(crate) DateTime<Utc>);

impl ListRow for DeliveryAckRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let Self(DeliveryAck { sink, lease, outcome }, now) = self;
        let (delivered_seq, retry_at) = match outcome {
            DeliveryOutcome::Ack { seq } => (Some(integer(*seq)?), None),
            DeliveryOutcome::Nack { retry_in } => (None, Some(due_after(*now, *retry_in))),
        };
        add!(arguments; lease.order_id.to_string(), &**sink, epoch_integer(lease.fence.epoch),
            owner_text(lease.fence.owner), delivered_seq, now.timestamp_millis(), retry_at)
    }
}

/// A lease to give back.
#[derive(Debug)]
pub(crate) struct ReleaseRow(pub(crate) Release, pub(crate) DateTime<Utc>);

impl ListRow for ReleaseRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let Self(Release { lease, due_in, reason }, now) = self;
        let attention = (*reason == ReleaseReason::Undecodable).then_some(UNREADABLE);
        add!(arguments; lease.order_id.to_string(), epoch_integer(lease.fence.epoch), owner_text(lease.fence.owner),
            due_after(*now, *due_in), i64::from(*reason == ReleaseReason::Yielded), attention)
    }
}

/// The columns that [`order`] reads, in its order.
macro_rules! order_columns {
    () => {
        "order_id, origin, payload_version, request, coalesce(state_version, payload_version), state, seq, created_at, updated_at"
    };
}
pub(crate) use order_columns;

/// The order of a row that begins with [`order_columns`].
pub(crate) fn order(row: &SqliteRow) -> Result<Order, Error> {
    let origin: Option<String> = row.try_get(1)?;
    Ok(Order {
        id: order_id(row)?,
        origin: origin.map(|text| parse(&text, "origin")).transpose()?,
        request: codec::decode(payload_version(row, 2)?, row.try_get(3)?)?,
        state: codec::decode(payload_version(row, 4)?, row.try_get(5)?)?,
        seq: unsigned(row.try_get(6)?, "seq")?,
        created_at: parse(row.try_get(7)?, "created_at")?,
        updated_at: parse(row.try_get(8)?, "updated_at")?,
    })
}

/// The id in the first column of a row.
pub(crate) fn order_id(row: &SqliteRow) -> Result<OrderId, Error> {
    parse(row.try_get(0)?, "order_id")
}

/// The lease of a row that begins with the id, the epoch and the owner.
pub(crate) fn lease(row: &SqliteRow) -> Result<Lease, Error> {
    let owner = u128::from_str_radix(row.try_get(2)?, 16)
        .map_err(|error| DecodeError { message: format!("lease_owner: {error}") })?;
    let epoch = unsigned(row.try_get(1)?, "lease_epoch")?;
    Ok(Lease { order_id: order_id(row)?, fence: Fence { epoch, owner } })
}

/// The columns that [`event`] reads, in its order.
macro_rules! event_columns {
    () => {
        "order_id, seq, at, status, progress, attempt, max_attempts, payload_version, payload"
    };
}
pub(crate) use event_columns;

/// The event of a row that begins with [`event_columns`].
pub(crate) fn event(row: &SqliteRow) -> Result<EventRecord, Error> {
    let status: &str = row.try_get(3)?;
    let status = Status::ALL.into_iter().find(|known| known.as_str() == status);
    Ok(EventRecord {
        order_id: order_id(row)?,
        seq: unsigned(row.try_get(1)?, "seq")?,
        at: parse(row.try_get(2)?, "at")?,
        status: status.ok_or_else(|| DecodeError { message: "unknown status".to_owned() })?,
        progress: row.try_get(4)?,
        attempt: row.try_get(5)?,
        max_attempts: row.try_get(6)?,
        event: codec::decode(payload_version(row, 7)?, row.try_get(8)?)?,
    })
}

fn payload_version(row: &SqliteRow, column: usize) -> Result<u32, Error> {
    let version: i64 = row.try_get(column)?;
    Ok(u32::try_from(version)
        .map_err(|error| DecodeError { message: format!("payload version: {error}") })?)
}

fn parse<T>(text: &str, what: &str) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    Ok(text.parse().map_err(|error| DecodeError { message: format!("{what}: {error}") })?)
}
