//! Between core's types and what stands in Redis.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::codec::{self, PAYLOAD_VERSION, Payload};
use order_engine_core::{
    Append, Attention, DecodeError, DeliveryAck, DeliveryOutcome, EventRecord, Fence, Guard, ItemRejected,
    Lane, Lease, NewOrder, Order, OrderEvent, OrderId, Release, ReleaseReason, Status, Then,
};
use redis::Cmd;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;

/// The largest number with which Lua counts without an error.
const MAX_NUMBER: u64 = 1 << 53;
/// The longest wait, in milliseconds: 140,000 years. Added to any time it stays below [`MAX_NUMBER`].
const MAX_WAIT_MS: u64 = 1 << 52;
const NANOS_PER_MILLI: u128 = 1_000_000;

/// A text or a number as it comes from Redis; nothing where there is none.
pub(crate) type Field = Option<Vec<u8>>;

/// The fields of a row of which an order is made, as every script gives them.
pub(crate) const ORDER_FIELDS: [&str; 6] = ["origin", "request", "state", "seq", "created_at", "updated_at"];

fn number(value: u64) -> Result<u64, ItemRejected> {
    if value < MAX_NUMBER {
        Ok(value)
    } else {
        Err(ItemRejected { message: format!("{value} does not fit into 53 bits") })
    }
}

/// A duration in whole milliseconds, never too short.
pub(crate) fn wait_ms(duration: Duration) -> u64 {
    let ms = duration.as_nanos().div_ceil(NANOS_PER_MILLI);
    u64::try_from(ms).map_or(MAX_WAIT_MS, |ms| ms.min(MAX_WAIT_MS))
}

/// The owner half of a fence.
pub(crate) fn owner_text(owner: u128) -> String {
    format!("{owner:032x}")
}

/// A payload: its version, a space, and its JSON.
fn payload<P: Payload>(payload: &P) -> Result<String, ItemRejected> {
    Ok(format!("{PAYLOAD_VERSION} {}", codec::encode(payload)?))
}

/// Adds the arguments of a new order.
pub(crate) fn add_order(new: &NewOrder, cmd: &mut Cmd) -> Result<(), ItemRejected> {
    new.check()?;
    let order = &new.order;
    let request = &order.request;
    let state = StateFields::new(order)?;
    let (encoded_request, event) = (payload(request)?, event_text(&new.event)?);
    let client = request.client_order_id.as_ref();
    cmd.arg(order.id.to_string()).arg(request.user_id.as_str());
    cmd.arg(u8::from(client.is_some())).arg(client.map_or("", |client| client.as_str()));
    cmd.arg(order.origin.map_or(String::new(), |id| id.to_string())).arg(encoded_request);
    cmd.arg(state.status).arg(state.lane).arg(state.attention).arg(order.created_at.timestamp_millis());
    cmd.arg(state.updated_at).arg(state.seq).arg(state.state).arg(event);
    Ok(())
}

/// Adds the arguments of an append.
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
    // The store's time is in whole milliseconds: it is past the moment if and only if it is past this.
    match append.not_after {
        None => cmd.arg(""),
        Some(moment) => cmd.arg(moment.timestamp_millis()),
    };
    cmd.arg(state.seq).arg(state.status).arg(state.lane).arg(state.attention).arg(state.updated_at);
    cmd.arg(state.state).arg(events.len()).arg(events);
    Ok(())
}

/// The fields of a row that events change.
struct StateFields {
    seq: u64,
    status: &'static str,
    /// Empty without one, as is the attention.
    lane: &'static str,
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

/// Adds an epoch and an owner. They are compared as texts, so that an epoch that no Lua number can hold
/// is only one that nobody has.
fn add_fence(fence: Fence, cmd: &mut Cmd) -> &mut Cmd {
    cmd.arg(fence.epoch).arg(owner_text(fence.owner))
}

/// Adds an id, an epoch and an owner.
pub(crate) fn add_lease(lease: &Lease, cmd: &mut Cmd) {
    add_fence(lease.fence, cmd.arg(lease.order_id.to_string()));
}

/// Adds the arguments of a lease to give back.
pub(crate) fn add_release(release: &Release, cmd: &mut Cmd) {
    add_lease(&release.lease, cmd);
    let reason = match release.reason {
        ReleaseReason::Yielded => "yielded",
        ReleaseReason::WorkerPanicked => "worker-panicked",
        ReleaseReason::Undecodable => "undecodable",
    };
    cmd.arg(wait_ms(release.due_in)).arg(reason);
}

/// Adds the arguments of an acknowledgement.
pub(crate) fn add_ack(ack: &DeliveryAck, cmd: &mut Cmd) {
    cmd.arg(&*ack.sink);
    add_lease(&ack.lease, cmd);
    match ack.outcome {
        // No history is longer, so to have more than it can hold is to have all of it.
        DeliveryOutcome::Ack { seq } => cmd.arg(seq.min(MAX_NUMBER)).arg(""),
        DeliveryOutcome::Nack { retry_in } => cmd.arg("").arg(wait_ms(retry_in)),
    };
}

/// The order of a row's [`ORDER_FIELDS`]; none if there is no such row.
pub(crate) fn order(id: OrderId, fields: &[Field]) -> Result<Option<Order>, DecodeError> {
    let [origin, request, state, seq, created_at, updated_at] = fields else {
        return Err(undecodable("row", "it cannot be read"));
    };
    if seq.is_none() && state.is_none() {
        return Ok(None);
    }
    let origin = text(origin, "origin")?;
    Ok(Some(Order {
        id,
        origin: if origin.is_empty() { None } else { Some(parse(origin, "origin")?) },
        request: decode(text(request, "request")?)?,
        state: decode(text(state, "state")?)?,
        seq: parse(text(seq, "seq")?, "seq")?,
        created_at: time(text(created_at, "created_at")?, "created_at")?,
        updated_at: time(text(updated_at, "updated_at")?, "updated_at")?,
    }))
}

/// An order's id.
pub(crate) fn order_id(id: &[u8]) -> Result<OrderId, DecodeError> {
    let id = std::str::from_utf8(id).map_err(|error| undecodable("order id", error))?;
    parse(id, "order id")
}

/// The lease that a script gave.
pub(crate) fn lease(id: &[u8], epoch: &str, owner: u128) -> Result<Lease, Error> {
    Ok(Lease { order_id: order_id(id)?, fence: Fence { epoch: parse(epoch, "epoch")?, owner } })
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

fn time(text: &str, what: &str) -> Result<DateTime<Utc>, DecodeError> {
    DateTime::from_timestamp_millis(parse(text, what)?)
        .ok_or_else(|| undecodable(what, "it is beyond all time"))
}

fn undecodable(what: &str, why: impl std::fmt::Display) -> DecodeError {
    DecodeError { message: format!("{what}: {why}") }
}

/// What is wrong with an order whose history ends before the order does.
pub(crate) fn lost_history(seq: u64) -> DecodeError {
    undecodable("history", format!("it ends before event {seq}, to which the order has come"))
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

/// The number of an event, which can be read of every version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// An event as JSON, without the id of its order.
pub(crate) fn event_text(record: &EventRecord) -> Result<String, ItemRejected> {
    let refused = |error: serde_json::Error| ItemRejected { message: error.to_string() };
    let event = RawValue::from_string(codec::encode(&record.event)?).map_err(refused)?;
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
    .map_err(refused)
}

/// The event of an order, which must have this number.
pub(crate) fn event(order_id: OrderId, seq: u64, json: &[u8]) -> Result<EventRecord, DecodeError> {
    let text: EventText<'_> = serde_json::from_slice(json).map_err(|error| newer_or(json, &error))?;
    if text.seq != seq {
        return Err(undecodable("event", format!("number {} stands in the place of {seq}", text.seq)));
    }
    Ok(EventRecord {
        order_id,
        seq,
        at: text.at,
        status: text.status,
        progress: text.progress,
        attempt: text.attempt,
        max_attempts: text.max_attempts,
        event: codec::decode::<OrderEvent>(text.version, text.event.get())?,
    })
}

/// Why an event cannot be read: if it is newer, then for that reason, whatever else is odd about it.
fn newer_or(json: &[u8], error: &serde_json::Error) -> DecodeError {
    let newer = serde_json::from_slice(json)
        .ok()
        .and_then(|Versioned { version }| codec::decode::<OrderEvent>(version, "null").err());
    newer.filter(|newer| newer.message.contains("newer")).unwrap_or_else(|| undecodable("event", error))
}

/// The events of an order from one number on.
pub(crate) fn events(
    order_id: OrderId,
    first_seq: u64,
    texts: &[Vec<u8>],
) -> Vec<Result<EventRecord, DecodeError>> {
    (first_seq..).zip(texts).map(|(seq, json)| event(order_id, seq, json)).collect()
}

/// The events that are owed first, as far as they can be read; an error if the very first cannot.
pub(crate) fn owed_events(
    order_id: OrderId,
    delivered_seq: u64,
    texts: &[Vec<u8>],
) -> Result<Vec<Arc<EventRecord>>, DecodeError> {
    let mut owed = Vec::with_capacity(texts.len());
    for event in events(order_id, delivered_seq.saturating_add(1), texts) {
        match event {
            Ok(event) => owed.push(Arc::new(event)),
            Err(error) if owed.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(owed)
}

/// The store's time, of a time in microseconds.
pub(crate) fn moment(us: u64) -> Result<DateTime<Utc>, Error> {
    let moment = i64::try_from(us / 1_000).ok().and_then(DateTime::from_timestamp_millis);
    moment.ok_or_else(|| Error::Reply(format!("the server's clock shows {us}")))
}

/// How long it is until a moment in milliseconds, at a time in microseconds; nothing if that has passed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A score is a whole number.
pub(crate) fn until(now_us: u64, due_ms: f64) -> Duration {
    let due = Duration::from_millis(due_ms.max(0.0) as u64);
    due.saturating_sub(Duration::from_micros(now_us))
}

/// A moment in whole milliseconds, so that a whole number of milliseconds is before the one if and only
/// if it is before the other.
pub(crate) fn before_ms(moment: DateTime<Utc>) -> i64 {
    let ms = moment.timestamp_millis();
    if moment.timestamp_subsec_nanos().is_multiple_of(1_000_000) { ms } else { ms.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_never_too_short_and_never_too_long_to_count() {
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
    fn what_is_due_is_due_in_no_time_and_anything_else_not_too_late() {
        assert_eq!(until(5_000, 5.0), Duration::ZERO);
        assert_eq!(until(5_999, 5.0), Duration::ZERO);
        assert_eq!(until(4_999, 5.0), Duration::from_micros(1));
    }

    #[test]
    fn a_whole_millisecond_is_before_a_moment_or_not_also_when_that_is_rounded() {
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
