//! The metrics of the process, in the text format of Prometheus.

use std::time::Duration;

use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// How often samples are folded into their buckets, which frees their memory also without a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// The bounds of all histograms, in seconds: a step in memory takes microseconds, an order on a slow
/// chain minutes.
const BUCKETS: [f64; 16] =
    [0.000_1, 0.000_3, 0.001, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// The recorder of the process's metrics.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// The error if the process has another recorder already.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be recorded")]
pub struct MetricsTaken(#[from] BuildError);

impl Metrics {
    /// Installs the recorder. A process can have only one.
    ///
    /// # Errors
    /// If there is another one.
    pub fn install() -> Result<Self, MetricsTaken> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS)?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(BuildError::from)?;
        Ok(Self(handle))
    }

    /// Folds samples into their buckets until the future is dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }

    /// Returns the text that Prometheus reads.
    pub(crate) fn render(&self, streams: usize) -> String {
        #[allow(clippy::cast_precision_loss)] // A gauge is a float, which is exact up to 2^53 streams.
        gauge!("order_engine_server_streams").set(streams as f64);
        self.0.render()
    }
}
