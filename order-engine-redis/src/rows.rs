//! Conversions between core's types and the values in Redis.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::backend::ReservationColumns;
use order_engine_core::codec::{self, PAYLOAD_VERSION, Payload};
use order_engine_core::store::{
    Append, DeliveryAck, DeliveryOutcome, Guard, Lease, Release, ReleaseReason, Then,
};
use order_engine_core::{
    Attention, DecodeError, EventRecord, Fence, ItemRejected, Lane, NewOrder, Order, OrderEvent, OrderHead,
    OrderId, Status,
};
use redis::Cmd;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::replies::{Reply as _, reply};

/// The first number that Lua cannot count to without an error.
const MAX_NUMBER: u64 = 1 << 53;
/// The longest wait in milliseconds: 140,000 years. Any time of this era plus the wait is below [`MAX_NUMBER`].
const MAX_WAIT_MS: u64 = 1 << 52;
const NANOS_PER_MILLI: u32 = 1_000_000;
const MICROS_PER_MILLI: u64 = 1_000;

/// A text or a number in Redis; nothing where it is missing.
type Field = Option<Vec<u8>>;

reply! {
    /// The fields that an order is decoded from. `order_row.lua` has the same ones in the same order.
    OrderRow {
        origin: Field,
        request: Field,
        state: Field,
        seq: Field,
        created_at: Field,
        updated_at: Field,
    }
}

reply! {
    /// The fields of an order that never change, as `claim_deliveries.lua` and `read_feed.lua` return them.
    HeadRow {
        origin: Field,
        request: Field,
        created_at: Field,
    }
}

impl OrderRow {
    /// Returns the command that reads a row.
    pub(crate) fn read(key: &str) -> Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(key).arg(Self::FIELDS);
        read
    }
}

/// Returns a number if Lua can count to it.
fn number(value: u64) -> Result<u64, ItemRejected> {
    if value < MAX_NUMBER {
        Ok(value)
    } else {
        Err(ItemRejected { message: format!("{value} does not fit into 53 bits") })
    }
}

/// Returns a duration in whole milliseconds, rounded up.
pub(crate) fn wait_ms(duration: Duration) -> u64 {
    let ms = duration.as_nanos().div_ceil(NANOS_PER_MILLI.into());
    u64::try_from(ms).map_or(MAX_WAIT_MS, |ms| ms.min(MAX_WAIT_MS))
}

/// Returns the owner of a fence as text.
pub(crate) fn owner_text(owner: u128) -> String {
    format!("{owner:032x}")
}

/// Returns a payload as text: its version, a space, and its JSON.
fn payload<P: Payload>(payload: &P) -> Result<String, ItemRejected> {
    Ok(format!("{PAYLOAD_VERSION} {}", codec::encode(payload)?))
}

/// Adds the arguments of a new order, as `create.lua` names them.
pub(crate) fn add_create(new: &NewOrder, cmd: &mut Cmd) -> Result<(), ItemRejected> {
    new.check()?;
    let order = &new.order;
    let request = &*order.request;
    let state = StateFields::new(order)?;
    let (encoded_request, event) = (payload(request)?, event_text(&new.event)?);
    let client = request.client_order_id.as_ref();
    cmd.arg(order.id.to_string()).arg(request.user_id.as_str());
    cmd.arg(u8::from(client.is_some())).arg(client.map_or("", |client| client.as_str()));
    cmd.arg(order.origin.map_or(String::new(), |id| id.to_string())).arg(encoded_request);
    cmd.arg(state.status).arg(state.lane).arg(state.attention).arg(order.created_at.timestamp_millis());
    cmd.arg(state.updated_at).arg(state.seq).arg(state.state).arg(event);
    cmd.arg(request.tag.as_ref().map_or("", |tag| tag.as_str()));
    cmd.arg(request.not_before.map_or(0, |not_before| not_before.timestamp_millis()));
    cmd.arg(wait_ms(new.handicap)).arg(wait_ms(request.priority.head_start()));
    match new.lease {
        Some(lease) => cmd.arg(owner_text(lease.owner)).arg(wait_ms(lease.duration)),
        None => cmd.arg("").arg(""),
    };
    Ok(())
}

/// Adds the arguments of an append, as `append.lua` names them.
pub(crate) fn add_append(append: &Append, cmd: &mut Cmd) -> Result<(), ItemRejected> {
    append.check()?;
    let state = StateFields::new(&append.order)?;
    let events: Vec<String> =
        append.events.iter().map(|event| event_text(event)).collect::<Result<_, _>>()?;
    cmd.arg(append.order.id.to_string());
    match append.guard {
        Guard::Fence(fence) => add_fence(fence, cmd).arg(0),
        Guard::Revision { revoke } => cmd.arg("").arg("").arg(u8::from(revoke)),
    };
    cmd.arg(append.expected_seq);
    match append.then {
        Then::Keep => cmd.arg(""),
        Then::Release { due_in } => cmd.arg(wait_ms(due_in)),
    };
    // The store's clock shows whole milliseconds: it is past the moment if and only if it is past this.
    match append.not_after {
        None => cmd.arg(""),
        Some(moment) => cmd.arg(moment.timestamp_millis()),
    };
    cmd.arg(state.seq).arg(state.status).arg(state.lane).arg(state.attention).arg(state.updated_at);
    cmd.arg(state.state).arg(reservation_text(append)?).arg(events.len()).arg(events);
    Ok(())
}

/// Returns the reservation of an append as text: the nonce, the lowest number that may be free, and the account as
/// JSON, with spaces between them. Nothing if there is none.
fn reservation_text(append: &Append) -> Result<String, ItemRejected> {
    let Some(reservation) = &append.reservation else { return Ok(String::new()) };
    let ReservationColumns { venue, account, value, first } = ReservationColumns::new(reservation)?;
    let account = serde_json::to_string(&[venue, account]);
    let account = account.map_err(|error| ItemRejected { message: error.to_string() })?;
    Ok(format!("{value} {first} {account}"))
}

/// The fields of an order that events change.
struct StateFields {
    seq: u64,
    status: &'static str,
    /// Empty if the order is in no lane.
    lane: &'static str,
    /// Empty if the order needs no attention.
    attention: &'static str,
    updated_at: i64,
    state: String,
}

impl StateFields {
    fn new(order: &Order) -> Result<Self, ItemRejected> {
        Ok(Self {
            seq: number(order.seq)?,
            status: order.status().as_str(),
            lane: order.state.lane().map_or("", Lane::as_str),
            attention: order.state.attention().map_or("", Attention::as_str),
            updated_at: order.updated_at.timestamp_millis(),
            state: payload(&order.state)?,
        })
    }
}

/// Adds an epoch and an owner. Scripts compare them as texts, so an epoch beyond Lua's numbers matches no
/// lease and does no other harm.
fn add_fence(fence: Fence, cmd: &mut Cmd) -> &mut Cmd {
    cmd.arg(fence.epoch).arg(owner_text(fence.owner))
}

/// Adds an id, an epoch and an owner.
pub(crate) fn add_lease(lease: &Lease, cmd: &mut Cmd) {
    add_fence(lease.fence, cmd.arg(lease.order_id.to_string()));
}

/// Adds the arguments of a release, as `release.lua` names them.
pub(crate) fn add_release(release: &Release, cmd: &mut Cmd) {
    add_lease(&release.lease, cmd);
    let reason = match release.reason {
        ReleaseReason::Yielded => "yielded",
        ReleaseReason::WorkerPanicked => "worker-panicked",
        ReleaseReason::Undecodable => "undecodable",
    };
    cmd.arg(wait_ms(release.due_in)).arg(reason);
}

/// Adds the arguments of an acknowledgement, as `ack_deliveries.lua` names them.
pub(crate) fn add_ack(ack: &DeliveryAck, cmd: &mut Cmd) {
    cmd.arg(&*ack.sink);
    add_lease(&ack.lease, cmd);
    match ack.outcome {
        // No history is longer than this, so a sink that has more events has all of them.
        DeliveryOutcome::Ack { seq } => cmd.arg(seq.min(MAX_NUMBER)).arg(""),
        DeliveryOutcome::Nack { retry_in } => cmd.arg("").arg(wait_ms(retry_in)),
    };
}

/// Decodes an order, or returns nothing if there is no such row.
pub(crate) fn order(id: OrderId, row: &OrderRow) -> Result<Option<Order>, DecodeError> {
    if row.seq.is_none() && row.state.is_none() {
        return Ok(None);
    }
    let request = Arc::new(decode(text(&row.request, "request")?)?);
    let head = OrderHead::new(id, request, origin(&row.origin)?, time(&row.created_at, "created_at")?);
    let state = decode(text(&row.state, "state")?)?;
    let seq = parse(text(&row.seq, "seq")?, "seq")?;
    Ok(Some(Order::new(head, state, seq, time(&row.updated_at, "updated_at")?)))
}

/// Decodes what never changes of an order. It has no row if its key holds something else.
pub(crate) fn head(id: OrderId, row: Option<&HeadRow>) -> Result<OrderHead, DecodeError> {
    let row = row.ok_or_else(no_row)?;
    let request = Arc::new(decode(text(&row.request, "request")?)?);
    Ok(OrderHead::new(id, request, origin(&row.origin)?, time(&row.created_at, "created_at")?))
}

fn origin(field: &Field) -> Result<Option<OrderId>, DecodeError> {
    let origin = text(field, "origin")?;
    if origin.is_empty() { Ok(None) } else { Ok(Some(parse(origin, "origin")?)) }
}

fn no_row() -> DecodeError {
    undecodable("row", "its key holds something else")
}

/// Decodes a row of a list, in which a key that holds something else than an order has none.
pub(crate) fn listed_order(id: OrderId, row: Option<&OrderRow>) -> Result<Option<Order>, DecodeError> {
    order(id, row.ok_or_else(no_row)?)
}

/// Decodes the id of an order.
pub(crate) fn order_id(id: &[u8]) -> Result<OrderId, DecodeError> {
    let id = std::str::from_utf8(id).map_err(|error| undecodable("order id", error))?;
    parse(id, "order id")
}

/// Decodes the lease that a script gave.
pub(crate) fn lease(id: &[u8], epoch: &str, owner: u128) -> Result<Lease, Error> {
    Ok(Lease::new(order_id(id)?, Fence { epoch: parse(epoch, "epoch")?, owner }))
}

fn text<'a>(field: &'a Field, what: &str) -> Result<&'a str, DecodeError> {
    let field = field.as_ref().ok_or_else(|| undecodable(what, "it is missing"))?;
    std::str::from_utf8(field).map_err(|error| undecodable(what, error))
}

pub(crate) fn parse<T>(text: &str, what: &str) -> Result<T, DecodeError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| undecodable(what, error))
}

fn time(field: &Field, what: &str) -> Result<DateTime<Utc>, DecodeError> {
    time_of(text(field, what)?, what)
}

/// Decodes a time: milliseconds since 1970, as text.
pub(crate) fn time_of(text: &str, what: &str) -> Result<DateTime<Utc>, DecodeError> {
    DateTime::from_timestamp_millis(parse(text, what)?).ok_or_else(|| undecodable(what, "it is out of range"))
}

fn undecodable(what: &str, why: impl std::fmt::Display) -> DecodeError {
    DecodeError { message: format!("{what}: {why}") }
}

/// Returns the error of an order whose history ends before the order's last event.
pub(crate) fn lost_history(seq: u64) -> DecodeError {
    undecodable("history", format!("it ends before event {seq}, the last one of the order"))
}

fn decode<P: Payload>(text: &str) -> Result<P, DecodeError> {
    let (version, json) = text.split_once(' ').ok_or_else(|| undecodable("payload", "it has no version"))?;
    codec::decode(parse(version, "payload version")?, json)
}

/// An event as it is stored and published.
#[derive(Serialize, Deserialize)]
struct EventText<'a> {
    version: u32,
    seq: u64,
    at: DateTime<Utc>,
    status: Status,
    progress: u8,
    attempt: u32,
    max_attempts: u32,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// The part of an event that can be decoded whatever its version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Returns an event as JSON, without the id of its order.
pub(crate) fn event_text(record: &EventRecord) -> Result<String, ItemRejected> {
    let rejected = |error: serde_json::Error| ItemRejected { message: error.to_string() };
    let event = RawValue::from_string(codec::encode(&record.event)?).map_err(rejected)?;
    serde_json::to_string(&EventText {
        version: PAYLOAD_VERSION,
        seq: number(record.seq)?,
        at: record.at,
        status: record.status,
        progress: record.progress,
        attempt: record.attempt,
        max_attempts: record.max_attempts,
        event: &event,
    })
    .map_err(rejected)
}

/// Decodes an event of an order, which must have this number.
pub(crate) fn event(order_id: OrderId, seq: u64, json: &[u8]) -> Result<EventRecord, DecodeError> {
    let text: EventText<'_> = serde_json::from_slice(json).map_err(|error| newer_or(json, &error))?;
    if text.seq != seq {
        return Err(undecodable("event", format!("it has number {} instead of {seq}", text.seq)));
    }
    let event = codec::decode::<OrderEvent>(text.version, text.event.get())?;
    Ok(EventRecord::new(order_id, seq, text.at, text.status, event)
        .with_progress(text.progress)
        .with_attempt(text.attempt)
        .with_max_attempts(text.max_attempts))
}

/// Returns why an event cannot be decoded: because it is newer, if it is, and otherwise the given error.
fn newer_or(json: &[u8], error: &serde_json::Error) -> DecodeError {
    let newer = serde_json::from_slice(json)
        .ok()
        .and_then(|Versioned { version }| codec::decode::<OrderEvent>(version, "null").err());
    newer.filter(|newer| newer.message.contains("newer")).unwrap_or_else(|| undecodable("event", error))
}

/// Decodes the events of an order from this number on.
pub(crate) fn events(
    order_id: OrderId,
    first_seq: u64,
    texts: &[Vec<u8>],
) -> impl Iterator<Item = Result<EventRecord, DecodeError>> {
    (first_seq..).zip(texts).map(move |(seq, json)| event(order_id, seq, json))
}

/// Returns the server's time, cut to milliseconds.
pub(crate) fn moment(now_us: u64) -> Result<DateTime<Utc>, Error> {
    let moment = i64::try_from(now_us / MICROS_PER_MILLI).ok().and_then(DateTime::from_timestamp_millis);
    moment.ok_or_else(|| Error::Reply(format!("the server's clock shows {now_us}")))
}

/// Returns the time from now until a moment, which is zero if the moment has passed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A score is a whole number.
pub(crate) fn until(now_us: u64, due_ms: f64) -> Duration {
    let due = Duration::from_millis(due_ms.max(0.0) as u64);
    due.saturating_sub(Duration::from_micros(now_us))
}

/// Returns a moment in milliseconds, rounded up: a whole number of milliseconds is before the result if and
/// only if it is before the moment.
pub(crate) fn before_ms(moment: DateTime<Utc>) -> i64 {
    let ms = moment.timestamp_millis();
    if moment.timestamp_subsec_nanos().is_multiple_of(NANOS_PER_MILLI) { ms } else { ms.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_limited() {
        for (duration, ms) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(7), 7),
            (Duration::from_micros(7_001), 8),
            (Duration::MAX, MAX_WAIT_MS),
        ] {
            assert_eq!(wait_ms(duration), ms, "{duration:?}");
        }
    }

    #[test]
    fn a_time_until_a_moment_is_never_too_long() {
        assert_eq!(until(5_000, 5.0), Duration::ZERO);
        assert_eq!(until(5_999, 5.0), Duration::ZERO);
        assert_eq!(until(4_999, 5.0), Duration::from_micros(1));
    }

    #[test]
    fn a_rounded_moment_is_after_the_same_milliseconds() {
        let moment = |micros| DateTime::from_timestamp_micros(micros).unwrap();
        for micros in [-2_500, -2_000, 0, 1, 999, 1_000, 1_001] {
            for ms in -4..4 {
                let is_before = moment(ms * 1_000) < moment(micros);
                assert_eq!(ms < before_ms(moment(micros)), is_before, "{ms} ms before {micros} us");
            }
        }
    }

    #[test]
    fn payloads_carry_their_version() {
        let state = order_engine_core::OrderState::accepted(3);
        let text = payload(&state).unwrap();
        assert_eq!(decode(&text), Ok(state));
        for (spoiled, why) in [("{}", "no version"), ("two {}", "payload version"), ("99 {}", "newer")] {
            let error = decode::<order_engine_core::OrderState>(spoiled).unwrap_err();
            assert!(error.message.contains(why), "{error}");
        }
    }
}
