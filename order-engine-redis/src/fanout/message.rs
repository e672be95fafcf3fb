//! What processes tell each other.

use std::borrow::Cow;
use std::sync::Arc;

use order_engine_core::{EventRecord, Hint, Lane, OrderEvent, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::rows;

/// How large a message may grow. Every subscriber is sent every message, and the server cuts off those
/// that are too far behind.
const MESSAGE_BYTES: usize = 64 * 1024;
/// The largest event that is told whole. Of a larger one only the number is told, and who wants it reads
/// the store.
const EVENT_BYTES: usize = 16 * 1024;

/// Some committed events.
#[derive(Serialize, Deserialize)]
struct Message<'a> {
    /// Who tells.
    #[serde(borrow)]
    from: Cow<'a, str>,
    /// Whether something before this was lost.
    #[serde(default)]
    lost: bool,
    /// The lanes in which orders became due.
    #[serde(borrow, default)]
    due: Vec<Cow<'a, str>>,
    /// The events, oldest first: the order, the number, and the event itself unless it is too large.
    #[serde(borrow, default)]
    events: Vec<(OrderId, u64, Option<&'a RawValue>)>,
}

/// Messages about events.
pub(super) fn encode(from: &str, has_lost: bool, events: &[Arc<EventRecord>]) -> Vec<String> {
    let texts: Vec<Option<Box<RawValue>>> = events.iter().map(|event| text(event)).collect();
    let mut messages = Vec::new();
    let mut first = 0;
    while first < events.len() {
        let mut bytes = 0;
        let fits = |text: &&Option<Box<RawValue>>| {
            bytes += text.as_ref().map_or(0, |text| text.get().len());
            bytes <= MESSAGE_BYTES
        };
        // One event fits in any case, since none is larger than a quarter of a message.
        let last = first + texts[first..].iter().take_while(fits).count();
        let told = events[first..last].iter().zip(&texts[first..last]);
        let message = Message {
            from: from.into(),
            lost: has_lost && first == 0,
            due: lanes(&events[first..last]),
            events: told.map(|(event, text)| (event.order_id, event.seq, text.as_deref())).collect(),
        };
        // Ids, numbers and texts that are JSON already can always be written.
        messages.extend(serde_json::to_string(&message));
        first = last;
    }
    messages
}

fn text(event: &EventRecord) -> Option<Box<RawValue>> {
    let text = rows::event_text(event).ok().filter(|text| text.len() <= EVENT_BYTES)?;
    RawValue::from_string(text).ok()
}

/// The lanes in which one of these events may have made an order due for whoever comes first. Where the
/// process that told it holds the order and goes on, there is nothing for others.
fn lanes(events: &[Arc<EventRecord>]) -> Vec<Cow<'static, str>> {
    let lane = |event: &EventRecord| match event.event {
        OrderEvent::Accepted { .. }
        | OrderEvent::QuarantineLifted
        | OrderEvent::TransactionDied { .. }
        | OrderEvent::RetryScheduled { retry_in_ms: 0, .. } => Some(Lane::Execute),
        OrderEvent::CancelRequested => Some(Lane::Observe),
        _ => None,
    };
    let has = |wanted: Lane| events.iter().any(|event| lane(event) == Some(wanted));
    let lanes = [Lane::Execute, Lane::Observe].into_iter().filter(|lane| has(*lane));
    lanes.map(|lane| lane.as_str().into()).collect()
}

/// The hints of a message; none of what this process said itself.
pub(super) fn decode(own: &str, message: &[u8]) -> Vec<Hint> {
    let Message { from, lost, due, events } = match serde_json::from_slice(message) {
        Ok(message) => message,
        Err(error) => {
            // Whoever said it may be newer. Something happened, in any case.
            tracing::debug!(%error, "a message cannot be read");
            return vec![Hint::Resync];
        }
    };
    if from == own {
        return Vec::new();
    }
    let lane = |name: &Cow<'_, str>| {
        [Lane::Execute, Lane::Observe].into_iter().find(|lane| lane.as_str() == &**name)
    };
    let mut hints: Vec<Hint> = lost.then_some(Hint::Resync).into_iter().collect();
    hints.extend(due.iter().filter_map(lane).map(Hint::Due));
    hints.extend(events.into_iter().map(|(order_id, seq, text)| {
        let event = text.and_then(|text| rows::event(order_id, seq, text.get().as_bytes()).ok());
        event.map_or(Hint::Advanced { order_id, seq }, |event| Hint::Event(Arc::new(event)))
    }));
    hints
}

#[cfg(test)]
mod tests {
    use order_engine_core::{Failure, FailureCode};

    use super::*;

    fn event(seq: u64, event: OrderEvent) -> Arc<EventRecord> {
        let at = chrono::DateTime::UNIX_EPOCH;
        let order_id = OrderId::new(at, 1 << 64);
        let status = order_engine_core::Status::Pending;
        Arc::new(EventRecord { order_id, seq, at, status, progress: 0, attempt: 1, max_attempts: 3, event })
    }

    fn failed(length: usize) -> OrderEvent {
        OrderEvent::Failed { failure: Failure::new(FailureCode::CANCELLED, "x".repeat(length)) }
    }

    fn heard(messages: &[String]) -> Vec<Hint> {
        messages.iter().flat_map(|message| decode("me", message.as_bytes())).collect()
    }

    #[test]
    fn events_arrive_whole_and_in_order() {
        let events = [event(1, OrderEvent::Accepted { max_attempts: 3 }), event(2, failed(9))];
        let messages = encode("you", false, &events);
        assert_eq!(messages.len(), 1);
        let [one, two] = events.map(Hint::Event);
        assert_eq!(heard(&messages), [Hint::Due(Lane::Execute), one, two]);
    }

    #[test]
    fn a_process_does_not_listen_to_itself() {
        assert_eq!(heard(&encode("me", true, &[event(1, OrderEvent::BuildStarted)])), []);
    }

    #[test]
    fn large_events_are_told_by_number_and_messages_stay_bounded() {
        let mut events: Vec<_> = (1..=20).map(|seq| event(seq, failed(10_000))).collect();
        events.push(event(21, failed(EVENT_BYTES)));
        let messages = encode("you", false, &events);
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.len() < MESSAGE_BYTES + 8 * 1024));
        let hints = heard(&messages);
        assert_eq!(hints.len(), 21);
        assert_eq!(hints[19], Hint::Event(Arc::clone(&events[19])));
        assert_eq!(hints[20], Hint::Advanced { order_id: events[20].order_id, seq: 21 });
    }

    #[test]
    fn a_loss_is_told_once() {
        let events: Vec<_> = (1..=20).map(|seq| event(seq, failed(10_000))).collect();
        let hints = heard(&encode("you", true, &events));
        assert_eq!(hints.iter().filter(|hint| **hint == Hint::Resync).count(), 1);
        assert_eq!(hints[0], Hint::Resync);
    }

    #[test]
    fn what_cannot_be_read_is_looked_up_in_the_store() {
        let message = encode("you", false, &[event(7, OrderEvent::BuildStarted)]).remove(0);
        let newer = message.replace("\"version\":", "\"version\":9");
        let order_id = event(7, OrderEvent::BuildStarted).order_id;
        assert_eq!(heard(&[newer]), [Hint::Advanced { order_id, seq: 7 }]);
        assert_eq!(heard(&["from the future".to_owned()]), [Hint::Resync]);
    }
}
