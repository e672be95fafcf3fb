//! The load with few orders: it runs, checks the guarantees, and reports its measurements.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const LOAD: &str = env!("CARGO_BIN_EXE_load");

fn load(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(LOAD);
    if let Some(server) = server().filter(|_| !args.contains(&"--rival")) {
        command.arg("--server").arg(server);
    }
    if !args.contains(&"--runs") {
        command.args(["--runs", "1"]);
    }
    command.args(["--warm-up", "10", "--clients", "4"]).args(args);
    command
}

/// Returns the server if the tests of the whole workspace have built it. Otherwise the load builds it.
fn server() -> Option<PathBuf> {
    let program = Path::new(LOAD).with_file_name("order-engine-server");
    program.exists().then_some(program)
}

/// Runs a load that must succeed, and returns its report.
fn report(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let output = load(&[args, &["--json", file.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn only_run(report: &Value) -> &Value {
    let runs = report["steps"][0]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    &runs[0]
}

#[test]
fn the_engine_is_measured() {
    for (store, watch) in [("memory", "all"), ("memory", "none"), ("sqlite", "all")] {
        let report = report(&["--store", store, "--orders", "50", "--watch", watch]);
        let run = only_run(&report);
        assert_eq!(run["orders"], 50);
        assert!(run["accept"]["p50_ms"].is_f64() && run["life"]["p999_ms"].is_f64(), "{run}");
        assert!(run["load_cpu_ms"].is_null());
        assert!(report["checked"].as_str().unwrap().starts_with("60 orders confirmed"));
    }
}

#[test]
fn the_server_is_measured() {
    for watch in ["all", "none"] {
        let report = report(&["--store", "memory", "--orders", "50", "--over", "http", "--watch", watch]);
        let run = only_run(&report);
        assert_eq!(run["orders"], 50);
        assert!(run["accept"]["p50_ms"].is_f64() && run["life"]["p99_ms"].is_f64(), "{run}");
        assert!(run["load_cpu_ms"].is_f64());
        assert_eq!(report["setting"]["durability"], "Volatile");
        assert!(report["checked"].as_str().unwrap().starts_with("60 orders confirmed"));
    }
}

#[test]
fn a_crowd_gets_every_event() {
    let output = load(&["--store", "memory", "--over", "http", "--crowd", "20", "--idle", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("20 sockets opened")
            && text.contains("while they were idle")
            && text.contains("of the last one: p50 "),
        "{text}"
    );
    assert!(text.contains("each socket got every event once and in order"), "{text}");
}

#[test]
fn streams_apart_are_opened_and_measured() {
    for stream in ["websocket", "sse"] {
        let crowd = ["--over", "http", "--crowd", "20", "--apart", "--stream", stream];
        let output = load(&[&["--store", "memory"], &crowd[..]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(&format!("20 streams ({stream}) on as many orders opened")), "{text}");
    }
}

#[test]
fn a_load_that_is_ended_ends_its_server() {
    let args = ["--store", "memory", "--over", "http", "--rate", "1", "--seconds", "3600"];
    let mut load = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The load prints its settings after the server has started.
    let mut lines = BufReader::new(load.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("http, store memory"));
    let id = load.id().to_string();
    let children = Command::new("ps").args(["-o", "pid=", "--ppid", &id]).output().unwrap();
    let server = String::from_utf8(children.stdout).unwrap().trim().to_owned();
    assert!(runs(&server));
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(!load.wait().unwrap().success());
    // The server takes a moment to end.
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs(&server) {
        assert!(Instant::now() < deadline, "the server outlives its load");
        std::thread::yield_now();
    }
}

fn runs(process: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process).join("status"));
    status.is_ok_and(|status| !status.contains("(zombie)"))
}

#[test]
fn a_sweep_has_a_step_for_each_rate_and_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("sweep.svg");
    let sweep = ["--store", "memory", "--sweep", "20,40", "--seconds", "1", "--arrivals", "even"];
    let report = report(&[&sweep[..], &["--plot", plot.to_str().unwrap()]].concat());
    let steps = report["steps"].as_array().unwrap();
    let offered: Vec<_> = steps.iter().map(|step| step["offered_per_second"].as_f64().unwrap()).collect();
    assert_eq!(offered, [20.0, 40.0]);
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    // The lines are the offered rate, the completed rate and two latencies.
    assert_eq!(svg.matches("<polyline").count(), 4);
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    for args in [
        &["--over", "http", "--watch", "elsewhere"][..],
        &["--over", "http", "--store", "postgres", "--fanout", "none"],
        &["--store", "memory", "--watch", "elsewhere"],
        &["--store", "sqlite", "--watch", "elsewhere"],
        &["--store", "memory", "--rival", "program"],
        &["--over", "http", "--rival", "program", "--server", "program"],
        &["--rate", "10", "--sweep", "10,20"],
        &["--plot", "sweep.svg"],
        &["--sweep", "0"],
        &["--orders", "0"],
    ] {
        let output = load(args);
        assert!(!output.status.success(), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn another_systems_server_is_loaded_and_what_it_never_tells_is_counted() {
    let rival = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rival.js");
    // Every tenth of the 60 orders ends without a word to its subscriber.
    for (watch, never_told) in [("all", 6), ("none", 0)] {
        let args =
            ["--store", "memory", "--over", "http", "--orders", "50", "--watch", watch, "--rival", rival];
        let report = report(&args);
        let run = only_run(&report);
        assert_eq!(run["orders"], 50);
        assert!(run["completed_per_second"].as_f64().unwrap() > 0.0 && run["load_cpu_ms"].is_f64(), "{run}");
        let checked = format!(
            "60 orders confirmed, by the other system's word; {never_told} subscribers were never told the end"
        );
        assert_eq!(report["checked"], checked);
    }
}

#[test]
fn another_system_is_loaded_in_turns() {
    // Of one a second, so that a ratio is the very number that was measured.
    let other = "echo \"$LOAD_ORDERS of $LOAD_CLIENTS, $LOAD_WATCH\"; echo 'completed a second 1'";
    let report = report(&["--store", "memory", "--orders", "50", "--runs", "3", "--versus", other]);
    let versus = &report["steps"][0]["versus"];
    assert_eq!(versus["runs"].as_array().unwrap().len(), 3);
    assert_eq!(versus["completed"]["median"], 1.0);
    let ours = report["steps"][0]["runs"][0]["completed_per_second"].as_f64().unwrap();
    let (least, most) = (versus["ratio"]["min"].as_f64().unwrap(), versus["ratio"]["max"].as_f64().unwrap());
    assert!((least..=most).contains(&ours), "{versus}");
    for command in ["exit 3", "echo nothing"] {
        let output = load(&["--store", "memory", "--orders", "5", "--versus", command]);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("the other system's load"), "{command}");
    }
}
