//! The engine's own tasks: leases, fan-out behind lost hints, hints from other processes, and the
//! observer.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Inner;
use crate::delivery::outbox_relay;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::execution::claimer::{self, Claimed};
use crate::execution::observer::{self, Watch};
use crate::ports::order_store::error::StoreError;
use crate::ports::sink::StatusSink;
use crate::ports::source::{Hint, StatusSource};
use crate::telemetry;

/// How many orders are asked about, or events read, in one call.
const PAGE: u32 = 512;

impl Inner {
    pub(super) fn start(self: &Arc<Self>, durable_sinks: Vec<Arc<dyn StatusSink>>) {
        let lease_interval = self.keeper.interval();
        self.repeat("leases", lease_interval, |inner| async move { inner.keeper.renew(&*inner.store).await });
        self.repeat("store clock", lease_interval, |inner| async move { inner.store_clock.refresh().await });
        self.repeat("hub poll", self.config.poll_interval, |inner| async move { inner.poll_hub().await });
        for source in &self.sources {
            let (inner, source) = (Arc::clone(self), Arc::clone(source));
            self.keep_running("source", move || follow(Arc::clone(&inner), Arc::clone(&source)));
        }
        for sink in durable_sinks {
            let inner = Arc::clone(self);
            self.keep_running("relay", move || outbox_relay::run(Arc::clone(&inner), Arc::clone(&sink)));
        }
        self.repeat("gauges", self.config.gauge_interval, |inner| async move { inner.count_backlog().await });
    }

    /// Does something again and again until the engine closes.
    fn repeat<F, Fut>(self: &Arc<Self>, name: &'static str, every: Duration, job: F)
    where
        F: Fn(Arc<Self>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (inner, job) = (Arc::clone(self), Arc::new(job));
        self.keep_running(name, move || {
            let (inner, job) = (Arc::clone(&inner), Arc::clone(&job));
            async move {
                let mut stop = inner.closing();
                loop {
                    tokio::select! {
                        biased;
                        () = stop.wait() => return,
                        () = inner.runtime.clock.sleep(every) => job(Arc::clone(&inner)).await,
                    }
                }
            }
        });
    }

    /// Starts the observer, and the claiming of orders that wait for it, unless it runs already.
    pub(crate) fn ensure_observer(self: &Arc<Self>) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(observer) = observer else { return };
        let inner = Arc::clone(self);
        self.keep_running("observer", move || observer::run(Arc::clone(&inner), Arc::clone(&observer)));
        let inner = Arc::clone(self);
        self.keep_running("observe dispatcher", move || {
            let (arrivals, slots) = (inner.arrivals.clone(), Arc::clone(&inner.observe_slots));
            let deliver =
                move |Claimed { active, permit }| arrivals.send(Watch::new(active, None, permit)).is_ok();
            claimer::run(Arc::clone(&inner), Lane::Observe, slots, deliver)
        });
    }

    async fn count_backlog(&self) {
        match self.store.backlog().await {
            Ok(backlog) => telemetry::backlog(&backlog),
            Err(error) => tracing::warn!(%error, "the backlog could not be counted"),
        }
    }

    /// Finds what this process' listeners were not told: hints may be lost, and other processes
    /// may write without giving any.
    async fn poll_hub(&self) {
        let topics = self.fanout.hub.topics();
        for ids in topics.chunks(PAGE as usize) {
            match self.store.last_seqs(ids).await {
                Ok(heads) => {
                    for (id, head) in ids.iter().copied().zip(heads) {
                        self.tell_up_to(id, head.unwrap_or(0)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(orders = ids.len(), %error, "subscribed orders could not be looked at");
                    return;
                }
            }
        }
    }

    /// Tells an order's listeners what they were not told up to an event.
    async fn tell_up_to(&self, id: OrderId, seq: u64) {
        while let Some(told) = self.fanout.hub.told(id).filter(|told| *told < seq) {
            match self.read_page(id, told).await {
                Ok(events) if events.is_empty() => return,
                Ok(events) => self.fanout.hub.publish(&events),
                Err(error) => {
                    tracing::warn!(order.id = %id, %error, "events could not be read for their listeners");
                    return;
                }
            }
        }
    }

    async fn read_page(&self, id: OrderId, after: u64) -> Result<Vec<Arc<EventRecord>>, StoreError> {
        let events = self.store.events(id, after, PAGE).await?;
        Ok(events.into_iter().map(Arc::new).collect())
    }

    async fn take_hint(&self, hint: Hint) {
        match hint {
            Hint::Event(event) => self.fanout.hub.publish([&event]),
            Hint::Advanced { order_id, seq } => self.tell_up_to(order_id, seq).await,
            Hint::Due(lane) => self.wake(lane),
            Hint::Resync => {
                self.wake(Lane::Execute);
                self.wake(Lane::Observe);
                self.poll_hub().await;
            }
        }
    }
}

/// Takes hints until the engine closes.
async fn follow(inner: Arc<Inner>, source: Arc<dyn StatusSource>) {
    let mut stop = inner.closing();
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return,
            hint = source.next() => inner.take_hint(hint).await,
        }
    }
}
