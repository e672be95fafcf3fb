//! Between core's types and SQLite's rows.

use std::collections::HashMap;
use std::collections::hash_map::{self, Entry};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use order_engine_core::backend::{
    AckColumns, CurrentRow, Decoded, FailureColumns, GuardColumns, HistoryColumns, ReleaseColumns,
    RequestColumns, StateColumns, StoredHead, StoredHistory, StoredOrder, count, encode_epoch,
};
use order_engine_core::store::Lease;
use order_engine_core::{DecodeError, EventRecord, Order, OrderHead, OrderId};

use crate::error::Error;
use crate::values::{Arguments, StoredRow};

/// What a statement is run with for an item, or a part of it.
pub(crate) trait ItemRow {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];

    /// Adds the columns' values to the arguments.
    fn bind(self, arguments: &mut Arguments<'_>);

    /// Returns the columns' values.
    fn encode(self) -> Arguments<'static>
    where
        Self: Sized,
    {
        let mut arguments = Arguments::default();
        self.bind(&mut arguments);
        arguments
    }
}

/// Declares the columns of an item, and the value of each.
macro_rules! item_row {
    ($type:ty, $row:ident: $($column:ident = $value:expr),+ $(,)?) => {
        impl ItemRow for $type {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),+];

            fn bind(self, arguments: &mut Arguments<'_>) {
                arguments.reserve(Self::COLUMNS.len());
                let $row = self;
                $(arguments.add($value);)+
            }
        }
    };
}

const MICROS_PER_MILLI: i64 = 1_000;

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

item_row! { StateColumns<'_>, row:
    status = row.status,
    attempt = row.attempt,
    max_attempts = row.max_attempts,
    chosen_dex = row.chosen_dex,
    tx_hash = row.tx_hash,
    execution_price = row.execution_price,
    amount_out = row.amount_out,
    error_code = row.error_code,
    error_message = row.error_message,
    attention = row.attention,
    updated_at = time_text(row.updated_at),
    seq = row.seq,
    state_version = row.state_version,
    state = row.state,
    lane = row.lane,
}

item_row! { RequestColumns<'_>, row:
    order_id = row.order_id.to_string(),
    user_id = row.user_id,
    client_order_id = row.client_order_id,
    origin = row.origin.map(|id| id.to_string()),
    order_type = row.order_type,
    input_token = row.input_token,
    input_symbol = row.input_symbol,
    input_decimals = row.input_decimals,
    output_token = row.output_token,
    output_symbol = row.output_symbol,
    output_decimals = row.output_decimals,
    amount = row.amount,
    slippage_bps = row.slippage_bps,
    expires_at = row.expires_at.map(time_text),
    not_before = row.not_before.map(time_text),
    priority = row.priority,
    tag = row.tag,
    metadata = row.metadata,
    created_at = time_text(row.created_at),
    request_version = row.request_version,
    request = row.request,
}

/// The lease that is taken with a new order, if one is.
#[derive(Debug)]
pub(crate) struct FirstLeaseRow {
    pub(crate) owner: Option<u128>,
}

item_row! { FirstLeaseRow, row:
    lease_epoch = row.owner.is_some(),
    lease_owner = row.owner.map(owner_text),
    claims_without_progress = row.owner.is_some(),
}

/// What a new order says of its turn. All times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    handicap: i64,
    head_start: i64,
    lease: Option<i64>,
    not_before: Option<i64>,
}

impl From<&RequestColumns<'_>> for Turn {
    fn from(request: &RequestColumns<'_>) -> Self {
        Self {
            handicap: request.handicap_us / MICROS_PER_MILLI,
            head_start: request.head_start_us / MICROS_PER_MILLI,
            lease: request.lease_us.map(|lease_us| lease_us / MICROS_PER_MILLI),
            not_before: request.not_before.map(|not_before| not_before.timestamp_millis()),
        }
    }
}

/// When a new order is due, and when its turn comes. All times are in milliseconds.
#[derive(Debug)]
pub(crate) struct TurnRow {
    due_at: i64,
    turn_at: Option<i64>,
    handicap_until: i64,
    head_start: i64,
}

impl TurnRow {
    /// Returns the times of an order that is accepted now.
    pub(crate) fn new(turn: Turn, now: DateTime<Utc>) -> Self {
        let now_ms = now.timestamp_millis();
        let handicap_until = now_ms.saturating_add(turn.handicap);
        let head_start = turn.head_start;
        let (due_at, turn_at) = if let Some(lease) = turn.lease {
            let until = now_ms.saturating_add(lease);
            // A head start does not count for the end of a lease.
            (until, until.max(handicap_until))
        } else {
            let due_at = turn.not_before.map_or(now_ms, |not_before| not_before.max(now_ms));
            (due_at, due_at.max(handicap_until) - head_start)
        };
        let turn_at = Some(turn_at).filter(|at| *at != due_at);
        Self { due_at, turn_at, handicap_until, head_start }
    }
}

item_row! { TurnRow, row:
    due_at = row.due_at,
    turn_at = row.turn_at,
    handicap_until = row.handicap_until,
    head_start = row.head_start,
}

item_row! { HistoryColumns<'_>, row:
    order_id = row.order_id.to_string(),
    first_seq = row.first_seq,
    last_seq = row.last_seq,
    payload_version = row.payload_version,
    payload = row.payload,
}

item_row! { FailureColumns<'_>, row:
    order_id = row.order_id.to_string(),
    seq = row.seq,
    attempt = row.attempt,
    code = row.failure.code.as_str(),
    message = row.failure.message.as_str(),
    at = time_text(row.at),
}

/// The conditions under which an append is written.
#[derive(Debug)]
pub(crate) struct GuardRow<'a> {
    pub(crate) order_id: OrderId,
    pub(crate) columns: &'a GuardColumns,
}

item_row! { GuardRow<'_>, row:
    order_id = row.order_id.to_string(),
    expected_seq = row.columns.expected_seq,
    epoch = row.columns.epoch,
    owner = row.columns.owner.map(owner_text),
}

/// What these conditions make of the present.
#[derive(Debug)]
pub(crate) struct GuardTimesRow<'a> {
    pub(crate) columns: &'a GuardColumns,
    pub(crate) now: DateTime<Utc>,
}

item_row! { GuardTimesRow<'_>, row:
    revoke_due_at = row.columns.revokes.then(|| row.now.timestamp_millis()),
    release_due_at = row.columns.release_in.map(|due_in| due_after(row.now, due_in)),
    is_too_late = row.columns.not_after.is_some_and(|limit| row.now > limit),
}

item_row! { Lease, row:
    order_id = row.order_id.to_string(),
    epoch = encode_epoch(row.fence.epoch),
    owner = owner_text(row.fence.owner),
}

/// What a release writes into the row of its order.
#[derive(Debug)]
pub(crate) struct ReleaseRow {
    pub(crate) columns: ReleaseColumns,
    pub(crate) now: DateTime<Utc>,
}

item_row! { ReleaseRow, row:
    due_at = due_after(row.now, row.columns.due_in),
    yielded = row.columns.yielded,
    attention = row.columns.attention,
}

/// An order whose events after a delivered one are due for every sink.
#[derive(Debug)]
pub(crate) struct OutboxRow {
    pub(crate) order_id: OrderId,
    pub(crate) delivered_seq: i64,
}

item_row! { OutboxRow, row:
    order_id = row.order_id.to_string(),
    delivered_seq = row.delivered_seq,
}

/// What an acknowledgement says of an outbox entry.
#[derive(Debug)]
pub(crate) struct AckRow<'a> {
    pub(crate) sink: &'a str,
    pub(crate) columns: AckColumns,
}

item_row! { AckRow<'_>, row:
    sink = row.sink,
    delivered_seq = row.columns.delivered_seq,
}

/// When an outbox entry that stays is due.
#[derive(Debug)]
pub(crate) struct RetryRow {
    pub(crate) columns: AckColumns,
    pub(crate) now: DateTime<Utc>,
}

item_row! { RetryRow, row:
    now = row.now.timestamp_millis(),
    retry_at = row.columns.retry_in.map(|retry_in| due_after(row.now, retry_in)),
}

/// The columns that [`order`] reads.
macro_rules! order_columns {
    () => {
        "order_id, origin, request_version, request, state_version, state, seq, created_at, updated_at"
    };
}
pub(crate) use order_columns;

/// Returns the order of a row that has the [`order_columns`].
pub(crate) fn order(row: &impl StoredRow) -> Result<Decoded<Order>, sqlx::Error> {
    let (order_id, origin) = (row.try_get("order_id")?, row.try_get::<Option<&str>>("origin")?);
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

/// The columns that [`head`] reads, beside the order's id.
macro_rules! head_columns {
    () => {
        "origin, request_version, request, created_at"
    };
}
pub(crate) use head_columns;

/// Returns what never changes of the order of a row that has an order id and the [`head_columns`].
pub(crate) fn head(row: &impl StoredRow) -> Result<Decoded<OrderHead>, sqlx::Error> {
    let (order_id, origin) = (row.try_get("order_id")?, row.try_get::<Option<&str>>("origin")?);
    let (request_version, request) = (row.try_get("request_version")?, row.try_get("request")?);
    let created_at = row.try_get("created_at")?;
    let decode = || {
        let stored = StoredHead {
            order_id: parse(order_id, "order_id")?,
            origin: origin.map(|text| parse(text, "origin")).transpose()?,
            request_version,
            request,
            created_at: parse(created_at, "created_at")?,
        };
        stored.decode()
    };
    Ok(decode())
}

/// What never changes of the orders of some rows, each decoded once.
#[derive(Debug, Default)]
pub(crate) struct Heads(HashMap<OrderId, Decoded<OrderHead>>);

impl Heads {
    /// Returns what never changes of the order of a row, as [`head`] does.
    pub(crate) fn of(
        &mut self,
        order_id: OrderId,
        row: &impl StoredRow,
    ) -> Result<&Decoded<OrderHead>, sqlx::Error> {
        match self.0.entry(order_id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(head(row)?)),
        }
    }
}

impl IntoIterator for Heads {
    type Item = (OrderId, Decoded<OrderHead>);
    type IntoIter = hash_map::IntoIter<OrderId, Decoded<OrderHead>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Returns the order id of a row.
pub(crate) fn order_id(row: &impl StoredRow) -> Result<OrderId, Error> {
    Ok(parse(row.try_get("order_id")?, "order_id")?)
}

/// Returns what the guard of an append compares.
pub(crate) fn current(row: &impl StoredRow) -> Result<CurrentRow, Error> {
    let owner: Option<&str> = row.try_get("lease_owner")?;
    Ok(CurrentRow {
        seq: row.try_get("seq")?,
        epoch: row.try_get("lease_epoch")?,
        // An owner that this program did not write is no worker's.
        owner: owner.and_then(|text| u128::from_str_radix(text, 16).ok()),
    })
}

/// The columns that [`events`] reads.
macro_rules! write_columns {
    () => {
        "order_id, first_seq, last_seq, payload_version, payload"
    };
}
pub(crate) use write_columns;

/// Returns the events of a row that has the [`write_columns`], with their numbers: those whose numbers are wanted. If the
/// row cannot be decoded, each of its events is an error.
pub(crate) fn events<R: StoredRow>(
    row: &R,
    wanted: RangeInclusive<u64>,
) -> Result<impl Iterator<Item = (u64, Decoded<EventRecord>)> + use<R>, sqlx::Error> {
    let (first, last) = (count(row.try_get("first_seq")?), count(row.try_get("last_seq")?));
    let seqs = first.max(*wanted.start())..=last.min(*wanted.end());
    let mut records = write(row)?.map(|events| events.into_iter().filter(in_range(seqs.clone())));
    let event = move |seq| match &mut records {
        Ok(records) => (seq, records.next().ok_or_else(|| missing(seq))),
        Err(error) => (seq, Err(error.clone())),
    };
    Ok(seqs.map(event))
}

fn in_range(seqs: RangeInclusive<u64>) -> impl Fn(&EventRecord) -> bool {
    move |event| seqs.contains(&event.seq)
}

fn missing(seq: u64) -> DecodeError {
    DecodeError { message: format!("payload: event {seq} is missing") }
}

/// Returns all events of a row that has the [`write_columns`].
fn write(row: &impl StoredRow) -> Result<Decoded<Vec<EventRecord>>, sqlx::Error> {
    let (order_id, first_seq) = (row.try_get("order_id")?, row.try_get("first_seq")?);
    let (payload_version, payload) = (row.try_get("payload_version")?, row.try_get("payload")?);
    let decode = || {
        let order_id = parse(order_id, "order_id")?;
        StoredHistory { order_id, first_seq, payload_version, payload }.decode()
    };
    Ok(decode())
}

/// Returns the value that a text stands for.
pub(crate) fn parse<T>(text: &str, column: &str) -> Decoded<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| DecodeError { message: format!("{column}: {error}") })
}
