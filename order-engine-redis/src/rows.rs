//! Conversions between core's types and the values in Redis.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::backend::{HistoryColumns, ReservationColumns, StoredHistory};
use order_engine_core::codec::{self, PAYLOAD_VERSION, Payload};
use order_engine_core::store::{
    Append, DeliveryAck, DeliveryOutcome, FirstLease, Guard, Lease, Release, ReleaseReason, Then,
};
use order_engine_core::{
    Attention, ClientOrderId, DecodeError, EventRecord, Fence, ItemRejected, Lane, NewOrder, Order,
    OrderEvent, OrderHead, OrderId, Tag,
};
use redis::Cmd;

use crate::error::Error;
use crate::replies::{Reply as _, reply};

/// The first number that Lua cannot count to without an error.
const MAX_NUMBER: u64 = 1 << 53;
/// The longest wait in milliseconds: 140,000 years. Any time of this era plus the wait is below [`MAX_NUMBER`].
const MAX_WAIT_MS: u64 = 1 << 52;
const NANOS_PER_MILLI: u32 = 1_000_000;
const MICROS_PER_MILLI: u64 = 1_000;

/// A text or a number in Redis; nothing where it is missing.
pub(crate) type Field = Option<Vec<u8>>;

reply! {
    /// The fields that an order is decoded from. `order_row.lua` has the same ones in the same order.
    OrderRow {
        /// What never changes: when the order was accepted, the order that it repeats or [`NOTHING`], and the request.
        head: Field,
        /// What scripts read of the events so far, as `parse_summary` of `common.lua` does.
        summary: Field,
        state: Field,
    }
}

reply! {
    /// The events of one write, as `read_history` of `history.lua` returns them.
    Written {
        first_seq: u64,
        /// The number of the last event, the version, and JSON.
        events: Vec<u8>,
    }
}

/// What stands in a field with several parts for a part that there is not.
const NOTHING: &str = "-";

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
    let origin = order.origin.map_or(NOTHING.to_owned(), |id| id.to_string());
    let head = format!("{} {origin} {}", order.created_at.timestamp_millis(), payload(request)?);
    let (summary, state) = (summary(order, order.seq)?, payload(&order.state)?);
    let events = events_text(order.id, std::iter::once(&*new.event))?;
    let named = |name: Option<&str>| name.map_or(String::new(), |name| format!("={name}"));
    let client_order_id = request.client_order_id.as_ref().map(ClientOrderId::as_str);
    cmd.arg(order.id.to_string()).arg(request.user_id.as_str());
    cmd.arg(named(client_order_id)).arg(named(request.tag.as_ref().map(Tag::as_str)));
    cmd.arg(plan(new)).arg(head).arg(summary).arg(state).arg(events);
    Ok(())
}

/// Returns when a new order is due, when its turn comes, and its first lease.
fn plan(new: &NewOrder) -> String {
    let request = &*new.order.request;
    let not_before_ms = request.not_before.map_or(0, |not_before| not_before.timestamp_millis());
    let (handicap_ms, head_start_ms) = (wait_ms(new.handicap), wait_ms(request.priority.head_start()));
    let lease = |lease: FirstLease| format!("{} {}", wait_ms(lease.duration), owner_text(lease.owner));
    let lease = new.lease.map_or("0 ".to_owned(), lease);
    format!("{not_before_ms} {handicap_ms} {head_start_ms} {lease}")
}

/// Adds the arguments of an append, as `append.lua` names them.
pub(crate) fn add_append(append: &Append, cmd: &mut Cmd) -> Result<(), ItemRejected> {
    append.check()?;
    let order = &append.order;
    let (summary, state) = (summary(order, append.expected_seq + 1)?, payload(&order.state)?);
    let events = events_text(order.id, append.events.iter().map(|event| &**event))?;
    cmd.arg(order.id.to_string()).arg(guard(append)).arg(summary).arg(state).arg(events);
    cmd.arg(reservation_text(append)?);
    Ok(())
}

/// Returns what an append needs, and what happens to the lease.
fn guard(append: &Append) -> String {
    let fence = match append.guard {
        // Scripts compare them as texts, so an epoch beyond Lua's numbers matches no lease and does no other harm.
        Guard::Fence(Fence { epoch, owner }) => format!("{epoch} {}", owner_text(owner)),
        Guard::Revision { revoke: true } => "revoke".to_owned(),
        Guard::Revision { revoke: false } => "keep".to_owned(),
    };
    let due_in_ms = match append.then {
        Then::Keep => NOTHING.to_owned(),
        Then::Release { due_in } => wait_ms(due_in).to_string(),
    };
    // The store's clock shows whole milliseconds: it is past the moment if and only if it is past this.
    let not_after_ms =
        append.not_after.map_or(NOTHING.to_owned(), |moment| moment.timestamp_millis().to_string());
    format!("{} {fence} {due_in_ms} {not_after_ms}", append.expected_seq)
}

/// Returns the reservation of an append as text: the nonce, the lowest number that may be free, and the account as
/// JSON, with spaces between them. Nothing if there is none.
fn reservation_text(append: &Append) -> Result<String, ItemRejected> {
    let Some(reservation) = &append.reservation else { return Ok(String::new()) };
    let ReservationColumns { venue, account, value, first } = ReservationColumns::new(reservation)?;
    let account = serde_json::to_string(&[venue, &account]);
    let account = account.map_err(|error| ItemRejected { message: error.to_string() })?;
    Ok(format!("{value} {first} {account}"))
}

/// Returns the summary of an order whose last write begins with an event.
fn summary(order: &Order, first_seq: u64) -> Result<String, ItemRejected> {
    let (seq, status) = (number(order.seq)?, order.status().as_str());
    let lane = order.state.lane().map_or(NOTHING, Lane::as_str);
    let attention = order.state.attention().map_or(NOTHING, Attention::as_str);
    let updated_at = order.updated_at.timestamp_millis();
    Ok(format!("{first_seq} {seq} {status} {lane} {attention} {updated_at}"))
}

/// Returns the events of one write of an order as text: the number of the last one, the version, and JSON.
fn events_text<'a>(
    id: OrderId,
    events: impl Iterator<Item = &'a EventRecord>,
) -> Result<String, ItemRejected> {
    let HistoryColumns { last_seq, payload_version, payload, .. } = HistoryColumns::new(id, events)?;
    Ok(format!("{last_seq} {payload_version} {payload}"))
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
    if row.summary.is_none() && row.state.is_none() {
        return Ok(None);
    }
    let head = head(id, Some(&row.head))?;
    let state = decode(text(&row.state, "state")?)?;
    let (seq, updated_at) = summarized(text(&row.summary, "summary")?)?;
    Ok(Some(Order::new(head, state, seq, updated_at)))
}

/// Decodes what never changes of an order. It has no row if its key holds something else.
pub(crate) fn head(id: OrderId, field: Option<&Field>) -> Result<OrderHead, DecodeError> {
    let mut parts = text(field.ok_or_else(no_row)?, "head")?.splitn(3, ' ');
    let mut next = |what| parts.next().ok_or_else(|| undecodable(what, "it is missing"));
    let created_at = time_of(next("created_at")?, "created_at")?;
    let origin = Some(next("origin")?).filter(|origin| *origin != NOTHING);
    let origin = origin.map(|origin| parse(origin, "origin")).transpose()?;
    Ok(OrderHead::new(id, Arc::new(decode(next("request")?)?), origin, created_at))
}

/// Decodes the number and the time of the last event from a summary.
fn summarized(summary: &str) -> Result<(u64, DateTime<Utc>), DecodeError> {
    let parts: Vec<&str> = summary.split(' ').collect();
    let [_, seq, _, _, _, updated_at] = parts[..] else {
        return Err(undecodable("summary", format!("it has {} parts", parts.len())));
    };
    Ok((parse(seq, "seq")?, time_of(updated_at, "updated_at")?))
}

/// Decodes the number of the last event of an order from its summary.
pub(crate) fn last_seq(summary: &str) -> Result<u64, DecodeError> {
    summarized(summary).map(|(seq, _)| seq)
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

/// Decodes the events of one write.
pub(crate) fn written(order_id: OrderId, row: &Written) -> Result<Vec<EventRecord>, DecodeError> {
    let Written { first_seq, events } = row;
    let text = std::str::from_utf8(events).map_err(|error| undecodable("events", error))?;
    let mut parts = text.splitn(3, ' ');
    let (Some(last_seq), Some(version), Some(payload)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(undecodable("events", "they have no version"));
    };
    let (last_seq, version) = (parse::<u64>(last_seq, "seq")?, parse::<u32>(version, "payload version")?);
    if version > PAYLOAD_VERSION {
        // Whatever a newer version has, this says that it is newer.
        codec::decode::<OrderEvent>(version, "null")?;
    }
    let first = i64::try_from(*first_seq).map_err(|error| undecodable("seq", error))?;
    let stored = StoredHistory { order_id, first_seq: first, payload_version: version.into(), payload };
    let events = stored.decode()?;
    if events.last().map(|event| event.seq) != Some(last_seq) {
        return Err(undecodable("events", format!("they do not end with number {last_seq}")));
    }
    Ok(events)
}

/// Decodes the events of an order after one, up to another.
pub(crate) fn events(
    order_id: OrderId,
    after: u64,
    last_seq: u64,
    writes: &[Written],
) -> impl Iterator<Item = Result<EventRecord, DecodeError>> {
    let each = |events: Result<Vec<EventRecord>, DecodeError>| match events {
        Ok(events) => events.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    };
    let is_wanted = move |event: &Result<EventRecord, DecodeError>| {
        event.as_ref().map_or(true, |event| event.seq > after && event.seq <= last_seq)
    };
    writes.iter().map(move |row| written(order_id, row)).flat_map(each).filter(is_wanted)
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
