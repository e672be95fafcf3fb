//! The messages between processes: committed events, many to a message, which the receiver takes as [`Hint`]s.
//!
//! Every fan-out uses this one format, whichever broker carries the messages: the sender's name in hexadecimal digits,
//! by which a process knows its own messages without parsing them, and then JSON.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::codec::{DecodeError, PAYLOAD_VERSION};
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::ports::source::Hint;

/// The digits of a sender's name.
const SENDER_DIGITS: usize = 32;
/// The size of a message without its items, and of the commas between them.
const ENVELOPE_BYTES: usize = 96;

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    /// The payload version of the events.
    version: u32,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Item<'a> {
    Due(Lane),
    #[serde(borrow)]
    Event(&'a RawValue),
    Advanced(Position),
    Resync,
}

/// The part of an event that can be decoded whatever its version.
#[derive(Serialize, Deserialize)]
struct Position {
    order_id: OrderId,
    seq: u64,
}

/// Packs committed events into messages of at most `max_bytes` each.
///
/// An event that is too large for a message is replaced by its order and number, by which the receiver reads
/// it from the store.
pub fn pack(events: &[Arc<EventRecord>], sender: u128, max_bytes: usize) -> Vec<String> {
    let mut packer =
        Packer { sender, room: max_bytes.saturating_sub(ENVELOPE_BYTES), items: Vec::new(), bytes: 0 };
    let mut messages = Vec::new();
    for lane in [Lane::Execute, Lane::Observe] {
        if events.iter().any(|event| due_in(&event.event) == Some(lane)) {
            packer.add(Packed::Due(lane), &mut messages);
        }
    }
    for event in events {
        packer.add(packer.packed(event), &mut messages);
    }
    packer.flush(&mut messages);
    messages
}

/// Returns the message that makes its receivers [resync](Hint::Resync), because the sender did not publish
/// all that it committed.
pub fn resync(sender: u128) -> String {
    encode(sender, vec![Item::Resync]).unwrap_or_default()
}

/// Returns the message that only tells the others that the sender is there.
pub fn presence(sender: u128) -> String {
    encode(sender, Vec::new()).unwrap_or_default()
}

/// Unpacks the message of another process into its hints; a message that `own` sent is none.
///
/// # Errors
/// If it is not a message of this format.
pub fn unpack(message: &str, own: u128) -> Result<Option<Vec<Hint>>, DecodeError> {
    let no_sender = || DecodeError { message: "the message does not begin with its sender".to_owned() };
    let (sender, body) = message.split_at_checked(SENDER_DIGITS).ok_or_else(no_sender)?;
    if u128::from_str_radix(sender, 16).map_err(|_| no_sender())? == own {
        return Ok(None);
    }
    let undecodable = |error: serde_json::Error| DecodeError { message: error.to_string() };
    let Message { version, items } = serde_json::from_str(body).map_err(undecodable)?;
    let hint = |item| match item {
        Item::Due(lane) => Ok(Hint::Due(lane)),
        Item::Event(event) if version == PAYLOAD_VERSION => {
            serde_json::from_str(event.get()).map(|event| Hint::Event(Arc::new(event)))
        }
        // Another version of this software wrote it. The engine reads it from the store.
        Item::Event(event) => serde_json::from_str(event.get()).map(Position::into_hint),
        Item::Advanced(position) => Ok(position.into_hint()),
        Item::Resync => Ok(Hint::Resync),
    };
    items.into_iter().map(|item| hint(item).map_err(undecodable)).collect::<Result<_, _>>().map(Some)
}

/// Returns the lane in which an event makes its order due at once, even if a worker holds a lease of it.
const fn due_in(event: &OrderEvent) -> Option<Lane> {
    match event {
        OrderEvent::Accepted { .. } | OrderEvent::QuarantineLifted => Some(Lane::Execute),
        OrderEvent::CancelRequested | OrderEvent::OutcomeResolved { .. } => Some(Lane::Observe),
        _ => None,
    }
}

impl Position {
    fn into_hint(self) -> Hint {
        Hint::Advanced { order_id: self.order_id, seq: self.seq }
    }
}

/// An item that is ready to be sent.
enum Packed {
    Due(Lane),
    Event(Box<RawValue>),
    Advanced(Position),
}

impl Packed {
    fn item(&self) -> Item<'_> {
        match self {
            Self::Due(lane) => Item::Due(*lane),
            Self::Event(event) => Item::Event(event),
            Self::Advanced(Position { order_id, seq }) => {
                Item::Advanced(Position { order_id: *order_id, seq: *seq })
            }
        }
    }

    /// Returns how many bytes the item takes at most, with its name.
    fn bytes(&self) -> usize {
        const NAME: usize = r#"{"advanced":},"#.len();
        const UUID: usize = 36;
        const U64: usize = 20;
        const POSITION: usize = r#"{"order_id":"","seq":}"#.len() + UUID + U64;
        NAME + match self {
            Self::Due(_) => r#""execute""#.len(),
            Self::Event(event) => event.get().len(),
            Self::Advanced(_) => POSITION,
        }
    }
}

struct Packer {
    sender: u128,
    /// The size of the items that fit into a message, in bytes.
    room: usize,
    items: Vec<Packed>,
    bytes: usize,
}

impl Packer {
    fn packed(&self, event: &EventRecord) -> Packed {
        match serde_json::value::to_raw_value(event).map(Packed::Event) {
            Ok(packed) if packed.bytes() <= self.room => packed,
            _ => Packed::Advanced(Position { order_id: event.order_id, seq: event.seq }),
        }
    }

    fn add(&mut self, item: Packed, messages: &mut Vec<String>) {
        let bytes = item.bytes();
        if self.bytes + bytes > self.room {
            self.flush(messages);
        }
        self.bytes += bytes;
        self.items.push(item);
    }

    fn flush(&mut self, messages: &mut Vec<String>) {
        let items: Vec<Item<'_>> = self.items.iter().map(Packed::item).collect();
        if items.is_empty() {
            return;
        }
        messages.extend(encode(self.sender, items));
        self.items.clear();
        self.bytes = 0;
    }
}

/// Encodes a message. No message fails to encode, and even a lost one would do no harm.
fn encode(sender: u128, items: Vec<Item<'_>>) -> Option<String> {
    let mut message = format!("{sender:0SENDER_DIGITS$x}").into_bytes();
    serde_json::to_writer(&mut message, &Message { version: PAYLOAD_VERSION, items }).ok()?;
    String::from_utf8(message).ok()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::ids::OrderId;
    use crate::domain::order::Order;

    /// Returns the events of an order that was accepted and failed for this reason.
    fn history(n: u128, reason: &str) -> [Arc<EventRecord>; 2] {
        let now = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let (order, accepted) = Order::accept(OrderId::new(now, n), crate::testing::request(), 3, now);
        let failure = Failure::new(FailureCode::CANCELLED, reason);
        let (_, failed) = order.advance(OrderEvent::Failed { failure }, now).unwrap();
        [Arc::new(accepted), Arc::new(failed)]
    }

    fn unpacked(messages: &[String], own: u128) -> Vec<Hint> {
        messages.iter().flat_map(|message| unpack(message, own).unwrap().unwrap_or_default()).collect()
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let [accepted, failed] = history(1, "for \"reasons\" of { its own");
        let messages = pack(&[Arc::clone(&accepted), Arc::clone(&failed)], 7, 8_000);
        assert_eq!(messages.len(), 1);
        let expected = [Hint::Due(Lane::Execute), Hint::Event(accepted), Hint::Event(failed)];
        assert_eq!(unpacked(&messages, 8), expected);
        assert_eq!(unpacked(&messages, 7), [], "a process skips its own messages");
    }

    #[test]
    fn many_events_share_messages_of_a_bounded_size() {
        let events: Vec<_> = (0..200).flat_map(|n| history(n, "reason")).collect();
        for max_bytes in [1_000, 7_999, 64_000] {
            let messages = pack(&events, u128::MAX, max_bytes);
            assert!(messages.iter().all(|message| message.len() <= max_bytes));
            let bytes: usize = messages.iter().map(String::len).sum();
            assert!(messages.len() <= 1 + 2 * bytes / max_bytes, "messages are filled");
            let hints = unpacked(&messages, 0);
            let events_hinted: Vec<_> =
                hints.into_iter().filter(|hint| *hint != Hint::Due(Lane::Execute)).collect();
            assert_eq!(events_hinted, events.iter().cloned().map(Hint::Event).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_event_that_is_too_large_is_replaced_by_its_number() {
        let [_, failed] = history(1, &"x".repeat(10_000));
        let messages = pack(std::slice::from_ref(&failed), 0, 8_000);
        let position = Hint::Advanced { order_id: failed.order_id, seq: failed.seq };
        assert_eq!(unpacked(&messages, 1), [position]);
    }

    #[test]
    fn an_event_of_another_version_is_replaced_by_its_number() {
        let [accepted, _] = history(1, "");
        let [message] = &pack(std::slice::from_ref(&accepted), 0, 8_000)[..] else { panic!() };
        let newer = message
            .replace(&format!("\"version\":{PAYLOAD_VERSION}"), "\"version\":4000000000")
            .replace("\"accepted\"", "\"unheard_of\"");
        let position = Hint::Advanced { order_id: accepted.order_id, seq: 1 };
        assert_eq!(unpacked(&[newer], 1), [Hint::Due(Lane::Execute), position]);
    }

    #[test]
    fn other_texts_are_refused() {
        let sender = format!("{:032x}", 1);
        let elsewhere = format!(r#"{sender}{{"version":2,"items":[{{"due":"elsewhere"}}]}}"#);
        for text in ["", "{}", "[]", "{\"version\":2,\"items\":[],\"padding\":0}", &sender, &elsewhere] {
            assert!(unpack(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn a_resync_reaches_the_others_and_a_presence_has_no_hints() {
        assert_eq!(unpack(&resync(1), 2).unwrap(), Some(vec![Hint::Resync]));
        assert_eq!(unpack(&presence(1), 2).unwrap(), Some(vec![]));
        for message in [resync(u128::MAX), presence(u128::MAX)] {
            assert_eq!(unpack(&message, u128::MAX).unwrap(), None, "a process skips its own messages");
        }
    }
}
