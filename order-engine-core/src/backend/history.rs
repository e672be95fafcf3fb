//! The events of one write as one row: an order has three or four of these where it has eight events.
//!
//! The row's text is a JSON array with an object for each event, which SQL can take apart:
//! `at`, `status`, `progress`, `attempt`, `max_attempts`, `message` and `event`, the payload with its `kind`. An
//! event's number is that of the first one plus its place. Where an event after the first one has no `at`, `attempt` or
//! `max_attempts`, it has that of the first one.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::backend::decode::{Decoded, version};
use crate::backend::integers::{decode_u64, encode_u64};
use crate::domain::codec::{self, DecodeError, ItemRejected, PAYLOAD_VERSION};
use crate::domain::event::{EventRecord, Status};
use crate::domain::failure::Failure;
use crate::domain::ids::OrderId;

/// The events of one write, ready to be written as one row.
pub struct HistoryColumns<'a> {
    /// The order.
    pub order_id: OrderId,
    /// The number of the first event.
    pub first_seq: i64,
    /// The number of the last event.
    pub last_seq: i64,
    /// The version of `payload`.
    pub payload_version: i64,
    /// The encoded events.
    pub payload: String,
    /// The failures among the events.
    pub failures: Vec<FailureColumns<'a>>,
}

/// A failure among the events of a write.
#[derive(Clone, Copy, Debug)]
pub struct FailureColumns<'a> {
    /// The order.
    pub order_id: OrderId,
    /// The number of the event.
    pub seq: i64,
    /// The number of the attempt.
    pub attempt: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The failure.
    pub failure: &'a Failure,
}

/// The columns from which the events of one write are decoded.
#[derive(Clone, Copy)]
pub struct StoredHistory<'r> {
    /// The order.
    pub order_id: OrderId,
    /// The number of the first event.
    pub first_seq: i64,
    /// The version of `payload`.
    pub payload_version: i64,
    /// The encoded events.
    pub payload: &'r str,
}

/// An event in the text of a row.
#[derive(Serialize, Deserialize)]
struct Written<E, M> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<DateTime<Utc>>,
    status: Status,
    progress: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    message: M,
    event: E,
}

/// What the events of a write mostly have in common. It is written with the first one.
#[derive(Clone, Copy)]
struct Common {
    at: DateTime<Utc>,
    attempt: u32,
    max_attempts: u32,
}

impl Common {
    const fn of(record: &EventRecord) -> Self {
        Self { at: record.at, attempt: record.attempt, max_attempts: record.max_attempts }
    }
}

/// Returns a value, unless it is that of the first event.
fn unless_common<T: PartialEq + Copy>(
    common: Option<Common>,
    of: fn(Common) -> T,
    record: &EventRecord,
) -> Option<T> {
    let value = of(Common::of(record));
    (common.map(of) != Some(value)).then_some(value)
}

/// Shows no payload, which may have the bytes of a signed transaction.
impl fmt::Debug for HistoryColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryColumns")
            .field("order_id", &self.order_id)
            .field("first_seq", &self.first_seq)
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

/// Shows no payload, as above.
impl fmt::Debug for StoredHistory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHistory")
            .field("order_id", &self.order_id)
            .field("first_seq", &self.first_seq)
            .field("payload_version", &self.payload_version)
            .finish_non_exhaustive()
    }
}

impl<'a> HistoryColumns<'a> {
    /// Returns the row of the events of one write of an order, oldest first: at least one, numbered without a gap.
    ///
    /// # Errors
    /// If an event cannot be encoded, or a number does not fit into 63 bits.
    pub fn new(
        order_id: OrderId,
        events: impl Iterator<Item = &'a EventRecord>,
    ) -> Result<Self, ItemRejected> {
        let (mut seqs, mut failures, mut written) = (None, Vec::new(), Vec::with_capacity(8));
        let mut common = None;
        for record in events {
            let seq = encode_u64(record.seq)?;
            seqs = Some((seqs.map_or(seq, |(first, _)| first), seq));
            if let Some(failure) = record.event.failure() {
                let (attempt, at) = (i64::from(record.attempt), record.at);
                failures.push(FailureColumns { order_id, seq, attempt, at, failure });
            }
            written.push(Written {
                at: unless_common(common, |common| common.at, record),
                status: record.status,
                progress: record.progress,
                attempt: unless_common(common, |common| common.attempt, record),
                max_attempts: unless_common(common, |common| common.max_attempts, record),
                message: record.message(),
                event: &record.event,
            });
            common.get_or_insert(Common::of(record));
        }
        let (first_seq, last_seq) = seqs.ok_or_else(|| rejected("a write has no event"))?;
        let payload = encoded(&written).map_err(|error| rejected(error.to_string()))?;
        Ok(Self {
            order_id,
            first_seq,
            last_seq,
            payload_version: i64::from(PAYLOAD_VERSION),
            payload,
            failures,
        })
    }
}

/// The room for most writes. What begins smaller grows several times.
const PAYLOAD_BYTES: usize = 2_048;

fn encoded(written: &impl Serialize) -> serde_json::Result<String> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    serde_json::to_writer(&mut payload, written)?;
    String::from_utf8(payload).map_err(serde::ser::Error::custom)
}

impl StoredHistory<'_> {
    /// Returns the events, oldest first.
    ///
    /// # Errors
    /// If the version is newer than this program, or a column holds what this program never writes.
    pub fn decode(&self) -> Decoded<Vec<EventRecord>> {
        let (first, version) = (decode_u64(self.first_seq, "seq")?, version(self.payload_version)?);
        let written: Vec<Written<&RawValue, serde::de::IgnoredAny>> =
            serde_json::from_str(self.payload).map_err(|error| DecodeError { message: error.to_string() })?;
        let common = common(&written)?;
        let record = |(seq, written): (u64, Written<&RawValue, _>)| {
            Ok(EventRecord {
                order_id: self.order_id,
                seq,
                at: written.at.unwrap_or(common.at),
                status: written.status,
                progress: written.progress,
                attempt: written.attempt.unwrap_or(common.attempt),
                max_attempts: written.max_attempts.unwrap_or(common.max_attempts),
                event: codec::decode(version, written.event.get())?,
            })
        };
        (first..).zip(written).map(record).collect()
    }
}

/// Returns what the first event has, which must have all of it.
fn common<E, M>(written: &[Written<E, M>]) -> Decoded<Common> {
    let common = |first: &Written<E, M>| {
        Some(Common { at: first.at?, attempt: first.attempt?, max_attempts: first.max_attempts? })
    };
    let incomplete = || DecodeError { message: "the first event of a write is incomplete".to_owned() };
    written.first().and_then(common).ok_or_else(incomplete)
}

fn rejected(message: impl Into<String>) -> ItemRejected {
    ItemRejected { message: message.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::failure::{FailureClass, FailureCode};
    use crate::domain::order::Order;

    fn history() -> Vec<EventRecord> {
        let now = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let id = OrderId::from_bytes([7; 16]);
        let (mut order, accepted) = Order::accept(id, crate::testing::request(), 3, now);
        let failure = Failure::new(FailureCode::NO_ROUTE, "no \"route\" \u{0} at all");
        let retry_in = Duration::from_millis(5);
        let mut records = vec![accepted];
        for event in [
            OrderEvent::RoutingStarted { attempt: 1, dexes: vec!["Raydium".into()] },
            OrderEvent::AttemptFailed { failure, class: FailureClass::Transient },
            OrderEvent::RetryScheduled { retry_at: now + retry_in, retry_in },
        ] {
            let (next, record) = order.advance(event, now).unwrap();
            order = next;
            records.push(record);
        }
        records
    }

    fn stored<'r>(columns: &'r HistoryColumns<'_>) -> StoredHistory<'r> {
        let HistoryColumns { order_id, first_seq, payload_version, .. } = *columns;
        StoredHistory { order_id, first_seq, payload_version, payload: &columns.payload }
    }

    #[test]
    fn the_events_of_a_write_come_back_from_one_row() {
        let history = history();
        for events in [&history[..1], &history[1..]] {
            let columns = HistoryColumns::new(events[0].order_id, events.iter()).unwrap();
            let seq = |record: &EventRecord| i64::try_from(record.seq).unwrap();
            let expected = (seq(&events[0]), seq(&events[events.len() - 1]));
            assert_eq!((columns.first_seq, columns.last_seq), expected);
            assert_eq!(stored(&columns).decode().unwrap(), events);
        }
        let columns = HistoryColumns::new(history[0].order_id, history[1..].iter()).unwrap();
        let failures: Vec<_> = columns.failures.iter().map(|row| (row.seq, &row.failure.code)).collect();
        assert_eq!(failures, [(3, &FailureCode::NO_ROUTE)]);
    }

    #[test]
    fn what_this_program_never_writes_is_an_error() {
        let history = history();
        let columns = HistoryColumns::new(history[0].order_id, history.iter()).unwrap();
        let sound = stored(&columns);
        assert!(StoredHistory { payload_version: 99, ..sound }.decode().is_err());
        assert!(StoredHistory { first_seq: -1, ..sound }.decode().is_err());
        assert!(StoredHistory { payload: "[{}]", ..sound }.decode().is_err());
        let unheard = columns.payload.replace("\"pending\"", "\"unheard_of\"");
        assert!(StoredHistory { payload: &unheard, ..sound }.decode().is_err());
        assert!(HistoryColumns::new(history[0].order_id, std::iter::empty()).is_err());
    }
}
