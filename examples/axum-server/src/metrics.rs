//! What is measured, as Prometheus reads it.

use std::time::Duration;

use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// How often samples are folded into their buckets although nobody asks: they would pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The bounds of all histograms, in seconds: a step in memory takes microseconds, an order on a slow
/// chain minutes.
const BUCKETS: [f64; 16] =
    [0.000_1, 0.000_3, 0.001, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// Everything that the process has measured.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// The process measures already, for somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be kept: {0}")]
pub struct MetricsTaken(#[from] BuildError);

impl Metrics {
    /// Begins to measure. Only one part of a process can.
    ///
    /// # Errors
    /// If another one does.
    pub fn install() -> Result<Self, MetricsTaken> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS)?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(BuildError::from)?;
        Ok(Self(handle))
    }

    /// Folds samples into their buckets until dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, streams: usize) -> String {
        #[allow(clippy::cast_precision_loss)] // A gauge is a float, and so many sockets there are not.
        gauge!("order_engine_server_streams").set(streams as f64);
        self.0.render()
    }
}
