//! The metrics of the process, in the text format of Prometheus.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::observe::process;

/// How often samples are folded into their buckets, which frees their memory also without a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// The bounds of all histograms, in seconds: a step in memory takes microseconds, an order on a slow
/// chain minutes.
const BUCKETS: [f64; 16] =
    [0.000_1, 0.000_3, 0.001, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// What the server measures: name, kind, and what it means. `docs/metrics.md` has the same.
const DESCRIPTIONS: [(&str, Kind, &str); 12] = [
    ("order_engine_server_requests_total", Kind::Counter, "Requests that were answered"),
    ("order_engine_server_request_seconds", Kind::Histogram, "From a request to the head of its answer"),
    ("order_engine_server_requests_in_flight", Kind::Gauge, "Requests that are being answered"),
    ("order_engine_server_refusals_total", Kind::Counter, "Requests refused for credential, scope or rate"),
    ("order_engine_server_connections", Kind::Gauge, "Connections that are no live streams"),
    ("order_engine_server_connections_max", Kind::Gauge, "How many of them there may be"),
    ("order_engine_server_reserve_connections", Kind::Gauge, "Connections beyond all bounds"),
    ("order_engine_server_streams", Kind::Gauge, "Live streams"),
    ("order_engine_server_streams_max", Kind::Gauge, "How many live streams there may be"),
    ("order_engine_server_store_connections", Kind::Gauge, "Connections to the store"),
    ("order_engine_server_store_connections_max", Kind::Gauge, "How many of them there may be"),
    ("order_engine_server_tls_handshakes_total", Kind::Counter, "TLS handshakes that ended"),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The recorder of the process's metrics.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// The error if the process has another recorder already.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be recorded")]
pub struct MetricsTaken(#[from] BuildError);

/// What is counted only when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) streams: usize,
    pub(crate) streams_max: usize,
    pub(crate) connections_max: usize,
    /// The connections to the store: in use, unused, and how many there may be.
    pub(crate) store: Option<[usize; 3]>,
}

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
        for (name, kind, meaning) in DESCRIPTIONS {
            match kind {
                Kind::Counter => describe_counter!(name, meaning),
                Kind::Gauge => describe_gauge!(name, meaning),
                Kind::Histogram => describe_histogram!(name, meaning),
            }
        }
        Ok(Self(handle))
    }

    /// Folds samples into their buckets until the future is dropped.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }

    /// Returns the text that Prometheus reads. It looks into `/proc`, which takes a moment where many connections are open.
    pub(crate) fn render(&self, levels: Levels) -> String {
        gauge!("order_engine_server_streams").set(number(levels.streams));
        gauge!("order_engine_server_streams_max").set(number(levels.streams_max));
        gauge!("order_engine_server_connections_max").set(number(levels.connections_max));
        if let Some([used, idle, max]) = levels.store {
            for (state, connections) in [("used", used), ("idle", idle)] {
                gauge!("order_engine_server_store_connections", "state" => state).set(number(connections));
            }
            gauge!("order_engine_server_store_connections_max").set(number(max));
        }
        self.0.render() + &process::render()
    }
}

#[allow(clippy::cast_precision_loss)] // A gauge is a float, which is exact up to 2^53.
const fn number(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/metrics.md");
    const OF_CORE: &str = include_str!("../../../order-engine-core/src/telemetry.rs");

    /// Returns the rows of tables of metrics: name, kind and labels.
    fn rows<'a>(text: &'a str, prefix: &str) -> BTreeMap<&'a str, (&'a str, &'a str)> {
        let row = |line: &'a str| {
            let mut cells = line.strip_prefix(prefix)?.strip_prefix("| `")?.split('|').map(str::trim);
            Some((cells.next()?.trim_end_matches('`'), (cells.next()?, cells.next()?)))
        };
        text.lines().filter_map(row).collect()
    }

    #[test]
    fn the_page_of_metrics_has_those_of_the_server_and_of_core() {
        let page = rows(PAGE, "");
        let of_core = rows(OF_CORE, "//! ");
        assert!(of_core.len() > 10);
        for (name, cells) in &of_core {
            assert_eq!(page.get(name), Some(cells), "{name}");
        }
        for (name, kind, _) in DESCRIPTIONS {
            let kind = format!("{kind:?}").to_lowercase();
            assert_eq!(page.get(name).map(|(kind, _)| *kind), Some(&*kind), "{name}");
        }
        let known = |name: &str| {
            name.starts_with("process_")
                || of_core.contains_key(name)
                || DESCRIPTIONS.iter().any(|(known, ..)| *known == name)
        };
        let unknown: Vec<_> = page.keys().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
