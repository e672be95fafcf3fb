//! Assertions about orders.

use super::sink::RecordingSink;
use crate::domain::event::{EventRecord, Status};
use crate::domain::ids::OrderId;
use crate::domain::state::OrderState;
use crate::engine::Engine;

/// Returns the statuses that an order went through, without repetitions in a row.
pub fn path(history: &[EventRecord]) -> Vec<Status> {
    let mut path: Vec<Status> = history.iter().map(|record| record.status).collect();
    path.dedup();
    path
}

/// Asserts that an order went through these statuses, and that its stored state is the fold of its events.
/// Returns its history.
///
/// # Panics
/// If an assertion fails, or the store does.
pub async fn assert_path(engine: &Engine, id: OrderId, expected: &[Status]) -> Vec<EventRecord> {
    let order = engine.order(id).await.expect("the store answers").expect("the order exists");
    let history = engine.events(id, 0, u32::MAX).await.expect("the store answers");
    assert_eq!(path(&history), expected, "the path of order {id}");
    assert_eq!(OrderState::replay(&history), Ok(order.state), "the state of order {id}");
    history
}

/// Asserts that a sink got every event of an order this many times, in order each time.
///
/// # Panics
/// If an assertion fails, or the store does.
pub async fn assert_broadcasts(engine: &Engine, sink: &RecordingSink, id: OrderId, times: usize) {
    let history = engine.events(id, 0, u32::MAX).await.expect("the store answers");
    let delivered: Vec<u64> = sink.events_of(id).iter().map(|event| event.seq).collect();
    for record in &history {
        let deliveries = delivered.iter().filter(|seq| **seq == record.seq).count();
        assert_eq!(deliveries, times, "event {} ({}) of order {id}", record.seq, record.event.kind());
    }
    assert_eq!(delivered.len(), history.len() * times, "events of order {id} that are not in its history");
    let last_new = delivered.iter().try_fold(0, |last, seq| (*seq <= last + 1).then_some(last.max(*seq)));
    assert!(last_new.is_some(), "events of order {id} came out of order: {delivered:?}");
}
