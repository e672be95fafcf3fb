//! The guarantees that hold for every order whatever goes wrong, as functions that return violations.

use std::fmt;
use std::sync::Arc;

use crate::domain::event::{EventRecord, OrderEvent, Status};
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::state::OrderState;

/// A guarantee that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The order, if the guarantee concerns one.
    pub order_id: Option<OrderId>,
    /// The guarantee.
    pub promise: &'static str,
    /// A description of what was found instead.
    pub found: String,
}

impl Violation {
    /// Returns a violation that concerns an order.
    pub fn of(order_id: OrderId, promise: &'static str, found: impl Into<String>) -> Self {
        Self { order_id: Some(order_id), promise, found: found.into() }
    }

    /// Returns a violation that concerns no single order.
    pub fn new(promise: &'static str, found: impl Into<String>) -> Self {
        Self { order_id: None, promise, found: found.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.order_id {
            write!(f, "order {id}: ")?;
        }
        write!(f, "{}: {}", self.promise, self.found)
    }
}

/// The number of events that are shown at the beginning and at the end of a long history.
const SHOWN: usize = 20;

/// Returns the kinds of a history's events, in order and as text.
pub fn kinds(history: &[EventRecord]) -> String {
    let kinds = |records: &[EventRecord]| {
        let kinds: Vec<&str> = records.iter().map(|record| record.event.kind()).collect();
        kinds.join(" ")
    };
    match history.len().checked_sub(2 * SHOWN) {
        None | Some(0) => kinds(history),
        Some(left_out) => {
            let (first, last) = (&history[..SHOWN], &history[history.len() - SHOWN..]);
            format!("{} … {left_out} more … {}", kinds(first), kinds(last))
        }
    }
}

/// Checks a history by itself and against its order: its numbers have no gap, its fold is the order's state,
/// nothing follows a terminal event, nothing is built after a cancel, and neither its times nor the progress
/// of an attempt run backwards.
pub fn check_history(order: &Order, history: &[EventRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut note = |promise, text: String| found.push(Violation::of(order.id, promise, text));
    let numbers: Vec<u64> = history.iter().map(|record| record.seq).collect();
    if !numbers.iter().copied().eq(1..=order.seq) {
        note("events are numbered from 1 without a gap", format!("{numbers:?}, revision {}", order.seq));
    }
    match OrderState::replay(history) {
        Ok(state) if state == order.state => {}
        Ok(state) => note("the state is the fold of the events", format!("{state:?}, not {:?}", order.state)),
        Err(error) => note("the state is the fold of the events", error.to_string()),
    }
    let end = history.iter().position(|record| record.status.is_terminal());
    if end.is_some_and(|end| end + 1 != history.len()) {
        note("nothing follows a terminal event", kinds(history));
    }
    if !history.is_sorted_by_key(|record| record.at) {
        note("times do not run backwards", kinds(history));
    }
    let runs_back = |pair: &[EventRecord]| {
        let [before, after] = pair else { return false };
        let goes_on = after.attempt == before.attempt && !after.status.is_terminal();
        goes_on && after.progress < before.progress
    };
    if history.windows(2).any(runs_back) {
        let progress: Vec<u8> = history.iter().map(|record| record.progress).collect();
        note(
            "the progress of an attempt does not run backwards",
            format!("{progress:?}: {}", kinds(history)),
        );
    }
    let cancel = history.iter().position(|record| record.event == OrderEvent::CancelRequested);
    if cancel.is_some_and(|cancel| history[cancel..].iter().any(is_built)) {
        note("nothing is built after a cancel", kinds(history));
    }
    found
}

fn is_built(record: &EventRecord) -> bool {
    matches!(
        record.event,
        OrderEvent::RoutingStarted { .. }
            | OrderEvent::BuildRestarted { .. }
            | OrderEvent::TransactionSigned { .. }
    )
}

/// Checks an order against the ledger of its venue: a confirmed order was executed once, and a failed one
/// never.
pub fn check_executions(order: &Order, executions: usize) -> Vec<Violation> {
    let expected = usize::from(order.status() == Status::Confirmed);
    let is_possible = executions == expected || (!order.status().is_terminal() && executions <= 1);
    let found = || {
        let failure = order.state.failure().map(ToString::to_string).unwrap_or_default();
        format!("{executions} executions, and it is {} {failure}", order.status())
    };
    if is_possible {
        Vec::new()
    } else {
        vec![Violation::of(order.id, "executed once if confirmed", found())]
    }
}

/// Checks the events of an order that a durable sink got: every event at least once, each for the first time
/// in order, and no other event.
pub fn check_durable_sink(history: &[EventRecord], delivered: &[Arc<EventRecord>]) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    let mut found = check_best_effort_sink(history, delivered);
    let text = || format!("{:?} of {}", numbers(delivered), history.len());
    let last_new =
        delivered.iter().try_fold(0, |last, event| (event.seq <= last + 1).then_some(last.max(event.seq)));
    match last_new {
        None => {
            found.push(Violation::of(order_id, "a durable sink gets each event first in order", text()));
        }
        Some(last) if last != history.len() as u64 => {
            found.push(Violation::of(order_id, "a durable sink gets every event", text()));
        }
        Some(_) => {}
    }
    found
}

/// Checks the events of an order that a best-effort sink got: each is in the order's history.
pub fn check_best_effort_sink(history: &[EventRecord], delivered: &[Arc<EventRecord>]) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    if delivered.iter().all(|event| is_recorded(history, event)) {
        return Vec::new();
    }
    let text = format!("{:?} of {}", numbers(delivered), history.len());
    vec![Violation::of(order_id, "a sink gets committed events only", text)]
}

/// Checks the events that a subscriber got which began after the event numbered `after`: every later event
/// once and in order, and no other event.
pub fn check_subscriber(
    history: &[EventRecord],
    after: u64,
    received: &[Arc<EventRecord>],
) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    let mut found = Vec::new();
    let last = history.len() as u64;
    if !received.iter().map(|event| event.seq).eq(after + 1..=last) {
        let text = format!("{:?} after {after} of {last}", numbers(received));
        found.push(Violation::of(order_id, "a subscriber gets every event once and in order", text));
    }
    if !received.iter().all(|event| is_recorded(history, event)) {
        let text = format!("{:?}", numbers(received));
        found.push(Violation::of(order_id, "a subscriber gets committed events only", text));
    }
    found
}

fn is_recorded(history: &[EventRecord], event: &EventRecord) -> bool {
    let index = usize::try_from(event.seq).unwrap_or(usize::MAX).wrapping_sub(1);
    history.get(index).is_some_and(|record| record == event)
}

fn numbers(events: &[Arc<EventRecord>]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::testing::request;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// Returns an order that was cancelled while it was routed, and its history.
    fn cancelled() -> (Order, Vec<EventRecord>) {
        let (mut order, accepted) = Order::accept(OrderId::new(at(1), 1), request(), 3, at(1));
        let failure = Failure::new(FailureCode::CANCELLED, "The order was cancelled");
        let events =
            [OrderEvent::RoutingStarted { attempt: 1, dexes: Vec::new() }, OrderEvent::Failed { failure }];
        let mut history = vec![accepted];
        history.extend(events.map(|event| order.advance_mut(event, at(2)).unwrap()));
        (order, history)
    }

    fn promises(found: &[Violation]) -> Vec<&'static str> {
        found.iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_sound_history_has_no_violation_and_a_torn_one_has() {
        let (order, history) = cancelled();
        assert_eq!(check_history(&order, &history), []);
        let gap = [history[0].clone(), history[2].clone()];
        let folds = "the state is the fold of the events";
        assert_eq!(
            promises(&check_history(&order, &gap)),
            ["events are numbered from 1 without a gap", folds]
        );
        let mut backwards = history.clone();
        backwards[2].at = at(0);
        assert_eq!(promises(&check_history(&order, &backwards)), ["times do not run backwards"]);
        let mut followed = history.clone();
        followed.push(history[1].clone());
        assert!(promises(&check_history(&order, &followed)).contains(&"nothing follows a terminal event"));
    }

    #[test]
    fn executions_agree_with_the_end() {
        let (order, _) = cancelled();
        assert_eq!(check_executions(&order, 0), []);
        assert_eq!(promises(&check_executions(&order, 1)), ["executed once if confirmed"]);
    }

    #[test]
    fn sinks_and_subscribers_get_every_event_in_order_and_no_other() {
        let (_, history) = cancelled();
        let events = |numbers: &[usize]| -> Vec<Arc<EventRecord>> {
            numbers.iter().map(|number| Arc::new(history[number - 1].clone())).collect()
        };
        assert_eq!(check_durable_sink(&history, &events(&[1, 2, 1, 2, 3])), []);
        let every = "a durable sink gets every event";
        assert_eq!(promises(&check_durable_sink(&history, &events(&[1, 2]))), [every]);
        let in_order = "a durable sink gets each event first in order";
        assert_eq!(promises(&check_durable_sink(&history, &events(&[1, 3, 2]))), [in_order]);
        assert_eq!(check_subscriber(&history, 1, &events(&[2, 3])), []);
        let once = "a subscriber gets every event once and in order";
        for wrong in [&[1, 2, 3][..], &[2], &[3], &[2, 2, 3]] {
            assert_eq!(promises(&check_subscriber(&history, 1, &events(wrong))), [once], "{wrong:?}");
        }
        let mut uncommitted = events(&[1, 2, 3]);
        Arc::make_mut(&mut uncommitted[2]).at = at(9);
        let committed = "a sink gets committed events only";
        assert_eq!(promises(&check_durable_sink(&history, &uncommitted)), [committed]);
        assert_eq!(promises(&check_best_effort_sink(&history, &uncommitted)), [committed]);
        let committed = "a subscriber gets committed events only";
        assert_eq!(promises(&check_subscriber(&history, 0, &uncommitted)), [committed]);
    }
}
