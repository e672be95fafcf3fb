//! Delivers the outbox to durable sinks: one relay a sink, so that a slow sink delays no other.
//!
//! Deliveries of different orders run side by side, and each one that ends is replaced at once: a receiver
//! that hangs takes up one delivery and delays nothing behind it. Repetitions are at most half of the
//! deliveries, so that receivers that hang again and again leave room for the others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use crate::config::EngineConfig;
use crate::delivery::publisher::{Publisher, call_sink};
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::ports::outbox::{Delivery, DeliveryAck, DeliveryOutcome, DeliveryRequest};
use crate::ports::sink::{SinkError, StatusSink};
use crate::resilience::breaker::{BreakerConfig, Breakers};
use crate::resilience::tasks::Tasks;
use crate::telemetry;

/// How many events of one order a sink is given at once; orders rarely have more.
const EVENTS: u32 = 64;
/// How long to wait at least for entries that are due and that another process has locked.
const MIN_IDLE: Duration = Duration::from_millis(1);
/// How many acknowledgements are written at once.
const ACK_BATCH: usize = 256;

/// Delivers the outbox to one sink.
#[derive(Debug)]
pub(crate) struct OutboxRelay {
    name: Arc<str>,
    sink: Arc<dyn StatusSink>,
    store: Arc<dyn OrderStore>,
    tasks: Tasks,
    config: EngineConfig,
    breakers: Breakers<()>,
    outbox_changes: watch::Receiver<()>,
}

/// What was claimed, and how long to wait if nothing else happens.
struct Claimed {
    deliveries: Vec<Delivery>,
    idle: Duration,
}

/// A delivery that has ended.
struct Delivered {
    ack: DeliveryAck,
    is_retry: bool,
}

impl OutboxRelay {
    pub(crate) fn new(
        sink: Arc<dyn StatusSink>,
        store: Arc<dyn OrderStore>,
        publisher: &Publisher,
        tasks: Tasks,
        config: EngineConfig,
    ) -> Self {
        let breaker = BreakerConfig { backoff: config.sink_backoff, ..config.breaker };
        let breakers = Breakers::new(breaker, tasks.runtime.clone());
        let outbox_changes = publisher.outbox_changes();
        Self { name: sink.name().into(), sink, store, tasks, config, breakers, outbox_changes }
    }

    /// Delivers until the engine closes.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut closing = self.tasks.shutdown.closing();
        let mut outbox_changes = self.outbox_changes.clone();
        let mut under_way = FuturesUnordered::new();
        let mut retries_under_way = 0;
        let mut failed_claims = 0;
        loop {
            // The claim may miss an entry that is added from here on; the next one takes it.
            outbox_changes.mark_unchanged();
            let idle = match self.claim(under_way.len()).await {
                Ok(Claimed { deliveries, idle }) => {
                    failed_claims = 0;
                    let (now, later) = self.admit(deliveries, retries_under_way);
                    retries_under_way += now.iter().filter(|delivery| delivery.failures > 0).count();
                    under_way.extend(now.into_iter().map(|delivery| self.deliver(delivery)));
                    self.ack(later).await;
                    idle
                }
                Err(error) => {
                    tracing::warn!(sink.name = %self.name, error = %telemetry::chain(&error), "the entries of a sink could not be claimed");
                    failed_claims += 1;
                    self.backoff(failed_claims)
                }
            };
            tokio::select! {
                biased;
                () = closing.wait() => break,
                Some(first) = under_way.next() => {
                    let mut delivered = ended(first, &mut under_way);
                    if planted!(RelayHasBarrier) {
                        delivered.extend((&mut under_way).collect::<Vec<_>>().await);
                    }
                    retries_under_way -= delivered.iter().filter(|delivered| delivered.is_retry).count();
                    self.ack(delivered.into_iter().map(|delivered| delivered.ack).collect()).await;
                }
                _ = outbox_changes.changed(), if failed_claims == 0 => {}
                () = self.tasks.runtime.clock.sleep(idle) => {}
            }
        }
        // Deliveries end by themselves when the engine closes.
        let delivered: Vec<Delivered> = under_way.collect().await;
        self.ack(delivered.into_iter().map(|delivered| delivered.ack).collect()).await;
    }

    /// Claims entries that are due, as many as there is room for.
    async fn claim(&self, under_way: usize) -> Result<Claimed, StoreError> {
        let config = &self.config;
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
            owner: self.tasks.runtime.entropy.next_u128(),
            // Every claim is acknowledged within the time-out, whatever came of it.
            duration: config.sink_timeout + config.lease_duration,
        };
        let claimed = self.store.claim_deliveries(&request);
        let claimed = self.tasks.supervisor.store("store.claim_deliveries", claimed).await?;
        let is_full = claimed.deliveries.len() >= limit as usize;
        // Entries that other processes add are found by polling.
        let idle = match claimed.next_due_in {
            _ if is_full && limit == free => config.poll_interval,
            Some(due_in) => due_in.clamp(MIN_IDLE, config.poll_interval.max(MIN_IDLE)),
            None => config.poll_interval,
        };
        Ok(Claimed { deliveries: claimed.deliveries, idle })
    }

    /// Divides claimed deliveries into those that begin now and the repetitions that there is no room for:
    /// these wait again.
    fn admit(&self, claimed: Vec<Delivery>, retries_under_way: usize) -> (Vec<Delivery>, Vec<DeliveryAck>) {
        let retries_max = (self.config.sink_concurrency as usize / 2).max(1);
        let mut free = retries_max.saturating_sub(retries_under_way);
        let (mut now, mut later) = (Vec::with_capacity(claimed.len()), Vec::new());
        for delivery in claimed {
            if delivery.failures == 0 {
                now.push(delivery);
            } else if free > 0 {
                free -= 1;
                now.push(delivery);
            } else {
                let retry_in = self.backoff(delivery.failures + 1);
                later.push(self.ack_of(&delivery, DeliveryOutcome::Nack { retry_in }));
            }
        }
        (now, later)
    }

    fn ack_of(&self, delivery: &Delivery, outcome: DeliveryOutcome) -> DeliveryAck {
        DeliveryAck { sink: Arc::clone(&self.name), lease: delivery.lease, outcome }
    }

    /// Records what came of deliveries. What cannot be recorded is delivered again when its lease expires.
    async fn ack(&self, acks: Vec<DeliveryAck>) {
        if acks.is_empty() {
            return;
        }
        let acked = self.store.ack_deliveries(&acks);
        if let Err(error) = self.tasks.supervisor.store("store.ack_deliveries", acked).await {
            tracing::warn!(sink.name = %self.name, error = %telemetry::chain(&error), "deliveries could not be acknowledged; they will be repeated");
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
                let is_closing = self.tasks.shutdown.is_closing();
                let retry_in = if is_closing { Duration::ZERO } else { self.backoff(delivery.failures + 1) };
                let order_id = delivery.lease.order_id;
                tracing::warn!(sink.name = %self.name, order.id = %order_id, error = %telemetry::chain(&error), retry_in_ms = retry_in.as_millis(),
                    "a sink did not take events; they will be delivered again");
                if let Ok(admission) = admission {
                    admission.failed();
                }
                DeliveryOutcome::Nack { retry_in }
            }
        };
        Delivered { ack: self.ack_of(&delivery, outcome), is_retry: delivery.failures > 0 }
    }

    /// Delivers, and returns the number of the last event that the sink has now.
    async fn try_deliver(&self, delivery: &Delivery) -> Result<u64, SinkError> {
        let updates = delivery
            .updates
            .as_ref()
            .map_err(|error| SinkError::new("the events cannot be decoded").with_source(error.clone()))?;
        let last = updates.last().ok_or_else(|| SinkError::new("the entry has no event"))?;
        let mut closing = self.tasks.shutdown.closing();
        let called = call_sink(&self.tasks.supervisor, &*self.sink, updates);
        let delivered = self.tasks.runtime.within(self.config.sink_timeout, called);
        tokio::select! {
            biased;
            result = delivered => result.unwrap_or_else(|| Err(SinkError::new("no answer in time")))?,
            () = closing.wait() => return Err(SinkError::new("the engine shuts down")),
        }
        Ok(last.event.seq)
    }

    /// Returns how long to wait after this many failures in a row.
    fn backoff(&self, failures: u32) -> Duration {
        let entropy = self.tasks.runtime.entropy.next_u128();
        self.config.sink_backoff.delay(failures, entropy)
    }
}

/// Returns the deliveries that have ended by now, beginning with the first.
fn ended<F>(first: Delivered, under_way: &mut FuturesUnordered<F>) -> Vec<Delivered>
where
    F: Future<Output = Delivered>,
{
    let mut delivered = vec![first];
    while delivered.len() < ACK_BATCH {
        match under_way.next().now_or_never() {
            Some(Some(next)) => delivered.push(next),
            _ => break,
        }
    }
    delivered
}
