//! The metrics of the server. They are tested in a program of their own, because a process has one recorder.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{TestServer, text};
use order_engine_server::{Metrics, Options};
use serde_json::json;
use yaml_rust2::{Yaml, YamlLoader};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the value of a metric in the text format of Prometheus.
fn value(metrics: &str, name_and_labels: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name_and_labels} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What is known of a metric: its kind, and the names of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

/// Returns the metrics that a server serves.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), labels: BTreeSet::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|name| families.contains_key(*name)));
            let labels = &mut families.get_mut(family.expect("it is declared")).unwrap().labels;
            labels.extend(label_names(line).filter(|label| label != "le"));
        }
    }
    families
}

/// Returns the names of labels in a sample, or in an expression: what stands before `="`, `=~"` and the like.
fn label_names(text: &str) -> impl Iterator<Item = String> {
    let ends = text.match_indices("=\"").chain(text.match_indices("~\"")).map(|(at, _)| at);
    ends.map(|end| {
        let before = text[..end].trim_end_matches(['=', '!', '~']);
        before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned()
    })
}

/// Returns the metrics that the documentation lists.
fn documented() -> BTreeMap<String, Family> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        Some((cells[0].trim_end_matches('`').to_owned(), Family { kind: cells[1].to_owned(), labels }))
    });
    rows.collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(WORKSPACE).join(path)).unwrap()
}

#[tokio::test]
async fn what_a_server_serves_is_documented_and_the_dashboard_and_the_alerts_ask_for_nothing_else() {
    let metrics = Metrics::install().unwrap();
    let server = TestServer::with(Options { metrics: Some(metrics), ..Options::default() }).await;
    server.work();
    let order = server.place(&json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5"})).await;
    let client = server.connect(&format!("/ws/orders/{}", text(&order, "orderId"))).await;
    let (frames, _) = client.drain().await;
    assert_eq!(frames.last().unwrap()["type"], "confirmed");
    assert_eq!(server.get("/nowhere").await.status(), 404);

    let response = server.get("/metrics").await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let body = response.text().await.unwrap();
    for status in ["pending", "routing", "building", "submitted", "confirmed"] {
        let reached = value(&body, &format!("order_engine_orders_total{{status=\"{status}\"}}"));
        assert_eq!(reached, Some(1.0), "{status}\n{body}");
    }
    for step in ["create", "quote", "prepare", "append", "submit", "observe"] {
        let count = value(&body, &format!("order_engine_step_seconds_count{{step=\"{step}\"}}"));
        assert!(count.is_some_and(|count| count >= 1.0), "{step}\n{body}");
    }
    let ended = value(&body, "order_engine_order_seconds_count{status=\"confirmed\"}");
    assert_eq!(ended, Some(1.0), "{body}");
    assert!(
        value(&body, "order_engine_fanout_lag_seconds_count").is_some_and(|events| events >= 8.0),
        "{body}"
    );
    assert!(body.contains("# HELP order_engine_orders_total "), "{body}");
    let requests = |route: &str, method: &str, status: &str| {
        value(
            &body,
            &format!(
                "order_engine_server_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
            ),
        )
    };
    assert_eq!(requests("/api/orders/execute", "POST", "2xx"), Some(1.0), "{body}");
    assert_eq!(requests("/ws/orders/{orderId}", "GET", "1xx"), Some(1.0), "{body}");
    assert_eq!(requests("none", "GET", "4xx"), Some(1.0), "{body}");
    assert_eq!(value(&body, "order_engine_server_requests_in_flight"), Some(1.0), "this one\n{body}");
    assert_eq!(value(&body, "order_engine_server_streams_max"), Some(10_000.0), "{body}");

    let (found, documented) = (families(&body), documented());
    for (name, family) in &found {
        assert_eq!(documented.get(name), Some(family), "{name}");
    }
    // What this server cannot have: refusals, more connections than it may have, TLS, a store with connections.
    let elsewhere = [
        "_refusals_total",
        "_reserve_connections",
        "_store_connections",
        "_store_connections_max",
        "_tls_handshakes_total",
    ];
    for name in documented
        .keys()
        .filter(|name| name.starts_with("process_") || name.starts_with("order_engine_server_"))
    {
        assert!(found.contains_key(name) || elsewhere.iter().any(|end| name.ends_with(end)), "{name}");
    }
    check_expressions(&documented);
}

/// Checks what the dashboard and the alerts ask for.
fn check_expressions(documented: &BTreeMap<String, Family>) {
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            expressions.push(text(target, "expr"));
        }
    }
    assert!(expressions.len() >= 15, "{expressions:?}");
    let (of_alerts, alerts) = alerts();
    // Each alarm that the page for operators asks for has a rule.
    for name in metrics_in(&read("docs/operating.md")) {
        assert!(of_alerts.iter().any(|expression| expression.contains(&name)), "{name} has no alert");
    }
    assert!(alerts.len() >= 8, "{alerts:?}");
    expressions.extend(of_alerts);
    for expression in &expressions {
        let metrics = metrics_in(expression);
        assert!(!metrics.is_empty() || expression.starts_with("up{"), "{expression}");
        let mut labels: BTreeSet<_> = ["job", "instance", "le"].map(str::to_owned).into();
        for name in metrics {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = documented
                .get(&name)
                .or_else(|| documented.get(base?).filter(|family| family.kind == "histogram"));
            labels.extend(family.unwrap_or_else(|| panic!("{name} in {expression}")).labels.clone());
        }
        let grouped =
            expression.split("by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap().split(','));
        let grouped = grouped.map(|label| label.trim().to_owned());
        for label in label_names(expression).chain(grouped) {
            assert!(labels.contains(&label), "{label} in {expression}");
        }
    }
}

/// Returns the expressions of the alerts, and their names.
fn alerts() -> (Vec<String>, BTreeSet<String>) {
    let rules = YamlLoader::load_from_str(&read("deploy/prometheus/alerts.yaml")).unwrap();
    let (mut expressions, mut names) = (Vec::new(), BTreeSet::new());
    for group in rules[0]["groups"].as_vec().unwrap() {
        for rule in group["rules"].as_vec().unwrap() {
            let field = |rule: &Yaml, name: &str| {
                rule[name].as_str().unwrap_or_else(|| panic!("{name} in {rule:?}")).to_owned()
            };
            assert!(names.insert(field(rule, "alert")), "{rule:?}");
            expressions.push(field(rule, "expr"));
            field(&rule["labels"], "severity");
            field(&rule["annotations"], "summary");
            field(&rule["annotations"], "description");
        }
    }
    (expressions, names)
}

/// Returns the names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_ours = |word: &&str| {
        (word.starts_with("order_engine_") && !word.starts_with("order_engine_core"))
            || word.starts_with("process_")
    };
    words.filter(is_ours).map(str::to_owned).collect()
}
