//! A call that hangs delays nothing that does not depend on it.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{ScriptedRouter, request, sol, usdc};
use order_engine_core::{
    Candidate, DexRouter, OrderId, OrderRequest, OrderUpdate, QuoteRequest, SinkError, SinkGuarantee, Status,
    StatusSink, StepError,
};
use tokio::time::Instant;

/// A router whose quotes for USDC hang.
#[derive(Debug, Default)]
struct HalfHangingRouter(ScriptedRouter);

#[async_trait]
impl DexRouter for HalfHangingRouter {
    fn dexes(&self) -> Vec<String> {
        self.0.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        if request.output == usdc() {
            std::future::pending::<()>().await;
        }
        self.0.quote(request).await
    }
}

fn other_pair() -> OrderRequest {
    request().with_pair(usdc(), sol()).with_user_id("bob")
}

#[tokio::test(start_paused = true)]
async fn a_thousand_orders_whose_quotes_hang_delay_another_pair_by_seconds() {
    let setup = Setup { router: Some(Arc::new(HalfHangingRouter::default())), ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let mut hanging = Vec::new();
    for _ in 0..1_000 {
        hanging.push(fixture.submit(request()).await.id);
    }
    let worker = fixture.work();
    let mut delays = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        let order = fixture.submit(other_pair()).await;
        assert_eq!(fixture.until_terminal(order.id).await.status(), Status::Confirmed);
        delays.push(began.elapsed());
    }
    let longest = delays.iter().max().unwrap();
    assert!(*longest <= Duration::from_secs(2), "{delays:?}");
    for id in hanging {
        let order = fixture.engine.order(id).await.unwrap().unwrap();
        assert!(!order.status().is_terminal(), "it waits for the end of the outage");
        assert!(order.state.attempt() <= 1, "an outage uses no attempt");
    }
    worker.stop().await;
}

/// A sink that hangs for some orders, and records when it got an order's terminal event.
#[derive(Debug, Default)]
struct Receivers {
    hang: Mutex<Vec<OrderId>>,
    delivered: Mutex<BTreeMap<OrderId, Instant>>,
}

#[async_trait]
impl StatusSink for Receivers {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::Durable
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let order_id = updates[0].order.id;
        let hangs = self.hang.lock().unwrap_or_else(PoisonError::into_inner).contains(&order_id);
        if hangs {
            std::future::pending::<()>().await;
        }
        if updates.iter().any(|update| update.event.status.is_terminal()) {
            self.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(order_id, Instant::now());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_receivers_that_hang_delay_no_other() {
    let sink = Arc::new(Receivers::default());
    let setup = Setup { sinks: vec![Arc::clone(&sink) as Arc<dyn StatusSink>], ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    for _ in 0..20 {
        let order = fixture.submit(request()).await;
        sink.hang.lock().unwrap().push(order.id);
    }
    let worker = fixture.work();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut delays = Vec::new();
    for _ in 0..200 {
        let order = fixture.submit(request()).await;
        fixture.until_terminal(order.id).await;
        let ended = Instant::now();
        let delivered = async {
            loop {
                if let Some(at) = sink.delivered.lock().unwrap().get(&order.id) {
                    return *at;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let delivered =
            tokio::time::timeout(Duration::from_mins(5), delivered).await.expect("it is delivered");
        delays.push(delivered.saturating_duration_since(ended));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    delays.sort();
    assert!(delays[delays.len() - 1] <= Duration::from_millis(100), "{delays:?}");
    worker.stop().await;
}
