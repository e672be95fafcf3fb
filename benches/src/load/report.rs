//! The measurements of a load, as text and as JSON.

use std::fmt;

use serde::Serialize;

use crate::stats::{Latency, Spread};
use crate::versus::{FIGURE, Versus};

/// The report of one load.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) setting: Setting,
    pub(crate) steps: Vec<Step>,
    pub(crate) costs: Costs,
    /// The guarantees that were checked at the end. A load that breaks one has no report.
    pub(crate) checked: String,
}

/// The settings of the load, and its machine.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) over: String,
    pub(crate) store: String,
    pub(crate) durability: String,
    pub(crate) fanout: String,
    pub(crate) watch: String,
    pub(crate) slots: usize,
    pub(crate) commit_batch: usize,
    pub(crate) clients: usize,
    pub(crate) arrivals: Option<String>,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    /// The meaning of the two latencies.
    pub(crate) delivery: &'static str,
    pub(crate) life: &'static str,
}

/// The runs at one rate.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// The offered orders a second, or `None` in closed loop.
    pub(crate) offered_per_second: Option<f64>,
    pub(crate) runs: Vec<Run>,
    pub(crate) summary: Vec<Figure>,
    /// The runs of another system in turns with these, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) versus: Option<Versus>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) orders: usize,
    pub(crate) accepted_per_second: f64,
    pub(crate) completed_per_second: f64,
    pub(crate) accept: Option<Latency>,
    pub(crate) delivery: Option<Latency>,
    pub(crate) life: Option<Latency>,
    /// The processor time of the engine for each order.
    pub(crate) engine_cpu_ms: f64,
    pub(crate) database_cpu_ms: f64,
    /// The processor time of the load for each order, if the engine is in another process.
    pub(crate) load_cpu_ms: Option<f64>,
    /// The number of cores that were busy with other processes. It is almost zero on a quiet machine.
    pub(crate) other_cores: f64,
}

/// A figure over all runs of a step.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) spread: Spread,
}

/// The costs of each order over the whole load, the warm-up included.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    /// The bytes of the write-ahead log, or of the append-only file.
    pub(crate) log_bytes_per_order: Option<f64>,
    pub(crate) log_syncs_per_order: Option<f64>,
    /// The bytes that all processes sent to the disk, in whole pages.
    pub(crate) disk_bytes_per_order: Option<f64>,
    /// The resident memory of the engine's process.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_peak_bytes: Option<u64>,
}

/// A figure of a run.
type Getter = fn(&Run) -> Option<f64>;
const FIGURES: [(&str, Getter); 15] = [
    (FIGURE, |run| Some(run.completed_per_second)),
    ("accepted a second", |run| Some(run.accepted_per_second)),
    ("accept p50 ms", |run| Some(run.accept?.p50_ms)),
    ("accept p99 ms", |run| Some(run.accept?.p99_ms)),
    ("accept p99.9 ms", |run| Some(run.accept?.p999_ms)),
    ("to subscriber p50 ms", |run| Some(run.delivery?.p50_ms)),
    ("to subscriber p99 ms", |run| Some(run.delivery?.p99_ms)),
    ("to subscriber p99.9 ms", |run| Some(run.delivery?.p999_ms)),
    ("to the end p50 ms", |run| Some(run.life?.p50_ms)),
    ("to the end p99 ms", |run| Some(run.life?.p99_ms)),
    ("to the end p99.9 ms", |run| Some(run.life?.p999_ms)),
    ("engine CPU ms an order", |run| Some(run.engine_cpu_ms)),
    ("database CPU ms an order", |run| Some(run.database_cpu_ms)),
    ("load CPU ms an order", |run| run.load_cpu_ms),
    ("cores busy with others", |run| Some(run.other_cores)),
];

impl Step {
    /// Returns the step of these runs, with a summary.
    pub(crate) fn new(offered_per_second: Option<f64>, runs: Vec<Run>, versus: Option<Versus>) -> Self {
        let summary = FIGURES.iter().filter_map(|(name, get)| {
            Some(Figure { name, spread: Spread::of(runs.iter().filter_map(get))? })
        });
        Self { offered_per_second, summary: summary.collect(), runs, versus }
    }

    /// Returns the median of a figure.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        Some(self.summary.iter().find(|figure| figure.name == name)?.spread.median)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            over,
            store,
            durability,
            fanout,
            watch,
            slots,
            commit_batch,
            clients,
            cores,
            processor,
            ..
        } = self;
        writeln!(f, "{over}, store {store} (durability {durability}), fan-out {fanout}, watched by {watch}")?;
        write!(f, "{slots} slots, batches of at most {commit_batch}, {clients} clients, ")?;
        match &self.arrivals {
            Some(arrivals) => writeln!(f, "open loop, {arrivals} arrivals")?,
            None => writeln!(f, "closed loop")?,
        }
        write!(f, "{cores} cores of {processor}; the venue takes no time")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders, {:.0} a second accepted, {:.0} completed",
            self.orders, self.accepted_per_second, self.completed_per_second
        )?;
        for (name, latency) in
            [("accept", self.accept), ("to subscriber", self.delivery), ("to the end", self.life)]
        {
            if let Some(Latency { p50_ms, p99_ms, .. }) = latency {
                write!(f, "; {name} {p50_ms:.2} / {p99_ms:.2} ms")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nmedians of {} runs", self.runs.len())?;
        if let Some(rate) = self.offered_per_second {
            write!(f, " at {rate} a second")?;
        }
        write!(f, " (least to most)")?;
        for Figure { name, spread: Spread { median, min, max } } in &self.summary {
            let digits = if *median < 100.0 { 3 } else { 0 };
            write!(f, "\n  {name:<26}{median:>10.digits$}   ({min:.digits$} to {max:.digits$})")?;
        }
        if let Some(versus) = &self.versus {
            write!(f, "\n{versus}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[allow(clippy::cast_precision_loss)] // No process has 2⁵³ bytes.
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / 1_048_576.0);
        write!(f, "\nin all, the warm-up included")?;
        for (name, value) in [
            ("log bytes an order", self.log_bytes_per_order),
            ("log syncs an order", self.log_syncs_per_order),
            ("disk bytes an order", self.disk_bytes_per_order),
            ("engine memory MiB", mebibytes(self.memory_bytes)),
            ("engine memory peak MiB", mebibytes(self.memory_peak_bytes)),
        ] {
            if let Some(value) = value {
                let digits = if value < 100.0 { 3 } else { 0 };
                write!(f, "\n  {name:<26}{value:>10.digits$}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "{}", self.costs)?;
        writeln!(f, "\nto subscriber: {}\nto the end: {}", self.setting.delivery, self.setting.life)?;
        write!(f, "{}", self.checked)
    }
}
