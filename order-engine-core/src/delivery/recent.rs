//! The histories of the orders that were accepted last, as far as they were published in this process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;

/// How many orders are remembered: a good part of a second at full load, in some megabytes. A client that
/// follows its order does so as soon as it is accepted.
const ORDERS_MAX: usize = 1_024;
/// How many events of an order are remembered at most. Few orders have more.
const EVENTS_MAX: usize = 32;

/// Histories from the first event on, without a hole.
///
/// What is remembered is true, but may be incomplete: other processes write to the store as well.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    histories: HashMap<OrderId, Vec<Arc<EventRecord>>>,
    /// The oldest first; some may have been forgotten already.
    by_age: VecDeque<OrderId>,
}

impl Recent {
    /// Adds a committed event.
    pub(crate) fn note(&mut self, event: &Arc<EventRecord>) {
        let order_id = event.order_id;
        match self.histories.get_mut(&order_id) {
            None if event.seq == 1 => self.begin(event),
            None => {}
            Some(history) => {
                let known = history.len() as u64;
                if event.seq == known + 1 && history.len() < EVENTS_MAX {
                    history.push(Arc::clone(event));
                } else if event.seq > known || !is_among(history, event) {
                    // There is a hole, or the store has lost its last writes and has another history now.
                    self.histories.remove(&order_id);
                }
            }
        }
    }

    fn begin(&mut self, event: &Arc<EventRecord>) {
        let order_id = event.order_id;
        let mut history = Vec::with_capacity(8);
        history.push(Arc::clone(event));
        self.histories.insert(order_id, history);
        self.by_age.push_back(order_id);
        if self.by_age.len() > ORDERS_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.histories.remove(&oldest);
        }
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        self.histories.clear();
        self.by_age.clear();
    }

    /// Forgets the history of an order that has an event of this number, unless that one is remembered.
    pub(crate) fn forget_before(&mut self, order_id: OrderId, seq: u64) {
        if self.history(order_id).and_then(<[_]>::last).is_some_and(|last| last.seq < seq) {
            self.histories.remove(&order_id);
        }
    }

    /// Returns the remembered history of an order, from its first event on.
    pub(crate) fn history(&self, order_id: OrderId) -> Option<&[Arc<EventRecord>]> {
        self.histories.get(&order_id).map(Vec::as_slice)
    }
}

/// Whether a history has this very event.
fn is_among(history: &[Arc<EventRecord>], event: &EventRecord) -> bool {
    let index = event.seq.checked_sub(1).and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| history.get(index)).is_some_and(|known| **known == *event)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::order::Order;

    fn life(n: u128, reason: &str) -> [Arc<EventRecord>; 2] {
        let now = DateTime::UNIX_EPOCH;
        let id = OrderId::new(now, n << 64);
        let (order, accepted) = Order::accept(id, crate::testing::request(), 3, now);
        let failure = Failure::new(FailureCode::CANCELLED, reason);
        let (_, failed) = order.advance(OrderEvent::Failed { failure }, now).unwrap();
        [Arc::new(accepted), Arc::new(failed)]
    }

    #[test]
    fn a_history_is_whole_or_absent() {
        let mut recent = Recent::default();
        let [accepted, failed] = life(1, "cancelled");
        let order_id = accepted.order_id;
        recent.note(&failed);
        assert_eq!(recent.history(order_id), None, "its first event is missing");
        for event in [&accepted, &failed, &accepted, &failed] {
            recent.note(event);
        }
        assert_eq!(recent.history(order_id), Some(&[accepted.clone(), failed.clone()][..]));
        let later = Arc::new(EventRecord { seq: 4, ..EventRecord::clone(&failed) });
        recent.note(&later);
        assert_eq!(recent.history(order_id), None, "the third is missing");
    }

    #[test]
    fn another_past_is_not_mixed_with_the_one_that_is_remembered() {
        let mut recent = Recent::default();
        let [accepted, failed] = life(1, "cancelled");
        let [_, failed_otherwise] = life(1, "expired");
        for event in [&accepted, &failed, &failed_otherwise] {
            recent.note(event);
        }
        assert_eq!(recent.history(accepted.order_id), None);
    }

    #[test]
    fn the_oldest_orders_and_the_longest_histories_are_forgotten() {
        let mut recent = Recent::default();
        let lives: Vec<_> = (0..=ORDERS_MAX as u128).map(|n| life(n, "")).collect();
        for [accepted, _] in &lives {
            recent.note(accepted);
        }
        assert_eq!(recent.history(lives[0][0].order_id), None);
        assert_eq!((recent.histories.len(), recent.by_age.len()), (ORDERS_MAX, ORDERS_MAX));
        let [accepted, failed] = &lives[1];
        for seq in 2..=EVENTS_MAX as u64 {
            recent.note(&Arc::new(EventRecord { seq, ..EventRecord::clone(failed) }));
        }
        assert_eq!(recent.history(accepted.order_id).map(<[_]>::len), Some(EVENTS_MAX));
        let seq = EVENTS_MAX as u64 + 1;
        recent.note(&Arc::new(EventRecord { seq, ..EventRecord::clone(failed) }));
        assert_eq!(recent.history(accepted.order_id), None);
    }
}
