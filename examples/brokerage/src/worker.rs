//! The worker: an ordinary apalis worker, with tower layers and a monitor.

use std::time::Duration;

use apalis::prelude::{BoxDynError, Monitor, MonitorError, WorkerBuilder, WorkerBuilderExt};
use metrics::counter;
use order_engine_core::{Engine, EngineConfig, execute_order};
use tokio::sync::watch;

/// How many steps one execution may take as long as the longest: quoting, building, sending, and one in reserve.
const STEPS: u32 = 4;

/// Executes orders, at most `slots` at a time, until `stopped` changes.
pub async fn work(
    engine: Engine,
    config: &EngineConfig,
    slots: usize,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), MonitorError> {
    let timeout = order_timeout(config);
    Monitor::new()
        .register(move |restart| {
            WorkerBuilder::new(format!("orders-{}-{restart}", std::process::id()))
                // The slots stand here and nowhere else; a waiting order takes none.
                .backend(engine.backend(slots))
                // The first layer is the outermost. The span comes first, so that all that follows logs in it.
                .enable_tracing()
                // The counter is outside of the time-out, so that it counts what ran out of time.
                .map_result(count)
                // The time-out is the innermost, because it drops what it contains: no other layer is dropped
                // with it.
                .timeout(timeout)
                .build(execute_order)
        })
        // Only a layer of the host can end a worker. Then there is a new one.
        .should_restart(|_, _| true)
        .run_with_signal(async move {
            // A dropped sender means the same as a message.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
            Ok(())
        })
        .await
}

/// Returns how long one execution of an order may take. The engine bounds each step by itself. This is for what
/// lies between them, and must be longer: an order that is dropped again and again without progress is put
/// into quarantine.
pub fn order_timeout(config: &EngineConfig) -> Duration {
    config.step_timeout * STEPS
}

/// Counts an execution. The engine measures its steps, orders and queues itself.
fn count(result: Result<(), BoxDynError>) -> Result<(), BoxDynError> {
    let outcome = if result.is_ok() { "ok" } else { "error" };
    counter!("brokerage_executions_total", "outcome" => outcome).increment(1);
    result
}
