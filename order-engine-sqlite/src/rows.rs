//! Between core's types and SQLite's rows.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use order_engine_core::backend::{
    AckColumns, CurrentRow, Decoded, EventColumns, GuardColumns, ReleaseColumns, RequestColumns,
    StateColumns, StoredEvent, StoredOrder, decode_u64, encode_epoch, encode_u64,
};
use order_engine_core::{
    Append, DecodeError, DeliveryAck, EventRecord, Fence, ItemRejected, Lease, NewOrder, Order, OrderId,
    Release,
};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row};

use crate::error::Error;

/// A row of a list statement.
pub(crate) trait ListRow {
    /// Adds the row's values, in the order of the statement's columns.
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError>;
}

/// Adds values to the arguments, and returns at the first that cannot be encoded.
macro_rules! add {
    ($arguments:expr; $($value:expr),+ $(,)?) => {{
        $($arguments.add($value)?;)+
        Ok(())
    }};
}

/// Returns the owner half of a fence as a row holds it.
pub(crate) fn owner_text(owner: u128) -> String {
    format!("{owner:032x}")
}

/// Returns a time as a row holds it for people to read.
pub(crate) fn time_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns the time after a wait, in milliseconds since 1970; the end of time if the wait is longer.
pub(crate) fn due_after(now: DateTime<Utc>, wait: Duration) -> i64 {
    let due = TimeDelta::from_std(wait).ok().and_then(|delta| now.checked_add_signed(delta));
    due.unwrap_or(DateTime::<Utc>::MAX_UTC).timestamp_millis()
}

/// Returns the time until a moment in milliseconds since 1970; zero if it has passed.
pub(crate) fn wait_until(due_at_ms: i64, now: DateTime<Utc>) -> Duration {
    let wait_ms = due_at_ms.saturating_sub(now.timestamp_millis());
    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
}

/// Returns ids as a JSON array, for `json_each`.
pub(crate) fn id_list(ids: &[OrderId]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(","))
}

/// The names of [`StateColumns`], in the order in which [`bind_state`] adds them.
macro_rules! state_columns {
    () => {
        "status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code, error_message,
        attention, updated_at, seq, state_version, state, lane"
    };
}
pub(crate) use state_columns;

fn bind_state(columns: &StateColumns<'_>, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
    add!(arguments; columns.status, columns.attempt, columns.max_attempts, columns.chosen_dex, columns.tx_hash,
        &columns.execution_price, &columns.amount_out, columns.error_code, columns.error_message, columns.attention,
        time_text(columns.updated_at), columns.seq, columns.state_version, &columns.state, columns.lane)
}

/// A row of `orders` to insert.
#[derive(Debug)]
pub(crate) struct OrderRow<'a> {
    pub(crate) order: &'a Arc<Order>,
    request: RequestColumns<'a>,
    state: StateColumns<'a>,
    pub(crate) event: EventColumns<'a>,
    due_at: i64,
}

impl<'a> OrderRow<'a> {
    pub(crate) fn new(new: &'a NewOrder, now: DateTime<Utc>) -> Result<Self, ItemRejected> {
        new.check()?;
        Ok(Self {
            order: &new.order,
            request: RequestColumns::new(&new.order)?,
            state: StateColumns::new(&new.order)?,
            event: EventColumns::new(&new.event)?,
            due_at: now.timestamp_millis(),
        })
    }
}

/// The names of an [`OrderRow`]'s columns.
macro_rules! order_row_columns {
    () => {
        concat!(
            $crate::rows::state_columns!(),
            ", order_id, user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals,
            output_token, output_symbol, output_decimals, amount, slippage_bps, expires_at, created_at,
            request_version, request, due_at"
        )
    };
}
pub(crate) use order_row_columns;

impl ListRow for &OrderRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let request = &self.request;
        bind_state(&self.state, arguments)?;
        add!(arguments; request.order_id.to_string(), request.user_id, request.client_order_id,
            request.origin.map(|id| id.to_string()), request.order_type, request.input_token, request.input_symbol,
            request.input_decimals, request.output_token, request.output_symbol, request.output_decimals,
            &request.amount, request.slippage_bps, request.expires_at.map(time_text), time_text(request.created_at),
            request.request_version, &request.request, self.due_at)
    }
}

/// The names of the columns of `order_events`.
macro_rules! event_row_columns {
    () => {
        "order_id, seq, at, kind, status, progress, attempt, max_attempts, message, payload_version, payload"
    };
}
pub(crate) use event_row_columns;

impl ListRow for &EventColumns<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        add!(arguments; self.order_id.to_string(), self.seq, time_text(self.at), self.kind, self.status, self.progress,
            self.attempt, self.max_attempts, &self.message, self.payload_version, &self.payload)
    }
}

/// A row of `order_failures`, made of an event that is a failure.
#[derive(Debug)]
pub(crate) struct FailureRow<'a>(pub(crate) &'a EventColumns<'a>);

/// The names of a [`FailureRow`]'s columns.
macro_rules! failure_row_columns {
    () => {
        "order_id, seq, attempt, code, message, at"
    };
}
pub(crate) use failure_row_columns;

impl ListRow for FailureRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let Self(event) = self;
        let (code, message) =
            event.failure.map(|failure| (failure.code.as_str(), failure.message.as_str())).unzip();
        add!(arguments; event.order_id.to_string(), event.seq, event.attempt, code, message, time_text(event.at))
    }
}

/// An update of a row of `orders`, and the events that come with it.
#[derive(Debug)]
pub(crate) struct AppendRow<'a> {
    pub(crate) order_id: OrderId,
    pub(crate) guard: GuardColumns,
    state: StateColumns<'a>,
    pub(crate) events: Vec<EventColumns<'a>>,
    now: DateTime<Utc>,
}

impl<'a> AppendRow<'a> {
    pub(crate) fn new(append: &'a Append, now: DateTime<Utc>) -> Result<Self, ItemRejected> {
        append.check()?;
        Ok(Self {
            order_id: append.order.id,
            guard: GuardColumns::new(append)?,
            state: StateColumns::new(&append.order)?,
            events: append.events.iter().map(|event| EventColumns::new(event)).collect::<Result<_, _>>()?,
            now,
        })
    }
}

/// The names of an [`AppendRow`]'s columns.
macro_rules! append_row_columns {
    () => {
        concat!(
            $crate::rows::state_columns!(),
            ", order_id, expected_seq, epoch, owner, revoke_due_at, release_due_at, is_too_late"
        )
    };
}
pub(crate) use append_row_columns;

impl ListRow for &AppendRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let GuardColumns { expected_seq, epoch, owner, revokes, release_in, not_after } = self.guard;
        let revoke_due_at = revokes.then(|| self.now.timestamp_millis());
        let release_due_at = release_in.map(|due_in| due_after(self.now, due_in));
        let is_too_late = not_after.is_some_and(|limit| self.now > limit);
        bind_state(&self.state, arguments)?;
        add!(arguments; self.order_id.to_string(), expected_seq, epoch, owner.map(owner_text), revoke_due_at,
            release_due_at, is_too_late)
    }
}

/// Adds the three values by which a row is found that is under a lease.
fn bind_lease(lease: &Lease, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
    let Fence { epoch, owner } = lease.fence;
    add!(arguments; lease.order_id.to_string(), encode_epoch(epoch), owner_text(owner))
}

/// A lease to prolong.
#[derive(Debug)]
pub(crate) struct RenewRow {
    pub(crate) lease: Lease,
    /// In milliseconds since 1970.
    pub(crate) until: i64,
}

/// The names of a [`RenewRow`]'s columns.
macro_rules! renew_row_columns {
    () => {
        "order_id, epoch, owner, until"
    };
}
pub(crate) use renew_row_columns;

impl ListRow for RenewRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        bind_lease(&self.lease, arguments)?;
        add!(arguments; self.until)
    }
}

/// A lease to release.
#[derive(Debug)]
pub(crate) struct ReleaseRow {
    pub(crate) release: Release,
    pub(crate) now: DateTime<Utc>,
}

/// The names of a [`ReleaseRow`]'s columns.
macro_rules! release_row_columns {
    () => {
        "order_id, epoch, owner, due_at, yielded, attention"
    };
}
pub(crate) use release_row_columns;

impl ListRow for ReleaseRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let ReleaseColumns { due_in, yielded, attention } = ReleaseColumns::from(&self.release);
        bind_lease(&self.release.lease, arguments)?;
        add!(arguments; due_after(self.now, due_in), yielded, attention)
    }
}

/// An order whose events after one are to be delivered to every sink.
#[derive(Debug)]
pub(crate) struct OutboxRow {
    pub(crate) order_id: OrderId,
    pub(crate) after_seq: u64,
    pub(crate) now: DateTime<Utc>,
}

/// The names of an [`OutboxRow`]'s columns.
macro_rules! outbox_row_columns {
    () => {
        "order_id, delivered_seq, now"
    };
}
pub(crate) use outbox_row_columns;

impl ListRow for OutboxRow {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        add!(arguments; self.order_id.to_string(), encode_u64(self.after_seq)?, self.now.timestamp_millis())
    }
}

/// An acknowledgement of a delivery.
#[derive(Debug)]
pub(crate) struct AckRow<'a> {
    pub(crate) ack: &'a DeliveryAck,
    pub(crate) now: DateTime<Utc>,
}

/// The names of an [`AckRow`]'s columns.
macro_rules! ack_row_columns {
    () => {
        "order_id, epoch, owner, sink, delivered_seq, now, retry_at"
    };
}
pub(crate) use ack_row_columns;

impl ListRow for AckRow<'_> {
    fn bind(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let AckColumns { delivered_seq, retry_in } = AckColumns::from(self.ack);
        let retry_at = retry_in.map(|retry_in| due_after(self.now, retry_in));
        bind_lease(&self.ack.lease, arguments)?;
        add!(arguments; &*self.ack.sink, delivered_seq, self.now.timestamp_millis(), retry_at)
    }
}

/// The columns that [`order`] reads.
macro_rules! order_columns {
    () => {
        "order_id, origin, request_version, request, state_version, state, seq, created_at, updated_at"
    };
}
pub(crate) use order_columns;

/// Returns the order of a row that has the [`order_columns`].
pub(crate) fn order(row: &SqliteRow) -> Result<Decoded<Order>, sqlx::Error> {
    let (order_id, origin) = (row.try_get("order_id")?, row.try_get::<Option<&str>, _>("origin")?);
    let (request_version, request) = (row.try_get("request_version")?, row.try_get("request")?);
    let (state_version, state) = (row.try_get("state_version")?, row.try_get("state")?);
    let seq = row.try_get("seq")?;
    let (created_at, updated_at) = (row.try_get("created_at")?, row.try_get("updated_at")?);
    let decode = || {
        let stored = StoredOrder {
            order_id: parse(order_id, "order_id")?,
            origin: origin.map(|text| parse(text, "origin")).transpose()?,
            request_version,
            request,
            state_version,
            state,
            seq,
            created_at: parse(created_at, "created_at")?,
            updated_at: parse(updated_at, "updated_at")?,
        };
        stored.decode()
    };
    Ok(decode())
}

/// Returns the order id of a row.
pub(crate) fn order_id(row: &SqliteRow) -> Result<OrderId, Error> {
    Ok(parse(row.try_get("order_id")?, "order_id")?)
}

/// Returns the lease of a row.
pub(crate) fn lease(row: &SqliteRow) -> Result<Lease, Error> {
    let owner = u128::from_str_radix(row.try_get("lease_owner")?, 16)
        .map_err(|error| DecodeError { message: format!("lease_owner: {error}") })?;
    let epoch = decode_u64(row.try_get("lease_epoch")?, "lease_epoch")?;
    Ok(Lease { order_id: order_id(row)?, fence: Fence { epoch, owner } })
}

/// Returns what the guard of an append compares.
pub(crate) fn current(row: &SqliteRow) -> Result<CurrentRow, Error> {
    let owner: Option<&str> = row.try_get("lease_owner")?;
    Ok(CurrentRow {
        seq: row.try_get("seq")?,
        epoch: row.try_get("lease_epoch")?,
        // An owner that this program did not write is no worker's.
        owner: owner.and_then(|text| u128::from_str_radix(text, 16).ok()),
    })
}

/// The columns that [`event`] reads.
macro_rules! event_columns {
    () => {
        "order_id, seq, at, status, progress, attempt, max_attempts, payload_version, payload"
    };
}
pub(crate) use event_columns;

/// Returns the event of a row that has the [`event_columns`].
pub(crate) fn event(row: &SqliteRow) -> Result<Decoded<EventRecord>, sqlx::Error> {
    let (order_id, at) = (row.try_get("order_id")?, row.try_get("at")?);
    let (seq, status, progress) = (row.try_get("seq")?, row.try_get("status")?, row.try_get("progress")?);
    let (attempt, max_attempts) = (row.try_get("attempt")?, row.try_get("max_attempts")?);
    let (payload_version, payload) = (row.try_get("payload_version")?, row.try_get("payload")?);
    let decode = || {
        let (order_id, at) = (parse(order_id, "order_id")?, parse(at, "at")?);
        let stored = StoredEvent {
            order_id,
            seq,
            at,
            status,
            progress,
            attempt,
            max_attempts,
            payload_version,
            payload,
        };
        stored.decode()
    };
    Ok(decode())
}

fn parse<T>(text: &str, column: &str) -> Decoded<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| DecodeError { message: format!("{column}: {error}") })
}
