//! How the engine is, and what waits.

use serde_json::Value;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, field, pairs, table};

pub(crate) async fn stats(client: &Client, output: &Output) -> Result<(), Failure> {
    let stats = client.get("/api/operator/stats").await?;
    output.show(&stats, stats_text)
}

/// Returns the stats as people read them.
pub(crate) fn stats_text(stats: &Value) -> String {
    let backlog = &stats["backlog"];
    let lane = |name: &str| {
        let lane = &backlog[name];
        let due_for =
            lane["dueForMs"].as_u64().map_or_else(String::new, |ms| format!(", the first for {}", time(ms)));
        format!("{} orders, {} due{due_for}", field(lane, "orders"), field(lane, "due"))
    };
    let yes = |name: &str| if stats[name] == true { "yes" } else { "no" };
    let mut rows = vec![
        ("halted", yes("isHalted").to_owned()),
        ("pauses", field(stats, "pauses")),
        ("attention", field(backlog, "attention")),
        ("to execute", lane("execute")),
        ("to observe", lane("observe")),
        (
            "workers",
            format!(
                "{}{}",
                field(stats, "workers"),
                if stats["isStalled"] == true { ", stalled" } else { "" }
            ),
        ),
        (
            "store",
            format!(
                "{}, {}",
                field(stats, "durability"),
                if stats["isWritable"] == true { "takes writes" } else { "takes no writes" }
            ),
        ),
        ("streams", field(stats, "streams")),
        ("hints", if stats["sourcesConnected"] == true { "connected" } else { "lost, polling" }.to_owned()),
    ];
    for sink in backlog["sinks"].as_array().into_iter().flatten() {
        let pending = sink["pendingForMs"]
            .as_u64()
            .map_or_else(String::new, |ms| format!(", the oldest for {}", time(ms)));
        rows.push(("sink", format!("{}: {} orders{pending}", field(sink, "sink"), field(sink, "orders"))));
    }
    for venue in stats["missingVenues"].as_array().into_iter().flatten() {
        rows.push(("missing venue", venue.as_str().unwrap_or_default().to_owned()));
    }
    for part in stats["panicked"].as_array().into_iter().flatten() {
        rows.push((
            "panicked",
            format!("{}, {} times: {}", field(part, "name"), field(part, "panics"), field(part, "lastPanic")),
        ));
    }
    let venues: Vec<_> = stats["venues"].as_array().into_iter().flatten().map(venue_row).collect();
    format!("{}\n\n{}", pairs(&rows), table(&["VENUE", "BUILDS", "OBSERVES", "FINALIZED HEIGHT"], &venues))
}

fn venue_row(venue: &Value) -> Vec<String> {
    let yes = |name: &str| if venue[name] == true { "yes" } else { "no" }.to_owned();
    vec![field(venue, "name"), yes("isBuilding"), yes("isObserving"), field(&venue["view"], "finalized")]
}

/// Returns a time as people say it.
#[allow(clippy::cast_precision_loss, reason = "it is rounded to a tenth")]
fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
