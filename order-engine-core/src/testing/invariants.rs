//! What must hold of an order, whatever went wrong: checks that give what they find.

use std::fmt;
use std::sync::Arc;

use crate::domain::event::{EventRecord, OrderEvent, Status};
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::state::OrderState;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The order it is about, if it is about one.
    pub order_id: Option<OrderId>,
    /// The promise.
    pub promise: &'static str,
    /// What was found instead.
    pub found: String,
}

impl Violation {
    /// A promise that was not kept for an order.
    pub fn of(order_id: OrderId, promise: &'static str, found: impl Into<String>) -> Self {
        Self { order_id: Some(order_id), promise, found: found.into() }
    }

    /// A promise that was not kept.
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

/// How many events of a long history are shown, at its beginning and at its end each.
const SHOWN: usize = 20;

/// The kinds of a history's events, in order, for people to read.
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

/// Checks a history against itself and against its order: it is numbered without a hole, its fold is the
/// order's state, nothing follows its end, nothing is built again after a cancel, and neither its times nor
/// the progress of an attempt run backwards.
pub fn check_history(order: &Order, history: &[EventRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut note = |promise, text: String| found.push(Violation::of(order.id, promise, text));
    let numbers: Vec<u64> = history.iter().map(|record| record.seq).collect();
    if !numbers.iter().copied().eq(1..=order.seq) {
        note("events are numbered from 1 without a hole", format!("{numbers:?}, revision {}", order.seq));
    }
    match OrderState::replay(history) {
        Ok(state) if state == order.state => {}
        Ok(state) => note("the state is the fold of the events", format!("{state:?}, not {:?}", order.state)),
        Err(error) => note("the state is the fold of the events", error.to_string()),
    }
    let end = history.iter().position(|record| record.status.is_terminal());
    if end.is_some_and(|end| end + 1 != history.len()) {
        note("nothing follows the end", kinds(history));
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
    let wish = history.iter().position(|record| record.event == OrderEvent::CancelRequested);
    if wish.is_some_and(|wish| history[wish..].iter().any(is_built)) {
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

/// Checks an order that has ended against the ledger of its venue: it was executed once if it is
/// confirmed, and never if it failed.
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

/// Checks what a durable sink was told of an order: every event at least once, each for the first time
/// in order, and nothing else.
pub fn check_told(history: &[EventRecord], told: &[Arc<EventRecord>]) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    let numbers = || format!("{:?} of {}", numbers(told), history.len());
    let mut found = Vec::new();
    if !told.iter().all(|event| is_recorded(history, event)) {
        found.push(Violation::of(order_id, "a sink is told what is committed", numbers()));
    }
    let first_hearing =
        told.iter().try_fold(0, |last, event| (event.seq <= last + 1).then_some(last.max(event.seq)));
    match first_hearing {
        None => {
            found.push(Violation::of(order_id, "a durable sink hears each event first in order", numbers()));
        }
        Some(last) if last != history.len() as u64 => {
            found.push(Violation::of(order_id, "a durable sink hears every event", numbers()));
        }
        Some(_) => {}
    }
    found
}

/// Checks what a best-effort sink was told of an order: nothing that is not in its history.
pub fn check_hinted(history: &[EventRecord], told: &[Arc<EventRecord>]) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    if told.iter().all(|event| is_recorded(history, event)) {
        return Vec::new();
    }
    let text = format!("{:?} of {}", numbers(told), history.len());
    vec![Violation::of(order_id, "a sink is told what is committed", text)]
}

/// Checks what a subscriber that began after the event numbered `after` was given: every later event,
/// once, in order, and nothing else.
pub fn check_followed(history: &[EventRecord], after: u64, given: &[Arc<EventRecord>]) -> Vec<Violation> {
    let Some(order_id) = history.first().map(|record| record.order_id) else { return Vec::new() };
    let mut found = Vec::new();
    let last = history.len() as u64;
    if !given.iter().map(|event| event.seq).eq(after + 1..=last) {
        let text = format!("{:?} after {after} of {last}", numbers(given));
        found.push(Violation::of(order_id, "a subscriber gets every event once and in order", text));
    }
    if !given.iter().all(|event| is_recorded(history, event)) {
        let text = format!("{:?}", numbers(given));
        found.push(Violation::of(order_id, "a subscriber is told what is committed", text));
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

    /// An order that was cancelled while it was routed.
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
            ["events are numbered from 1 without a hole", folds]
        );
        let mut backwards = history.clone();
        backwards[2].at = at(0);
        assert_eq!(promises(&check_history(&order, &backwards)), ["times do not run backwards"]);
        let mut followed = history.clone();
        followed.push(history[1].clone());
        assert!(promises(&check_history(&order, &followed)).contains(&"nothing follows the end"));
    }

    #[test]
    fn executions_agree_with_the_end() {
        let (order, _) = cancelled();
        assert_eq!(check_executions(&order, 0), []);
        assert_eq!(promises(&check_executions(&order, 1)), ["executed once if confirmed"]);
    }

    #[test]
    fn sinks_and_subscribers_are_told_everything_in_order_and_nothing_else() {
        let (_, history) = cancelled();
        let told = |numbers: &[usize]| -> Vec<Arc<EventRecord>> {
            numbers.iter().map(|number| Arc::new(history[number - 1].clone())).collect()
        };
        assert_eq!(check_told(&history, &told(&[1, 2, 1, 2, 3])), []);
        assert_eq!(promises(&check_told(&history, &told(&[1, 2]))), ["a durable sink hears every event"]);
        let in_order = "a durable sink hears each event first in order";
        assert_eq!(promises(&check_told(&history, &told(&[1, 3, 2]))), [in_order]);
        assert_eq!(check_followed(&history, 1, &told(&[2, 3])), []);
        let once = "a subscriber gets every event once and in order";
        for wrong in [&[1, 2, 3][..], &[2], &[3], &[2, 2, 3]] {
            assert_eq!(promises(&check_followed(&history, 1, &told(wrong))), [once], "{wrong:?}");
        }
        let mut uncommitted = told(&[1, 2, 3]);
        Arc::make_mut(&mut uncommitted[2]).at = at(9);
        assert_eq!(promises(&check_told(&history, &uncommitted)), ["a sink is told what is committed"]);
        assert_eq!(promises(&check_hinted(&history, &uncommitted)), ["a sink is told what is committed"]);
        let committed = "a subscriber is told what is committed";
        assert_eq!(promises(&check_followed(&history, 0, &uncommitted)), [committed]);
    }
}
