//! Pays what durable sinks are owed: one relay a sink, so that a slow one delays no other.
//!
//! Deliveries of different orders run side by side, and each place that becomes free is filled at once: a
//! receiver that hangs takes one place, and delays nobody behind it. Repetitions take half of the places at
//! most, so that receivers that hang again and again leave room for the others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::domain::event::EventRecord;
use crate::engine::Inner;
use crate::planted::planted;
use crate::ports::order_store::error::StoreError;
use crate::ports::outbox::{Delivery, DeliveryAck, DeliveryOutcome, DeliveryRequest};
use crate::ports::sink::{SinkError, StatusSink};
use crate::resilience::breaker::BreakerConfig;
use crate::resilience::breaker::Breakers;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// How many events of one order a sink is given at once; orders rarely have more.
const EVENTS: u32 = 64;
/// How long to wait at least for debts that are due and that somebody else has their hands on.
const MIN_IDLE: Duration = Duration::from_millis(1);
/// How many acks are written at once.
const SETTLE_BATCH: usize = 256;

/// Delivers to a sink until the engine closes.
pub(crate) async fn run(engine: Arc<Inner>, sink: Arc<dyn StatusSink>) {
    let backoff = engine.config.sink_backoff;
    let breakers = Breakers::new(BreakerConfig { backoff, ..engine.config.breaker }, engine.runtime.clone());
    let relay = Relay { name: sink.name().into(), sink, engine, breakers };
    let mut stop = relay.engine.closing();
    let mut owed = relay.engine.fanout.owed();
    let mut under_way = FuturesUnordered::new();
    let mut retries_under_way = 0;
    let mut failed_claims = 0;
    loop {
        // Whatever is owed from here on may be missed by the claim, and is then taken by the next.
        owed.mark_unchanged();
        let claimed = relay.claim(under_way.len()).await;
        let idle = match claimed {
            Ok(Claimed { deliveries, idle }) => {
                failed_claims = 0;
                let (now, later) = relay.admit(deliveries, retries_under_way);
                retries_under_way += now.iter().filter(|delivery| delivery.failures > 0).count();
                under_way.extend(now.into_iter().map(|delivery| relay.deliver(delivery)));
                relay.settle(later).await;
                idle
            }
            Err(error) => {
                tracing::warn!(sink.name = %relay.name, %error, "what a sink is owed could not be read");
                failed_claims += 1;
                relay.rest(failed_claims)
            }
        };
        tokio::select! {
            biased;
            () = stop.wait() => break,
            Some(first) = under_way.next() => {
                let mut delivered = finished(first, &mut under_way);
                if planted!(RelayHasBarrier) {
                    delivered.extend((&mut under_way).collect::<Vec<_>>().await);
                }
                retries_under_way -= delivered.iter().filter(|delivered| delivered.is_retry).count();
                relay.settle(delivered.into_iter().map(|delivered| delivered.ack).collect()).await;
            }
            _ = owed.changed(), if failed_claims == 0 => {}
            () = relay.engine.runtime.clock.sleep(idle) => {}
        }
    }
    // Deliveries end by themselves when the engine closes.
    let delivered: Vec<Delivered> = under_way.collect().await;
    relay.settle(delivered.into_iter().map(|delivered| delivered.ack).collect()).await;
}

/// What has finished by now, beginning with the first.
fn finished<F>(first: Delivered, under_way: &mut FuturesUnordered<F>) -> Vec<Delivered>
where
    F: Future<Output = Delivered>,
{
    let mut delivered = vec![first];
    while delivered.len() < SETTLE_BATCH {
        match under_way.next().now_or_never() {
            Some(Some(next)) => delivered.push(next),
            _ => break,
        }
    }
    delivered
}

struct Relay {
    name: Arc<str>,
    sink: Arc<dyn StatusSink>,
    engine: Arc<Inner>,
    breakers: Breakers<()>,
}

/// What was claimed, and how long to wait where nothing else happens.
struct Claimed {
    deliveries: Vec<Delivery>,
    idle: Duration,
}

/// What became of a delivery.
struct Delivered {
    ack: DeliveryAck,
    is_retry: bool,
}

impl Relay {
    /// Claims debts that are due, as many as there are free places.
    async fn claim(&self, under_way: usize) -> Result<Claimed, StoreError> {
        let config = &self.engine.config;
        let free = config.sink_concurrency.saturating_sub(u32::try_from(under_way).unwrap_or(u32::MAX));
        let nothing = |idle| Ok(Claimed { deliveries: Vec::new(), idle });
        if free == 0 {
            return nothing(config.poll_interval);
        }
        let limit = match self.breakers.admit(&()) {
            Ok(admission) if admission.is_probe() => 1,
            Ok(_) => free,
            Err(open) => return nothing(open.retry_in),
        };
        let request = DeliveryRequest {
            sink: Arc::clone(&self.name),
            limit,
            events_limit: EVENTS,
            owner: self.engine.runtime.entropy.next_u128(),
            // Delivered or not, every claim is settled within the time-out.
            duration: config.sink_timeout + config.lease_duration,
        };
        let claimed = self.engine.store.claim_deliveries(&request);
        let claimed = self.engine.supervisor.store("store.claim_deliveries", claimed).await?;
        let is_full = claimed.deliveries.len() >= limit as usize;
        // What other processes write is found by looking.
        let idle = match claimed.next_due_in {
            _ if is_full && limit == free => config.poll_interval,
            Some(due_in) => due_in.clamp(MIN_IDLE, config.poll_interval.max(MIN_IDLE)),
            None => config.poll_interval,
        };
        Ok(Claimed { deliveries: claimed.deliveries, idle })
    }

    /// Divides what was claimed into what is delivered now and the repetitions for which there is no place:
    /// they wait again.
    fn admit(&self, claimed: Vec<Delivery>, retries_under_way: usize) -> (Vec<Delivery>, Vec<DeliveryAck>) {
        let places = (self.engine.config.sink_concurrency as usize / 2).max(1);
        let mut free = places.saturating_sub(retries_under_way);
        let (mut now, mut later) = (Vec::with_capacity(claimed.len()), Vec::new());
        for delivery in claimed {
            if delivery.failures == 0 {
                now.push(delivery);
            } else if free > 0 {
                free -= 1;
                now.push(delivery);
            } else {
                let retry_in = self.rest(delivery.failures + 1);
                later.push(self.ack(&delivery, DeliveryOutcome::Nack { retry_in }));
            }
        }
        (now, later)
    }

    fn ack(&self, delivery: &Delivery, outcome: DeliveryOutcome) -> DeliveryAck {
        DeliveryAck { sink: Arc::clone(&self.name), lease: delivery.lease, outcome }
    }

    /// Records what became of deliveries. What cannot be recorded is delivered again when its lease expires.
    async fn settle(&self, acks: Vec<DeliveryAck>) {
        if acks.is_empty() {
            return;
        }
        let settled = self.engine.store.ack_deliveries(&acks);
        if let Err(error) = self.engine.supervisor.store("store.ack_deliveries", settled).await {
            tracing::warn!(sink.name = %self.name, %error, "deliveries could not be settled; they will be repeated");
        }
    }

    async fn deliver(&self, delivery: Delivery) -> Delivered {
        let admission = self.breakers.admit(&());
        let outcome = match self.try_deliver(&delivery).await {
            Ok(seq) => {
                if let Ok(admission) = admission {
                    admission.succeeded();
                }
                DeliveryOutcome::Ack { seq }
            }
            Err(error) => {
                telemetry::sink_failed(&self.name);
                // After a shutdown another process goes on at once.
                let is_closing = self.engine.closing().is_stopping();
                let retry_in = if is_closing { Duration::ZERO } else { self.rest(delivery.failures + 1) };
                let order_id = delivery.lease.order_id;
                tracing::warn!(sink.name = %self.name, order.id = %order_id, %error, retry_in_ms = retry_in.as_millis(),
                    "a sink did not take events; they will be delivered again");
                if let Ok(admission) = admission {
                    admission.failed();
                }
                DeliveryOutcome::Nack { retry_in }
            }
        };
        Delivered { ack: self.ack(&delivery, outcome), is_retry: delivery.failures > 0 }
    }

    /// Delivers, and gives the number of the last event that the sink has now.
    async fn try_deliver(&self, delivery: &Delivery) -> Result<u64, SinkError> {
        let events = delivery.events.as_ref().map_err(|error| SinkError::new(error.to_string()))?;
        let last = events.last().ok_or_else(|| SinkError::new("the debt has no event"))?;
        let mut stop = self.engine.closing();
        let called = call(&self.engine.supervisor, &*self.sink, events);
        let delivered = self.engine.within(self.engine.config.sink_timeout, called);
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
}

/// Calls a sink. One that panics has refused, and takes nobody with it.
pub(crate) async fn call(
    supervisor: &Supervisor,
    sink: &dyn StatusSink,
    events: &[Arc<EventRecord>],
) -> Result<(), SinkError> {
    let delivered = supervisor.guard("sink.deliver", sink.deliver(events)).await;
    delivered.unwrap_or_else(|_| Err(SinkError::new("it panicked")))
}
