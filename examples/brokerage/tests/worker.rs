//! The layers of the worker are in the order that its comments say.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use order_engine_brokerage::worker::{order_timeout, work};
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue, request};
use order_engine_core::{Engine, EngineConfig, MemoryStore, Status, Submission};
use tokio::sync::watch;

#[tokio::test]
async fn an_execution_that_takes_too_long_is_dropped_counted_and_repeated() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let router = ScriptedRouter::new();
    router.hang_next();
    let engine = Engine::builder()
        .store(MemoryStore::new())
        .router(router)
        .venue(ScriptedVenue::new())
        .build()
        .await
        .unwrap();
    let (stop, stopped) = watch::channel(false);
    // The worker is less patient than the engine, so that it is its time-out that ends the step.
    let impatient = EngineConfig::default().with_step_timeout(Duration::from_millis(25));
    let worker = tokio::spawn({
        let engine = engine.clone();
        async move { work(engine, &impatient, 4, stopped).await }
    });
    let Submission::Created(order) = engine.submit(request()).await.unwrap() else { panic!("it is new") };
    let ended = engine.wait(order.id).await.unwrap().unwrap();
    assert_eq!(ended.status(), Status::Confirmed);

    // The engine and the worker end together, with nothing under way.
    stop.send(true).unwrap();
    engine.shutdown(Duration::from_secs(10)).await.unwrap();
    worker.await.unwrap().unwrap();
    let metrics = metrics.render();
    for line in [
        "brokerage_executions_total{outcome=\"error\"} 1",
        "brokerage_executions_total{outcome=\"ok\"} 1",
        "order_engine_orders_total{status=\"confirmed\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in:\n{metrics}");
    }
}

#[test]
fn an_execution_has_longer_than_a_step() {
    let config = EngineConfig::default();
    assert!(order_timeout(&config) > config.step_timeout);
}
