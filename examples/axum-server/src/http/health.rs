//! Whether the process is alive, and whether it is ready to serve.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use order_engine_core::Health;
use order_engine_core::telemetry::chain;
use serde::Serialize;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::store_watch::Part;
use crate::wire::problem::{FieldError, Problem};

/// The answer of a process that is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    status: &'static str,
}

/// The answer of a process that is ready, with the state of each part.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadyBody {
    status: &'static str,
    store: &'static str,
    queue: &'static str,
    fanout: &'static str,
    streams: usize,
}

/// Whether the process is alive.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "Operations",
    responses((status = 200, description = "It is.", body = HealthBody)),
)]
pub(crate) async fn health() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}

/// How long the store may take to answer. Who asks whether the server is ready asks often, and does not wait long.
const STORE_TIME_MAX: Duration = Duration::from_secs(1);

/// Whether the process can do its work: a 503 names the parts that cannot.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "getReadiness",
    tag = "Operations",
    responses((status = 200, description = "It can.", body = ReadyBody)),
)]
pub(crate) async fn ready(State(app): State<AppState>) -> Result<Json<ReadyBody>, Problem> {
    let mut errors = Vec::new();
    if app.is_draining() {
        errors.push(down("server", "The server is about to shut down."));
    }
    let health = timeout(STORE_TIME_MAX, app.engine.health()).await.ok();
    let store = match &health {
        Some(Health { store: Ok(_), .. }) => Ok(()),
        Some(Health { store: Err(error), .. }) => Err(chain(error).to_string()),
        None => Err("it does not answer".to_owned()),
    };
    app.store_watch.note(Part::Writes, store.as_ref().copied().map_err(String::as_str));
    if store.is_err() {
        errors.push(down("store", "The store does not take writes."));
    }
    let is_stalled = health.as_ref().is_some_and(Health::is_stalled);
    let has_ended = |worker: &AbortHandle| worker.is_finished() || is_stalled;
    if app.options.worker.as_ref().is_some_and(has_ended) {
        errors.push(down("queue", "No worker takes orders."));
    }
    if app.sockets.is_shutting_down() {
        errors.push(down("fanout", "Live streams are being closed."));
    } else if health.is_some_and(|health| !health.sources_connected) {
        errors.push(down("fanout", "Events of other processes arrive late."));
    }
    if errors.is_empty() {
        let streams = app.sockets.total();
        Ok(Json(ReadyBody { status: "ready", store: "ok", queue: "ok", fanout: "ok", streams }))
    } else {
        Err(Problem::unavailable("not-ready", "The server cannot do its work at the moment.")
            .with_errors(errors))
    }
}

fn down(part: &str, message: &str) -> FieldError {
    FieldError { field: part.to_owned(), code: "unavailable", message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use order_engine_core::testing::{Call, Intercept, InterceptedStore};
    use order_engine_core::{Engine, MemoryStore, Runtime, StoreError};
    use order_engine_sim::{SimConfig, Simulator};
    use tokio::time::Instant;

    use super::*;
    use crate::app::Options;
    use crate::tokens::TokenRegistry;

    /// Makes the store hang when it is checked.
    #[derive(Debug, Default)]
    struct Hanging(AtomicBool);

    #[async_trait]
    impl Intercept for Hanging {
        async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
            if matches!(call, Call::Check) && self.0.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_told_within_a_second() {
        let hanging = Arc::new(Hanging::default());
        let simulator = Simulator::open(SimConfig::default(), Runtime::tokio()).await.unwrap();
        let engine = Engine::builder()
            .store(Arc::new(InterceptedStore::new(Arc::new(MemoryStore::new()), hanging.clone())))
            .router(simulator.router())
            .venue(simulator.venue())
            .build()
            .await
            .unwrap();
        let address = ([127, 0, 0, 1], 3000).into();
        let app = AppState::new(engine, TokenRegistry::default(), address, Options::default());
        assert!(ready(State(app.clone())).await.is_ok());
        hanging.0.store(true, Ordering::Release);
        let asked_at = Instant::now();
        assert!(ready(State(app.clone())).await.is_err());
        assert_eq!(asked_at.elapsed(), STORE_TIME_MAX);
        hanging.0.store(false, Ordering::Release);
        assert!(ready(State(app)).await.is_ok());
    }
}
