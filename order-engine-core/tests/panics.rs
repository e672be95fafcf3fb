//! A panic in a port, and a transaction that the venue cannot observe, affect nothing else.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{Call, Intercept, RecordingSink, ScriptedRouter, ScriptedVenue, request};
use order_engine_core::{
    BuildError, ChainView, Engine, EngineConfig, Fill, MemoryStore, Observation, OrderEvent, OrderId,
    PrepareRequest, Resolution, Resolved, SignedTx, Status, StepError, StoreError, SubmitReport, TxId, TxRef,
    Venue, VenueCapabilities, VenueError,
};
use tokio::time::Instant;

/// A choice of the calls that panic.
type Chosen = fn(&Call<'_>) -> bool;

/// An interceptor that makes the next chosen calls panic before their effect.
#[derive(Debug)]
struct Panics {
    chosen: Chosen,
    left: AtomicU32,
}

#[async_trait]
impl Intercept for Panics {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        let panics = |left: u32| (self.chosen)(&call).then(|| left.checked_sub(1)).flatten();
        let panicked = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, panics).is_ok();
        assert!(!panicked, "the test makes it panic");
        Ok(())
    }
}

async fn until(deadline: Duration, what: &str, reached: impl Future<Output = ()>) {
    let reached = tokio::time::timeout(deadline, reached).await;
    assert!(reached.is_ok(), "not within {deadline:?}: {what}");
}

async fn all_confirmed(fixture: &Fixture, ids: impl IntoIterator<Item = OrderId>) {
    for id in ids {
        // A client without an answer repeats its call.
        while fixture.engine.order(id).await.ok().flatten().is_none_or(|order| !order.status().is_terminal())
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(fixture.until_terminal(id).await.status(), Status::Confirmed);
        assert_eq!(fixture.venue.executions(id), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_call_of_a_port_stops_nothing() {
    let calls: [(&str, Chosen); 16] = [
        ("now", |call| matches!(call, Call::Now)),
        ("create", |call| matches!(call, Call::Create(_))),
        ("claim", |call| matches!(call, Call::Claim(_))),
        ("renew", |call| matches!(call, Call::Renew(_))),
        ("release", |call| matches!(call, Call::Release(_))),
        ("append", |call| matches!(call, Call::Append(_))),
        ("load", |call| matches!(call, Call::Load(_))),
        ("last_seqs", |call| matches!(call, Call::LastSeqs(_))),
        ("events", |call| matches!(call, Call::Events(_))),
        ("backlog", |call| matches!(call, Call::Backlog)),
        ("claim_deliveries", |call| matches!(call, Call::ClaimDeliveries(_))),
        ("ack_deliveries", |call| matches!(call, Call::AckDeliveries(_))),
        ("prepare", |call| matches!(call, Call::Prepare(_))),
        ("submit", |call| matches!(call, Call::Submit(_))),
        ("view", |call| matches!(call, Call::View)),
        ("observe", |call| matches!(call, Call::Observe(_))),
    ];
    for (name, chosen) in calls {
        survives(name, chosen).await;
    }
}

async fn survives(name: &'static str, chosen: Chosen) {
    let panics = Arc::new(Panics { chosen, left: AtomicU32::new(0) });
    let sink = RecordingSink::durable("ledger");
    let setup = Setup {
        sinks: vec![Arc::new(sink.clone())],
        intercept: Some(Arc::clone(&panics) as Arc<dyn Intercept>),
        ..Setup::default()
    };
    let fixture = Fixture::with(setup).await;
    panics.left.store(2, Ordering::SeqCst);
    let worker = fixture.work();
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        let named = request().with_client_order_id(format!("{n}").as_str());
        // A client without an answer submits again with the same client order id.
        let submitted = async {
            loop {
                if fixture.engine.submit(named.clone()).await.is_ok() {
                    return;
                }
            }
        };
        until(Duration::from_mins(1), name, submitted).await;
    }
    let query = order_engine_core::OrderQuery::new(100);
    ids.extend(fixture.engine.orders(&query).await.unwrap().into_iter().map(|order| order.unwrap().id));
    assert_eq!(ids.len(), 20, "{name}");
    until(Duration::from_mins(10), name, all_confirmed(&fixture, ids.iter().copied())).await;
    let delivered = async {
        while sink.events().iter().filter(|event| event.status.is_terminal()).count() < 20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(Duration::from_mins(10), name, delivered).await;
    let used = async {
        while panics.left.load(Ordering::SeqCst) > 0 {
            // Some calls happen only for a subscriber.
            let mut followed = fixture.engine.subscribe(*ids.first().unwrap(), 0).await;
            if let Ok(Some(subscription)) = &mut followed {
                while let Some(Ok(_)) = subscription.next().await {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    // These calls may not have happened, and so cannot have panicked.
    if !matches!(name, "now" | "release" | "renew" | "events") {
        until(Duration::from_mins(10), name, used).await;
        let health = fixture.engine.health().await;
        let panics: u64 = health.panicked.iter().map(|part| part.panics).sum();
        assert!(panics >= 1, "{name}: {:?}", health.panicked);
        let rested = async {
            while fixture.engine.health().await.panicked.iter().any(|part| part.is_resting) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        until(Duration::from_mins(1), name, rested).await;
    }
    worker.stop().await;
}

/// A venue whose `observe` fails whenever it contains one certain transaction.
#[derive(Debug, Default)]
struct PoisonedVenue {
    inner: ScriptedVenue,
    poison: std::sync::Mutex<Option<TxId>>,
    panics: bool,
    asked: AtomicU32,
}

impl PoisonedVenue {
    fn poison(&self) -> std::sync::MutexGuard<'_, Option<TxId>> {
        self.poison.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Venue for PoisonedVenue {
    fn capabilities(&self) -> VenueCapabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.inner.prepare(request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.inner.submit(tx).await
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.inner.view().await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let poison = self.poison().clone();
        if poison.is_some_and(|poison| txs.iter().any(|tx| *tx.id == poison)) {
            assert!(!self.panics, "it cannot be read");
            return Err(VenueError::new("it cannot be read"));
        }
        self.inner.observe(txs).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_the_venue_cannot_observe_affects_no_other_and_gets_attention() {
    for panics in [false, true] {
        let venue = Arc::new(PoisonedVenue { panics, ..PoisonedVenue::default() });
        *venue.poison() = Some(TxId::new("tx-100"));
        let setup = Setup { venue: Some(Arc::clone(&venue) as Arc<dyn Venue>), ..Setup::default() };
        let fixture = Fixture::with(setup).await;
        let mut ids = Vec::new();
        for _ in 0..300 {
            ids.push(fixture.submit(request()).await.id);
        }
        let worker = fixture.work();
        let mut poisoned = None;
        let others = async {
            loop {
                let mut open = Vec::new();
                for id in &ids {
                    let order = fixture.engine.order(*id).await.unwrap().unwrap();
                    if order.status() != Status::Confirmed {
                        open.push(*id);
                    }
                }
                if let [only] = open[..] {
                    poisoned = Some(only);
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        until(Duration::from_mins(1), "the 299 others", others).await;
        let poisoned = poisoned.unwrap();
        fixture.reaches(poisoned, |record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).await;
        let asked = venue.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(venue.asked.load(Ordering::SeqCst) - asked <= 60, "it is asked about, now and then");
        *venue.poison() = None;
        until(Duration::from_mins(1), "the healed one", async {
            assert_eq!(fixture.until_terminal(poisoned).await.status(), Status::Confirmed);
        })
        .await;
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_resolve_a_transaction_that_the_venue_cannot_observe() {
    let venue = Arc::new(PoisonedVenue::default());
    *venue.poison() = Some(TxId::new("tx-1"));
    let setup = Setup { venue: Some(Arc::clone(&venue) as Arc<dyn Venue>), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let order = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(order.id, |record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).await;
    let fill = Fill::new(order.request.amount, order.request.amount, 1);
    let resolution = Resolution::Executed(fill);
    let resolved = fixture.engine.resolve(order.id, &resolution, "the explorer shows it").await.unwrap();
    assert!(matches!(resolved, Some(Resolved::Done(order)) if order.status() == Status::Confirmed));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_order_is_observed_at_once_beside_one_that_cannot_be_observed() {
    let venue = Arc::new(PoisonedVenue::default());
    *venue.poison() = Some(TxId::new("tx-1"));
    let setup = Setup { venue: Some(Arc::clone(&venue) as Arc<dyn Venue>), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let poisoned = fixture.submit(request()).await;
    let worker = fixture.work();
    fixture.reaches(poisoned.id, |record| matches!(record.event, OrderEvent::OutcomeUnknown { .. })).await;
    let began = Instant::now();
    let order = fixture.submit(request()).await;
    assert_eq!(fixture.until_terminal(order.id).await.status(), Status::Confirmed);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    worker.stop().await;
}

/// A setter of a duration.
type Setting = fn(&mut EngineConfig) -> &mut Duration;

#[tokio::test]
async fn endless_durations_are_refused_when_the_engine_is_built() {
    let settings: [(&str, Setting); 12] = [
        ("lease_duration", |config| &mut config.lease_duration),
        ("poll_interval", |config| &mut config.poll_interval),
        ("step_timeout", |config| &mut config.step_timeout),
        ("quote_ttl", |config| &mut config.quote_ttl),
        ("observe_interval", |config| &mut config.observe_interval),
        ("resend_interval", |config| &mut config.resend_interval),
        ("unknown_after", |config| &mut config.unknown_after),
        ("absent_after", |config| &mut config.absent_after),
        ("sink_timeout", |config| &mut config.sink_timeout),
        ("gauge_interval", |config| &mut config.gauge_interval),
        ("retry.outage.max_wait", |config| &mut config.retry.outage.max_wait),
        ("retry.outage.max_interval", |config| &mut config.retry.outage.max_interval),
    ];
    for (name, setting) in settings {
        let mut config = EngineConfig::default();
        *setting(&mut config) = Duration::MAX;
        let built = Engine::builder()
            .store(Arc::new(MemoryStore::new()))
            .router(Arc::new(ScriptedRouter::new()))
            .venue(Arc::new(ScriptedVenue::new()))
            .config(config)
            .build()
            .await;
        assert!(matches!(built, Err(BuildError::TooLong(named)) if named == name), "{name}: {built:?}");
    }
}
