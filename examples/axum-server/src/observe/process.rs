//! What the process takes of the machine, as Linux tells it under `/proc`, in the text format and under the usual names of Prometheus.

use std::fmt::Write as _;
use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// When it started, in ticks after the machine did.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Returns the metrics of this process; nothing of what the system does not tell.
pub(crate) fn render() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    };
    let stat = read("/proc/self/stat").and_then(|text| parse_stat(&text));
    let booted_s = read("/proc/stat").and_then(|text| parse_boot_time(&text));
    let ticks_per_s = number(clock_ticks_per_second());
    let of = |read: fn(&Stat) -> u64| stat.as_ref().map(read).map(number);
    let started = of(|stat| stat.started_ticks)
        .zip(booted_s)
        .map(|(ticks, booted)| number(booted) + ticks / ticks_per_s);
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| number(files.count() as u64 - 1));
    let files_max = getrlimit(Resource::Nofile).current.map(number);
    add(
        "process_cpu_seconds_total",
        "counter",
        "Processor time, in seconds",
        of(|stat| stat.cpu_ticks).map(|ticks| ticks / ticks_per_s),
    );
    add(
        "process_resident_memory_bytes",
        "gauge",
        "Memory that is in the machine's",
        of(|stat| stat.resident_pages).map(|pages| pages * number(page_size() as u64)),
    );
    add("process_virtual_memory_bytes", "gauge", "Addresses that are taken", of(|stat| stat.virtual_bytes));
    add("process_open_fds", "gauge", "Open files and connections", files);
    add("process_max_fds", "gauge", "Files and connections that may be open", files_max);
    add("process_threads", "gauge", "Threads", of(|stat| stat.threads));
    add("process_start_time_seconds", "gauge", "When the process started, in seconds of Unix time", started);
    text
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Reads `/proc/self/stat`. The second field, the name, may have anything in it, up to the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // The manual counts from 1, and the name is field 2.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        started_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// Reads when the machine started from `/proc/stat`, in seconds of Unix time.
fn parse_boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[allow(clippy::cast_precision_loss)] // Prometheus knows floats only, which are exact up to 2^53.
const fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_name_is() {
        let line = "7 (a ) b (c) S 1 7 7 0 -1 4194304 900 0 0 0 120 30 5 6 20 0 9 0 4242 1048576 256 18446744073709551615 1";
        let expected = Stat {
            cpu_ticks: 150,
            threads: 9,
            started_ticks: 4_242,
            virtual_bytes: 1_048_576,
            resident_pages: 256,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
    }

    #[test]
    fn the_process_is_measured() {
        let text = render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "{age}");
    }
}
