//! What the engine measures, through the `metrics` facade. It installs no exporter: without one,
//! nothing is kept.
//!
//! | metric | kind | labels | meaning |
//! |---|---|---|---|
//! | `order_engine_orders_total` | counter | `status` | orders that came to a status, written by this process |
//! | `order_engine_events_total` | counter | `kind` | events committed by this process |
//! | `order_engine_retries_total` | counter | | attempts that will be followed by another |
//! | `order_engine_unknown_outcomes_total` | counter | | transactions whose outcome stayed unknown for too long |
//! | `order_engine_order_seconds` | histogram | `status` | from acceptance to the end of an order |
//! | `order_engine_step_seconds` | histogram | `step` | how long a call of the router, the venue or the store took |
//! | `order_engine_fanout_lag_seconds` | histogram | | from an event to its publication in this process |
//! | `order_engine_backlog_orders` | gauge | `lane` | orders of a lane: due, held and waiting |
//! | `order_engine_due_orders` | gauge | `lane` | orders of a lane that are due |
//! | `order_engine_due_age_seconds` | gauge | `lane` | how long the first of them has been due |
//! | `order_engine_workers` | gauge | | workers of this process that take orders |
//! | `order_engine_attention_orders` | gauge | | orders that an operator should look at |
//! | `order_engine_outbox_entries` | gauge | `sink` | orders with events that a durable sink does not have yet |
//! | `order_engine_outbox_age_seconds` | gauge | `sink` | how long the oldest entry of the sink has been pending |
//! | `order_engine_panics_total` | counter | `part` | panics of a task or a port that were caught |
//! | `order_engine_sink_failures_total` | counter | `sink` | deliveries that a sink did not take |
//! | `order_engine_sink_dropped_events_total` | counter | `sink` | events that a best-effort sink missed |
//!
//! The end of each order is one line of the log at the level of information, under the target `order_engine::orders`.

pub mod trace;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{
    Counter, Key, Label, Level, Metadata, counter, describe_counter, describe_gauge, describe_histogram,
    gauge,
};

use tracing::Instrument as _;

use crate::domain::event::{EventRecord, OrderEvent, Status};
use crate::domain::ids::VenueName;
use crate::domain::order::Order;
use crate::domain::state::step::Lane;
use crate::ports::order_store::query::{Backlog, LaneBacklog};
use crate::ports::runtime::Runtime;

const ORDERS: &str = "order_engine_orders_total";
const EVENTS: &str = "order_engine_events_total";
const RETRIES: &str = "order_engine_retries_total";
const UNKNOWN_OUTCOMES: &str = "order_engine_unknown_outcomes_total";
const ORDER_SECONDS: &str = "order_engine_order_seconds";
const STEP_SECONDS: &str = "order_engine_step_seconds";
const FANOUT_LAG: &str = "order_engine_fanout_lag_seconds";
const BACKLOG: &str = "order_engine_backlog_orders";
const DUE: &str = "order_engine_due_orders";
const DUE_AGE: &str = "order_engine_due_age_seconds";
const WORKERS: &str = "order_engine_workers";
const ATTENTION: &str = "order_engine_attention_orders";
const OUTBOX_ENTRIES: &str = "order_engine_outbox_entries";
const OUTBOX_AGE: &str = "order_engine_outbox_age_seconds";
const PANICS: &str = "order_engine_panics_total";
const SINK_FAILURES: &str = "order_engine_sink_failures_total";
const SINK_DROPPED: &str = "order_engine_sink_dropped_events_total";

/// An error with its causes, as one line of a log: `what failed: why: why that`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

/// Returns an error with its causes, to be shown to people. The errors of this software do not repeat their
/// causes themselves.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Errors of other crates may have said it already.
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// Describes the metrics to the recorder, if the host has installed one.
pub(crate) fn describe() {
    describe_counter!(ORDERS, "Orders that came to a status, written by this process");
    describe_counter!(EVENTS, "Events committed by this process");
    describe_counter!(RETRIES, "Attempts that will be followed by another");
    describe_counter!(UNKNOWN_OUTCOMES, "Transactions whose outcome stayed unknown for too long");
    describe_histogram!(ORDER_SECONDS, metrics::Unit::Seconds, "From acceptance to the end of an order");
    describe_histogram!(STEP_SECONDS, metrics::Unit::Seconds, "How long a call of a port took");
    describe_histogram!(FANOUT_LAG, metrics::Unit::Seconds, "From an event to its publication here");
    describe_gauge!(BACKLOG, "Orders of a lane: due, held and waiting");
    describe_gauge!(DUE, "Orders of a lane that are due");
    describe_gauge!(DUE_AGE, metrics::Unit::Seconds, "How long the first of them has been due");
    describe_gauge!(WORKERS, "Workers of this process that take orders");
    describe_gauge!(ATTENTION, "Orders that an operator should look at");
    describe_gauge!(OUTBOX_ENTRIES, "Orders with events that a durable sink does not have yet");
    describe_gauge!(
        OUTBOX_AGE,
        metrics::Unit::Seconds,
        "How long the oldest entry of the sink has been pending"
    );
    describe_counter!(PANICS, "Panics of a task or a port that were caught");
    describe_counter!(SINK_FAILURES, "Deliveries that a sink did not take");
    describe_counter!(SINK_DROPPED, "Events that a best-effort sink missed");
}

/// A metric, by its name and one of the named values of a label. Its key is made when the program is
/// compiled: what every event measures allocates and hashes nothing, whichever recorder there is.
macro_rules! fixed {
    ($register:ident($name:expr $(, $label:literal => $value:literal)?)) => {{
        static LABELS: &[Label] = &[$(Label::from_static_parts($label, $value))?];
        static KEY: Key = Key::from_static_parts($name, LABELS);
        static METADATA: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        metrics::with_recorder(|recorder| recorder.$register(&KEY, &METADATA))
    }};
}

/// A metric by a label, of which these values are fixed; any other is made as it comes.
macro_rules! labelled {
    ($register:ident($name:expr, $label:literal => $value:expr): $($known:literal)+) => {
        match $value {
            $($known => fixed!($register($name, $label => $known)),)+
            other => {
                static METADATA: Metadata<'_> =
                    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
                let key = Key::from_parts($name, vec![Label::new($label, other)]);
                metrics::with_recorder(|recorder| recorder.$register(&key, &METADATA))
            }
        }
    };
}

/// A metric by the status of an order.
macro_rules! by_status {
    ($register:ident($name:expr, $status:expr)) => {
        labelled!($register($name, "status" => $status.as_str()):
            "pending" "routing" "building" "submitted" "confirmed" "failed")
    };
}

/// A call whose duration is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StepName {
    Quote,
    Prepare,
    Submit,
    Observe,
    Append,
    Create,
}

impl StepName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Prepare => "prepare",
            Self::Submit => "submit",
            Self::Observe => "observe",
            Self::Append => "append",
            Self::Create => "create",
        }
    }
}

/// Measures the duration of a call, which has a span of its own at the level of debugging. A call that is dropped is not counted.
pub(crate) async fn timed<T>(name: StepName, runtime: &Runtime, call: impl Future<Output = T>) -> T {
    let from = runtime.now();
    let span = tracing::debug_span!("step", otel.name = name.as_str(), step = name.as_str());
    let result = call.instrument(span).await;
    let taken = seconds(runtime.now() - from);
    labelled!(register_histogram(STEP_SECONDS, "step" => name.as_str()):
        "quote" "prepare" "submit" "observe" "append" "create")
    .record(taken);
    result
}

/// Counts an event that this process has committed and publishes now. `order` is as its events have left it.
pub(crate) fn committed(order: &Order, event: &EventRecord, now: DateTime<Utc>) {
    events(event.event.kind()).increment(1);
    fixed!(register_histogram(FANOUT_LAG)).record(seconds(now - event.at));
    if let Some(status) = reached(event) {
        by_status!(register_counter(ORDERS, status)).increment(1);
    }
    match event.event {
        OrderEvent::RetryScheduled { .. } => counter!(RETRIES).increment(1),
        OrderEvent::OutcomeUnknown { .. } => counter!(UNKNOWN_OUTCOMES).increment(1),
        OrderEvent::Confirmed { .. } | OrderEvent::Failed { .. } => {
            let taken = seconds(event.at - event.order_id.accepted_at());
            by_status!(register_histogram(ORDER_SECONDS, event.status)).record(taken);
            log_end(order, event, taken);
        }
        _ => {}
    }
}

/// Writes the one line of the log about the end of an order.
fn log_end(order: &Order, event: &EventRecord, taken_s: f64) {
    tracing::info!(
        target: "order_engine::orders",
        { order.id = %event.order_id,
        order.status = event.status.as_str(),
        order.attempts = event.attempt,
        order.duration_s = taken_s,
        venue = order.state.venue().map(VenueName::as_str),
        error.code = event.event.failure().map(|failure| failure.code.as_str()) },
        "an order has ended"
    );
}

fn events(kind: &'static str) -> Counter {
    labelled!(register_counter(EVENTS, "kind" => kind):
        "accepted" "routing_started" "route_chosen" "price_too_low" "build_started" "build_restarted" "transaction_signed"
        "submission_started" "submission_accepted" "inclusion_observed" "attempt_failed" "transaction_died"
        "retry_scheduled" "deferred" "cancel_requested" "suspected" "quarantined" "quarantine_lifted" "outcome_unknown"
        "outcome_resolved" "confirmed" "failed")
}

/// Returns the status that an order came to with an event, if the event changes it.
const fn reached(event: &EventRecord) -> Option<Status> {
    match event.event {
        OrderEvent::Accepted { .. }
        | OrderEvent::RoutingStarted { .. }
        | OrderEvent::BuildStarted
        | OrderEvent::BuildRestarted { .. }
        | OrderEvent::SubmissionStarted
        | OrderEvent::Confirmed { .. }
        | OrderEvent::Failed { .. } => Some(event.status),
        _ => None,
    }
}

/// Counts a panic of a task or a port.
pub(crate) fn panicked(part: &'static str) {
    counter!(PANICS, "part" => part).increment(1);
}

/// Counts a delivery that a sink did not take.
pub(crate) fn sink_failed(sink: &Arc<str>) {
    counter!(SINK_FAILURES, "sink" => Arc::clone(sink)).increment(1);
}

/// Counts events that a best-effort sink missed.
pub(crate) fn sink_dropped(sink: &str, events: usize) {
    counter!(SINK_DROPPED, "sink" => sink.to_owned()).increment(events as u64);
}

/// Sets the gauge of the workers of this process.
#[allow(clippy::cast_precision_loss)] // A gauge is a float, and no process has as many workers.
pub(crate) fn workers(running: usize) {
    gauge!(WORKERS).set(running as f64);
}

/// Sets the gauges of what waits to be done.
#[allow(clippy::cast_precision_loss)] // A gauge is a float, and no backlog reaches 53 bits.
pub(crate) fn backlog(backlog: &Backlog) {
    lane(Lane::Execute, &backlog.execute);
    lane(Lane::Observe, &backlog.observe);
    gauge!(ATTENTION).set(backlog.attention as f64);
    for entries in &backlog.sinks {
        gauge!(OUTBOX_ENTRIES, "sink" => Arc::clone(&entries.sink)).set(entries.orders as f64);
        gauge!(OUTBOX_AGE, "sink" => Arc::clone(&entries.sink)).set(age(entries.pending_for));
    }
}

#[allow(clippy::cast_precision_loss)] // As above.
fn lane(lane: Lane, backlog: &LaneBacklog) {
    gauge!(BACKLOG, "lane" => lane.as_str()).set(backlog.orders as f64);
    gauge!(DUE, "lane" => lane.as_str()).set(backlog.due as f64);
    gauge!(DUE_AGE, "lane" => lane.as_str()).set(age(backlog.due_for));
}

fn age(age: Option<Duration>) -> f64 {
    age.unwrap_or_default().as_secs_f64()
}

/// Returns an age in seconds; none is negative, even if a clock stepped back.
fn seconds(delta: TimeDelta) -> f64 {
    delta.to_std().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use metrics::{Gauge, Histogram, KeyName, Recorder, SharedString, Unit};
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::ids::OrderId;
    use crate::domain::order::Order;
    use crate::ports::order_store::query::SinkBacklog;
    use crate::testing;

    /// Returns what was measured: names with their labels, and values.
    fn measured(measure: impl FnOnce()) -> BTreeMap<String, DebugValue> {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, measure);
        let named = |key: &metrics::Key| {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            format!("{}{{{}}}", key.name(), labels.join(","))
        };
        let all = snapshotter.snapshot().into_vec().into_iter();
        all.map(|(key, _, _, value)| (named(key.key()), value)).collect()
    }

    /// An error that says what its cause says, as some do.
    #[derive(Debug, thiserror::Error)]
    #[error("it failed: {0}")]
    struct Repeats(#[source] std::fmt::Error);

    #[test]
    fn a_chain_says_nothing_twice() {
        let cause = std::fmt::Error;
        assert_eq!(chain(&cause).to_string(), cause.to_string());
        assert_eq!(chain(&Repeats(cause)).to_string(), format!("it failed: {cause}"));
    }

    /// Takes down which metrics are described, and as what.
    #[derive(Default)]
    struct Descriptions(Mutex<BTreeMap<String, &'static str>>);

    impl Descriptions {
        fn add(&self, name: &KeyName, kind: &'static str) {
            self.0.lock().unwrap().insert(name.as_str().to_owned(), kind);
        }
    }

    impl Recorder for Descriptions {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.add(&name, "counter");
        }

        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.add(&name, "gauge");
        }

        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
            self.add(&name, "histogram");
        }

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn the_documentation_lists_every_metric_and_no_other() {
        let descriptions = Descriptions::default();
        metrics::with_local_recorder(&descriptions, describe);
        let rows = include_str!("telemetry.rs").lines().filter_map(|line| {
            let mut cells =
                line.strip_prefix("//! | `")?.split('|').map(|cell| cell.trim().trim_matches('`'));
            Some((cells.next()?.to_owned(), cells.next()?))
        });
        let documented: BTreeMap<String, &str> = rows.collect();
        assert_eq!(*descriptions.0.lock().unwrap(), documented);
    }

    #[test]
    fn the_backlog_is_measured_by_lane_and_sink() {
        let backlog_of = |orders| LaneBacklog { orders, due: 2, due_for: Some(Duration::from_millis(1_500)) };
        let sink = SinkBacklog { sink: "ledger".into(), orders: 7, pending_for: None };
        let counted = Backlog {
            execute: backlog_of(3),
            observe: LaneBacklog::default(),
            attention: 1,
            sinks: vec![sink],
        };
        let measured = measured(|| {
            workers(2);
            backlog(&counted);
        });
        let gauge = |name: &str| match &measured[name] {
            DebugValue::Gauge(value) => value.into_inner(),
            other => panic!("{other:?}"),
        };
        let expected = [
            ("order_engine_backlog_orders{lane=execute}", 3.0),
            ("order_engine_backlog_orders{lane=observe}", 0.0),
            ("order_engine_due_orders{lane=execute}", 2.0),
            ("order_engine_due_age_seconds{lane=execute}", 1.5),
            ("order_engine_workers{}", 2.0),
            ("order_engine_attention_orders{}", 1.0),
            ("order_engine_outbox_entries{sink=ledger}", 7.0),
            ("order_engine_outbox_age_seconds{sink=ledger}", 0.0),
        ];
        for (name, value) in expected {
            assert!((gauge(name) - value).abs() < f64::EPSILON, "{name}: {}", gauge(name));
        }
    }

    #[test]
    fn an_order_is_counted_once_in_each_status_and_timed_from_its_acceptance() {
        let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let (order, accepted) = Order::accept(OrderId::new(at, 1), testing::request(), 3, at);
        let failure = Failure::new(FailureCode::CANCELLED, "cancelled");
        let end = at + TimeDelta::milliseconds(2_500);
        let (ended, failed) = order.advance(OrderEvent::Failed { failure }, end).unwrap();
        let measured = measured(|| {
            committed(&order, &accepted, at);
            committed(&ended, &failed, end);
        });
        for name in ["order_engine_orders_total{status=pending}", "order_engine_orders_total{status=failed}"]
        {
            assert_eq!(measured[name], DebugValue::Counter(1), "{name}");
        }
        let DebugValue::Histogram(seconds) = &measured["order_engine_order_seconds{status=failed}"] else {
            panic!("{measured:?}")
        };
        assert_eq!(seconds.iter().map(|sample| sample.into_inner()).collect::<Vec<_>>(), [2.5]);
    }
}
