//! For hosts that run the handler on a queue of their own.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Engine;
use super::execute::OrderTask;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::telemetry;

/// How many due orders are read in one round.
const ROUND: u32 = 1_000;
/// After how many rounds an order that is still due is sent again.
const ROUNDS_TO_RESEND: u32 = 10;

/// Sends due orders to a queue of the host's own until the engine shuts down: when this process accepts one,
/// and in any case at the interval `every`.
///
/// The store keeps the orders; the queue may lose, double and reorder its tasks. An order that stays due is
/// sent again after ten rounds. A task that comes twice, or too late, finds no due order and does nothing.
pub async fn enqueue_due_orders<P, F, E>(engine: Engine, every: Duration, mut push: P)
where
    P: FnMut(OrderTask) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let context = engine.context();
    let (mut draining, mut woken) =
        (context.tasks.shutdown.draining(), context.wakers.subscribe(Lane::Execute));
    let mut sent = Sent::new(every.saturating_mul(ROUNDS_TO_RESEND));
    loop {
        woken.mark_unchanged();
        match engine.due_orders(ROUND).await {
            Ok(due) => {
                for order_id in sent.unsent(&due, context.local_now()) {
                    if let Err(error) = push(OrderTask::new(order_id)).await {
                        tracing::warn!(order.id = %order_id, %error, "a due order could not be enqueued");
                        sent.forget(order_id);
                    }
                }
            }
            Err(error) => tracing::warn!(error = %telemetry::chain(&error), "due orders could not be read"),
        }
        tokio::select! {
            biased;
            () = draining.wait() => return,
            _ = woken.changed() => {}
            () = context.tasks.runtime.clock.sleep(every) => {}
        }
    }
}

/// Returns when the queue of the host's own stands still: when this process did no task for `patience` although
/// orders were due at its beginning and at its end.
///
/// The worker of a stock storage can stop for good without an error. A host that awaits this beside its worker
/// begins a new one then; what the old one has begun is safe to drop. An order that is executed is not due, so
/// `patience` may be shorter than an execution, and has to be longer than the round of [`enqueue_due_orders`].
pub async fn until_queue_stalls(engine: &Engine, patience: Duration) {
    let context = engine.context();
    let has_due = async || engine.due_orders(1).await.is_ok_and(|due| !due.is_empty());
    loop {
        let (before, was_due) = (context.workers.tasks_done(), has_due().await);
        context.tasks.runtime.clock.sleep(patience).await;
        if was_due && context.workers.tasks_done() == before && has_due().await {
            return;
        }
    }
}

/// The orders that were sent lately.
struct Sent {
    resend_after: TimeDelta,
    orders: BTreeMap<OrderId, DateTime<Utc>>,
}

impl Sent {
    fn new(resend_after: Duration) -> Self {
        Self {
            resend_after: TimeDelta::from_std(resend_after).unwrap_or(TimeDelta::MAX),
            orders: BTreeMap::new(),
        }
    }

    /// Returns the due orders that were not sent lately, and notes that they are sent now.
    fn unsent(&mut self, due: &[OrderId], now: DateTime<Utc>) -> Vec<OrderId> {
        let lately =
            |sent: &DateTime<Utc>| sent.checked_add_signed(self.resend_after).is_none_or(|end| now < end);
        let (fresh, known): (Vec<OrderId>, Vec<OrderId>) =
            due.iter().partition(|id| !self.orders.get(id).is_some_and(lately));
        // An order that is no longer due was executed, or is held; if it becomes due again, it is sent again.
        let kept = known.into_iter().filter_map(|id| Some((id, *self.orders.get(&id)?)));
        self.orders = kept.chain(fresh.iter().map(|id| (*id, now))).collect();
        fresh
    }

    fn forget(&mut self, order_id: OrderId) {
        self.orders.remove(&order_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_due_is_sent_again_after_a_while() {
        let at = |ms| DateTime::from_timestamp_millis(ms).unwrap();
        let id = |n: u128| OrderId::new(at(1), n << 64);
        let mut sent = Sent::new(Duration::from_millis(100));
        assert_eq!(sent.unsent(&[id(1), id(2)], at(0)), [id(1), id(2)]);
        assert_eq!(sent.unsent(&[id(1), id(2), id(3)], at(50)), [id(3)]);
        sent.forget(id(2));
        assert_eq!(sent.unsent(&[id(2), id(3)], at(99)), [id(2)]);
        // The first was not due for a round, and is sent again; the third was, and waits for its time.
        assert_eq!(sent.unsent(&[id(1), id(3)], at(100)), [id(1)]);
        assert_eq!(sent.unsent(&[id(3)], at(150)), [id(3)]);
    }
}
