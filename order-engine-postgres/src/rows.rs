//! Between core's types and PostgreSQL's rows.
//!
//! A list of rows travels as one array for each column. So a statement takes any number of rows in a fixed
//! number of parameters, and is prepared once.

use std::borrow::Cow;
use std::time::Duration;

use order_engine_core::backend::{
    AckColumns, AppendColumns, CurrentRow, Decoded, FailureColumns, HistoryColumns, NewOrderColumns,
    ReleaseColumns, RequestColumns, ReservationColumns, StateColumns, StoredHead, StoredHistory, StoredOrder,
    count, decode_u64, encode_epoch,
};
use order_engine_core::store::Lease;
use order_engine_core::{EventRecord, Fence, Order, OrderHead, OrderId};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};
use uuid::Uuid;

use crate::error::Error;
use crate::values::Values;

/// The longest wait, in microseconds: three hundred years. PostgreSQL's calendar ends.
const LONGEST_WAIT_US: i64 = 9_467_280_000_000_000;

/// A column of a list: its name, and what makes a parameter an array of its values.
pub(crate) type Column = (&'static str, &'static str);

/// A row of a list, or a part of each row.
pub(crate) trait ListRow: Sized {
    /// The columns, in the order of their parameters.
    const COLUMNS: &'static [Column];

    /// Adds the rows' columns to the arguments.
    fn bind(rows: &[&Self], arguments: &mut PgArguments) -> Result<(), BoxDynError>;

    /// Adds those columns of one row that a statement takes, each as a value.
    fn bind_one(&self, values: &mut impl Values, is_taken: impl Fn(&str) -> bool) -> Result<(), BoxDynError>;
}

/// Adds a part of each item to the arguments, as a list.
pub(crate) fn bind_each<T, L: ListRow>(
    arguments: &mut PgArguments,
    items: &[T],
    part: impl Fn(&T) -> &L,
) -> Result<(), BoxDynError> {
    let rows: Vec<&L> = items.iter().map(part).collect();
    L::bind(&rows, arguments)
}

/// Declares the columns of a list's rows, and the value of each.
macro_rules! list_row {
    ($type:ty, $row:ident: $($column:ident: $array:literal = $value:expr),+ $(,)?) => {
        impl ListRow for $type {
            const COLUMNS: &'static [Column] = &[$((stringify!($column), $array)),+];

            fn bind(rows: &[&Self], arguments: &mut PgArguments) -> Result<(), BoxDynError> {
                $(arguments.add(rows.iter().map(|$row| $value).collect::<Vec<_>>())?;)+
                Ok(())
            }

            fn bind_one(
                &self,
                values: &mut impl Values,
                is_taken: impl Fn(&str) -> bool,
            ) -> Result<(), BoxDynError> {
                let $row = &self;
                $(if is_taken(stringify!($column)) {
                    values.add_value($value)?;
                })+
                Ok(())
            }
        }
    };
}

/// Returns a wait in microseconds.
pub(crate) fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(LONGEST_WAIT_US).min(LONGEST_WAIT_US)
}

/// Returns the owner half of a fence as a row holds it.
pub(crate) fn owner_uuid(owner: u128) -> Uuid {
    Uuid::from_u128(owner)
}

/// Returns ids as rows hold them.
pub(crate) fn uuids<'a>(ids: impl IntoIterator<Item = &'a OrderId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| *id.as_uuid()).collect()
}

/// Returns a text for people to read. PostgreSQL's texts cannot hold the NUL character; the payload, which
/// is what the engine reads, has it escaped.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

list_row! { StateColumns<'_>, row:
    status: "text[]" = row.status,
    attempt: "bigint[]" = row.attempt,
    max_attempts: "bigint[]" = row.max_attempts,
    chosen_dex: "text[]" = row.chosen_dex.map(readable),
    tx_hash: "text[]" = row.tx_hash.map(readable),
    execution_price: "text[]::numeric[]" = row.execution_price.as_deref(),
    amount_out: "text[]::numeric[]" = row.amount_out.as_deref(),
    error_code: "text[]" = row.error_code.map(readable),
    error_message: "text[]" = row.error_message.map(readable),
    attention: "text[]" = row.attention,
    updated_at: "timestamptz[]" = row.updated_at,
    seq: "bigint[]" = row.seq,
    state_version: "bigint[]" = row.state_version,
    state: "text[]" = row.state.as_str(),
    lane: "text[]" = row.lane,
}

list_row! { RequestColumns<'_>, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    user_id: "text[]" = row.user_id,
    client_order_id: "text[]" = row.client_order_id,
    origin: "uuid[]" = row.origin.map(|id| *id.as_uuid()),
    order_type: "text[]" = row.order_type,
    input_token: "text[]" = readable(row.input_token),
    input_symbol: "text[]" = readable(row.input_symbol),
    input_decimals: "smallint[]" = row.input_decimals,
    output_token: "text[]" = readable(row.output_token),
    output_symbol: "text[]" = readable(row.output_symbol),
    output_decimals: "smallint[]" = row.output_decimals,
    amount: "text[]::numeric[]" = row.amount.as_str(),
    slippage_bps: "integer[]" = row.slippage_bps,
    expires_at: "timestamptz[]" = row.expires_at,
    not_before: "timestamptz[]" = row.not_before,
    priority: "text[]" = row.priority,
    tag: "text[]" = row.tag,
    metadata: "text[]::jsonb[]" = row.metadata.as_deref(),
    created_at: "timestamptz[]" = row.created_at,
    request_version: "bigint[]" = row.request_version,
    request: "text[]" = row.request.as_str(),
}

// What a new order's turn depends on, besides its due time.
list_row! { NewOrderColumns<'_>, row:
    handicap_us: "bigint[]" = row.request.handicap_us.min(LONGEST_WAIT_US),
    head_start_us: "bigint[]" = row.request.head_start_us.min(LONGEST_WAIT_US),
}

/// The lease that is taken with a new order, if one is.
pub(crate) struct FirstLeaseRow<'a>(pub(crate) &'a RequestColumns<'a>);

list_row! { FirstLeaseRow<'_>, row:
    lease_owner: "uuid[]" = row.0.lease_owner.map(owner_uuid),
    lease_us: "bigint[]" = row.0.lease_us.map(|lease_us| lease_us.min(LONGEST_WAIT_US)),
}

list_row! { HistoryColumns<'_>, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    first_seq: "bigint[]" = row.first_seq,
    last_seq: "bigint[]" = row.last_seq,
    payload_version: "bigint[]" = row.payload_version,
    payload: "text[]" = row.payload.as_str(),
}

list_row! { FailureColumns<'_>, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    seq: "bigint[]" = row.seq,
    attempt: "bigint[]" = row.attempt,
    at: "timestamptz[]" = row.at,
    code: "text[]" = readable(row.failure.code.as_str()),
    message: "text[]" = readable(&row.failure.message),
}

list_row! { AppendColumns<'_>, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    expected_seq: "bigint[]" = row.guard.expected_seq,
    epoch: "bigint[]" = row.guard.epoch,
    owner: "uuid[]" = row.guard.owner.map(owner_uuid),
    revokes: "boolean[]" = row.guard.revokes,
    release_us: "bigint[]" = row.guard.release_in.map(micros),
    not_after: "timestamptz[]" = row.guard.not_after,
}

/// A nonce that an order reserves.
#[derive(Debug)]
pub(crate) struct NonceRow<'a> {
    pub(crate) order_id: OrderId,
    pub(crate) columns: ReservationColumns<'a>,
}

list_row! { NonceRow<'_>, row:
    venue: "text[]" = row.columns.venue,
    account: "text[]" = &*row.columns.account,
    value: "bigint[]" = row.columns.value,
    first: "bigint[]" = row.columns.first,
    order_id: "uuid[]" = *row.order_id.as_uuid(),
}

list_row! { Lease, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    epoch: "bigint[]" = encode_epoch(row.fence.epoch),
    owner: "uuid[]" = owner_uuid(row.fence.owner),
}

list_row! { ReleaseColumns, row:
    due_us: "bigint[]" = micros(row.due_in),
    yielded: "bigint[]" = row.yielded,
    attention: "text[]" = row.attention,
}

/// What an acknowledgement writes into an outbox entry.
#[derive(Debug)]
pub(crate) struct AckRow<'a> {
    pub(crate) sink: &'a str,
    pub(crate) columns: AckColumns,
}

list_row! { AckRow<'_>, row:
    sink: "text[]" = row.sink,
    delivered_seq: "bigint[]" = row.columns.delivered_seq,
    retry_us: "bigint[]" = row.columns.retry_in.map(micros),
}

/// Events of an order: those after one number, up to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeRow {
    pub(crate) order_id: OrderId,
    pub(crate) after_seq: i64,
    pub(crate) last_seq: i64,
}

impl RangeRow {
    /// Returns whether an event is among them.
    pub(crate) fn contains(&self, seq: u64) -> bool {
        let [after, last] = [self.after_seq, self.last_seq].map(count);
        seq > after && seq <= last
    }
}

list_row! { RangeRow, row:
    order_id: "uuid[]" = *row.order_id.as_uuid(),
    after_seq: "bigint[]" = row.after_seq,
    last_seq: "bigint[]" = row.last_seq,
}

/// The columns that [`order`] reads.
pub(crate) const ORDER_COLUMNS: &str =
    "order_id, origin, request_version, request, state_version, state, seq, created_at, updated_at";

/// Returns the order of a row that has the [`ORDER_COLUMNS`].
pub(crate) fn order(row: &PgRow) -> Result<Decoded<Order>, sqlx::Error> {
    let stored = StoredOrder {
        order_id: order_id(row)?,
        origin: row.try_get::<Option<Uuid>, _>("origin")?.map(OrderId::from),
        request_version: row.try_get("request_version")?,
        request: row.try_get("request")?,
        state_version: row.try_get("state_version")?,
        state: row.try_get("state")?,
        seq: row.try_get("seq")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    };
    Ok(stored.decode())
}

/// The columns that [`head`] reads besides the id.
pub(crate) const HEAD_COLUMNS: [&str; 4] = ["origin", "request_version", "request", "created_at"];

/// Returns what never changes of the order of a row that has the [`HEAD_COLUMNS`].
pub(crate) fn head(row: &PgRow) -> Result<Decoded<OrderHead>, sqlx::Error> {
    let stored = StoredHead {
        order_id: order_id(row)?,
        origin: row.try_get::<Option<Uuid>, _>("origin")?.map(OrderId::from),
        request_version: row.try_get("request_version")?,
        request: row.try_get("request")?,
        created_at: row.try_get("created_at")?,
    };
    Ok(stored.decode())
}

/// Returns the order id of a row.
pub(crate) fn order_id(row: &PgRow) -> Result<OrderId, sqlx::Error> {
    Ok(row.try_get::<Uuid, _>("order_id")?.into())
}

/// Returns the lease of a row.
pub(crate) fn lease(row: &PgRow) -> Result<Lease, Error> {
    let epoch = decode_u64(row.try_get("lease_epoch")?, "lease_epoch")?;
    let owner = row.try_get::<Uuid, _>("lease_owner")?.as_u128();
    Ok(Lease::new(order_id(row)?, Fence { epoch, owner }))
}

/// Returns what the guard of an append compares.
pub(crate) fn current(row: &PgRow) -> Result<CurrentRow, sqlx::Error> {
    Ok(CurrentRow {
        seq: row.try_get("seq")?,
        epoch: row.try_get("lease_epoch")?,
        owner: row.try_get::<Option<Uuid>, _>("lease_owner")?.map(|owner| owner.as_u128()),
    })
}

/// The columns that [`written`] reads.
pub(crate) const WRITE_COLUMNS: &str = "order_id, first_seq, last_seq, payload_version, payload";

/// The events of an order that were written at once.
pub(crate) struct Written {
    pub(crate) order_id: OrderId,
    /// The numbers of the first event and of the last one.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) events: Decoded<Vec<EventRecord>>,
}

/// Returns the events of a row that has the [`WRITE_COLUMNS`].
pub(crate) fn written(row: &PgRow) -> Result<Written, Error> {
    let (order_id, first_seq) = (order_id(row)?, row.try_get("first_seq")?);
    let (payload_version, payload) = (row.try_get("payload_version")?, row.try_get("payload")?);
    let events = StoredHistory { order_id, first_seq, payload_version, payload }.decode();
    Ok(Written {
        order_id,
        first_seq: decode_u64(first_seq, "first_seq")?,
        last_seq: decode_u64(row.try_get("last_seq")?, "last_seq")?,
        events,
    })
}
