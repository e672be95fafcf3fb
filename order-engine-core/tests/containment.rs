//! Nothing that an order, a port or a layer of the host does while it handles an order ends the worker, and
//! health tells whether workers run.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::future::{Pending, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::layers::{Layer, Service};
use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{ScriptedRouter, request};
use order_engine_core::{
    Amount, Candidate, DexRouter, OrderId, OrderTask, QuoteRequest, Status, StepError, execute_order,
};

/// How a router or a layer fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// It panics.
    Panics,
    /// It panics, and what it panicked with panics when it is dropped.
    PanicsTwice,
    /// It hangs, and panics when it is dropped.
    PanicsAtDrop,
}

/// Panics when it is dropped, unless a panic is under way: that would end the program.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a bomb is dropped");
    }
}

impl Failure {
    async fn happen(self) {
        match self {
            Self::Panics => panic!("the test makes it panic"),
            Self::PanicsTwice => std::panic::panic_any(Bomb),
            Self::PanicsAtDrop => {
                let _bomb = Bomb;
                pending::<()>().await;
            }
        }
    }
}

fn is_chosen(amount: Amount) -> bool {
    amount.base_units().is_multiple_of(3)
}

/// A router that fails for every third order.
#[derive(Debug)]
struct FailingRouter {
    inner: ScriptedRouter,
    failure: Failure,
}

#[async_trait]
impl DexRouter for FailingRouter {
    fn dexes(&self) -> Vec<String> {
        self.inner.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        if is_chosen(request.amount) {
            self.failure.happen().await;
        }
        self.inner.quote(request).await
    }
}

async fn fixture_with(failure: Failure) -> Fixture {
    let router = FailingRouter { inner: ScriptedRouter::new(), failure };
    Fixture::with(Setup { router: Some(Arc::new(router)), ..Setup::default() }).await
}

/// Submits orders, and returns those that the router does not fail for: two thirds.
async fn submit_others(fixture: &Fixture, orders: u128) -> Vec<OrderId> {
    let mut others = Vec::new();
    for n in 0..orders {
        let amount = Amount::new(3_000 + n);
        let order = fixture.submit(request().with_amount(amount)).await;
        if !is_chosen(amount) {
            others.push(order.id);
        }
    }
    others
}

async fn all_confirmed(fixture: &Fixture, ids: Vec<OrderId>) {
    let ends = async {
        for id in ids {
            assert_eq!(fixture.until_terminal(id).await.status(), Status::Confirmed);
            assert_eq!(fixture.venue.executions(id), 1);
        }
    };
    tokio::time::timeout(Duration::from_hours(1), ends).await.expect("they end");
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_layers_outlives_a_router_that_panics_at_every_third_order() {
    for failure in [Failure::Panics, Failure::PanicsTwice] {
        let fixture = fixture_with(failure).await;
        let worker = WorkerBuilder::new("bare").backend(fixture.engine.backend(10)).build(execute_order);
        let running = tokio::spawn(worker.run());
        let others = submit_others(&fixture, 1_500).await;
        assert_eq!(others.len(), 1_000);
        all_confirmed(&fixture, others).await;
        assert!(!running.is_finished(), "{failure:?}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_a_router_that_panics_when_a_timeout_drops_it() {
    let fixture = fixture_with(Failure::PanicsAtDrop).await;
    let worker = WorkerBuilder::new("timeouts")
        .backend(fixture.engine.backend(10))
        .timeout(Duration::from_secs(2))
        .build(execute_order);
    let running = tokio::spawn(worker.run());
    let others = submit_others(&fixture, 30).await;
    all_confirmed(&fixture, others).await;
    assert!(!running.is_finished());
    running.abort();
}

/// A layer of a host that panics at every third call, when it is called or when its future is polled.
#[derive(Clone, Debug)]
struct PanickingLayer {
    at_call: bool,
    calls: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
struct PanickingService<S> {
    inner: S,
    layer: PanickingLayer,
}

impl<S> Layer<S> for PanickingLayer {
    type Service = PanickingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanickingService { inner, layer: self.clone() }
    }
}

impl<S> Service<Task<OrderTask>> for PanickingService<S>
where
    S: Service<Task<OrderTask>, Response = ()>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<OrderTask>) -> Self::Future {
        let panics = self.layer.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        assert!(!(panics && self.layer.at_call), "the layer panics at a call");
        let called = self.inner.call(task);
        Box::pin(async move {
            assert!(!panics, "the layer panics while it waits");
            called.await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_outlives_a_layer_that_panics() {
    for at_call in [true, false] {
        let fixture = Fixture::new().await;
        let layer = PanickingLayer { at_call, calls: Arc::default() };
        let worker = WorkerBuilder::new("layers")
            .backend(fixture.engine.backend(10))
            .layer(layer)
            .build(execute_order);
        let running = tokio::spawn(worker.run());
        let others = submit_others(&fixture, 30).await;
        all_confirmed(&fixture, others).await;
        let health = fixture.engine.health().await;
        assert!(health.panicked.iter().any(|part| part.name == "worker"), "{:?}", health.panicked);
        assert!(!running.is_finished(), "at call: {at_call}");
        running.abort();
    }
}

/// A layer that is ready for some calls, and then fails.
#[derive(Clone, Debug)]
struct FailingLayer;

#[derive(Clone, Debug)]
struct FailingService<S>(S);

impl<S> Layer<S> for FailingLayer {
    type Service = FailingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FailingService(inner)
    }
}

impl<S: Service<Task<OrderTask>>> Service<Task<OrderTask>> for FailingService<S> {
    type Response = S::Response;
    type Error = BoxDynError;
    type Future = Pending<Result<S::Response, BoxDynError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Err("the layer is never ready again".into()))
    }

    fn call(&mut self, _: Task<OrderTask>) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn health_tells_that_orders_are_due_and_no_worker_runs() {
    let fixture = Fixture::new().await;
    let idle = fixture.engine.health().await;
    assert_eq!((idle.workers, idle.is_stalled()), (0, false), "nothing is due");
    let order = fixture.submit(request()).await;
    let accepting = fixture.engine.health().await;
    assert_eq!((accepting.workers, accepting.is_stalled()), (0, true));
    // A worker that has not begun is none.
    let waiting = WorkerBuilder::new("waits").backend(fixture.engine.backend(10)).build(execute_order);
    assert_eq!(fixture.engine.health().await.workers, 0);
    drop(waiting);

    let broken = WorkerBuilder::new("broken")
        .backend(fixture.engine.backend(10))
        .layer(FailingLayer)
        .build(execute_order);
    let broken = tokio::spawn(broken.run());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let health = fixture.engine.health().await;
    assert_eq!((health.workers, health.is_stalled()), (0, true), "a layer has ended the worker");
    broken.abort();

    let worker = fixture.work();
    assert_eq!(fixture.until_terminal(order.id).await.status(), Status::Confirmed);
    let working = fixture.engine.health().await;
    assert_eq!((working.workers, working.is_stalled()), (1, false));
    worker.stop().await;
    assert_eq!(fixture.engine.health().await.workers, 0);
}
