//! Pays what durable sinks are owed: one relay a sink, so that a slow one delays no other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::engine::Inner;
use crate::telemetry;
use crate::{
    Delivery, DeliveryOutcome, DeliveryRequest, EventRecord, Settlement, SinkError, StatusSink, StoreError,
};

/// How many events of one order a sink is given at once; orders rarely have more.
const EVENTS: u32 = 64;

/// Delivers to a sink until the engine closes.
pub(crate) async fn run(engine: Arc<Inner>, sink: Arc<dyn StatusSink>) {
    let relay = Relay { name: sink.name().into(), sink, engine };
    let mut stop = relay.engine.closing();
    let mut owed = relay.engine.fanout.owed();
    let mut failed_rounds = 0;
    while !stop.is_stopping() {
        // Whatever is owed from here on may be missed by the round, and is then taken by the next.
        owed.mark_unchanged();
        let rest = match relay.round().await {
            Ok(Round::Paid { next_due_in }) => {
                failed_rounds = 0;
                tokio::select! {
                    biased;
                    () = stop.wait() => return,
                    _ = owed.changed() => {}
                    () = relay.idle(next_due_in) => {}
                }
                continue;
            }
            Ok(Round::Refused) => {
                failed_rounds += 1;
                relay.rest(failed_rounds)
            }
            Err(error) => {
                tracing::warn!(sink.name = %relay.name, %error, "what a sink is owed could not be read or settled");
                failed_rounds += 1;
                relay.rest(failed_rounds)
            }
        };
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = relay.engine.runtime.clock.sleep(rest) => {}
        }
    }
}

struct Relay {
    name: Arc<str>,
    sink: Arc<dyn StatusSink>,
    engine: Arc<Inner>,
}

/// What a round of deliveries came to.
enum Round {
    /// The sink took something, or nothing was due.
    Paid { next_due_in: Option<Duration> },
    /// The sink took nothing at all.
    Refused,
}

impl Relay {
    /// Claims debts that are due, delivers them at the same time, and records in one write what
    /// became of them.
    async fn round(&self) -> Result<Round, StoreError> {
        let config = &self.engine.config;
        let request = DeliveryRequest {
            sink: Arc::clone(&self.name),
            limit: config.sink_concurrency,
            events_limit: EVENTS,
            owner: self.engine.runtime.entropy.next_u128(),
            // Delivered or not, every claim is settled within the time-out.
            duration: config.sink_timeout + config.lease_duration,
        };
        let claimed = self.engine.store.claim_deliveries(&request).await?;
        if claimed.deliveries.is_empty() {
            return Ok(Round::Paid { next_due_in: claimed.next_due_in });
        }
        let settlements = join_all(claimed.deliveries.iter().map(|delivery| self.deliver(delivery))).await;
        let is_taken = |settled: &Settlement| matches!(settled.outcome, DeliveryOutcome::Delivered { .. });
        let is_refused = !settlements.iter().any(is_taken);
        self.engine.store.settle_deliveries(&settlements).await?;
        // What was claimed may not be all: the next round begins at once.
        Ok(if is_refused { Round::Refused } else { Round::Paid { next_due_in: Some(Duration::ZERO) } })
    }

    async fn deliver(&self, delivery: &Delivery) -> Settlement {
        let outcome = match self.try_deliver(delivery).await {
            Ok(seq) => DeliveryOutcome::Delivered { seq },
            Err(error) => {
                telemetry::sink_failed(&self.name);
                // After a shutdown another process goes on at once.
                let is_closing = self.engine.closing().is_stopping();
                let due_in = if is_closing { Duration::ZERO } else { self.rest(delivery.failures + 1) };
                let order_id = delivery.lease.order_id;
                tracing::warn!(sink.name = %self.name, order.id = %order_id, %error, retry_in_ms = due_in.as_millis(),
                    "a sink did not take events; they will be delivered again");
                DeliveryOutcome::Failed { due_in }
            }
        };
        Settlement { sink: Arc::clone(&self.name), lease: delivery.lease, outcome }
    }

    /// Delivers, and gives the number of the last event that the sink has now.
    async fn try_deliver(&self, delivery: &Delivery) -> Result<u64, SinkError> {
        let events = delivery.events.as_ref().map_err(|error| SinkError::new(error.to_string()))?;
        let last = events.last().ok_or_else(|| SinkError::new("the debt has no event"))?;
        let mut stop = self.engine.closing();
        let delivered = self.engine.within(self.engine.config.sink_timeout, call(&*self.sink, events));
        tokio::select! {
            biased;
            result = delivered => result.unwrap_or_else(|| Err(SinkError::new("no answer in time")))?,
            () = stop.wait() => return Err(SinkError::new("the engine shuts down")),
        }
        Ok(last.seq)
    }

    /// How long to wait after so many failures in a row.
    fn rest(&self, failures: u32) -> Duration {
        let entropy = self.engine.runtime.entropy.next_u128();
        Duration::from_millis(self.engine.config.sink_backoff.delay_ms(failures, entropy))
    }

    /// Waits until something may be due. What other processes write is found by looking.
    async fn idle(&self, next_due_in: Option<Duration>) {
        let poll = self.engine.config.poll_interval;
        let wait = next_due_in.map_or(poll, |due_in| due_in.min(poll));
        self.engine.runtime.clock.sleep(wait).await;
    }
}

/// Calls a sink. One that panics has refused, and takes nobody with it.
pub(crate) async fn call(sink: &dyn StatusSink, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
    let delivered = AssertUnwindSafe(sink.deliver(events)).catch_unwind().await;
    delivered.unwrap_or_else(|_| Err(SinkError::new("it panicked")))
}
