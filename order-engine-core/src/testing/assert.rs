//! Assertions about orders.

use super::sink::RecordingSink;
use crate::domain::event::{EventRecord, Status};
use crate::domain::ids::OrderId;
use crate::domain::state::OrderState;
use crate::engine::Engine;

/// The statuses that an order went through, each once for each time it came to it.
pub fn path(history: &[EventRecord]) -> Vec<Status> {
    let mut path: Vec<Status> = history.iter().map(|record| record.status).collect();
    path.dedup();
    path
}

/// Asserts that an order went through these statuses, and that what is stored of it agrees: its
/// numbers have no hole, and its state is the fold of its events. Gives its history.
///
/// # Panics
/// If not, or if the store does not answer.
pub async fn assert_path(engine: &Engine, id: OrderId, expected: &[Status]) -> Vec<EventRecord> {
    let order = engine.order(id).await.expect("the store answers").expect("the order exists");
    let history = engine.events(id, 0, u32::MAX).await.expect("the store answers");
    assert_eq!(path(&history), expected, "the path of order {id}");
    assert_eq!(OrderState::replay(&history), Ok(order.state), "the state of order {id}");
    history
}

/// Asserts that a sink was told every event of an order this many times, in order each time.
///
/// # Panics
/// If not, or if the store does not answer.
pub async fn assert_broadcasts(engine: &Engine, sink: &RecordingSink, id: OrderId, times: usize) {
    let history = engine.events(id, 0, u32::MAX).await.expect("the store answers");
    let told: Vec<u64> = sink.events_of(id).iter().map(|event| event.seq).collect();
    for record in &history {
        let heard = told.iter().filter(|seq| **seq == record.seq).count();
        assert_eq!(heard, times, "event {} ({}) of order {id}", record.seq, record.event.kind());
    }
    assert_eq!(told.len(), history.len() * times, "events of order {id} that are not in its history");
    let first_hearing = told.iter().try_fold(0, |last, seq| (*seq <= last + 1).then_some(last.max(*seq)));
    assert!(first_hearing.is_some(), "events of order {id} came out of order: {told:?}");
}
