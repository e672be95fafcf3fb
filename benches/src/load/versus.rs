//! Another system, which is loaded in turns with the target.
//!
//! Figures of two systems compare only if they were measured beside each other: a machine is faster in one hour than
//! in the next. So each run of the target is followed by one of the other system, and the report has the ratio of
//! each pair.

use std::fmt;
use std::process::Stdio;

use serde::Serialize;
use tokio::process::Command;

use crate::args::{Args, name};
use crate::error::Result;
use crate::stats::Spread;

/// The name of the figure that is compared, at the beginning of a line of the other system's output.
pub(crate) const FIGURE: &str = "completed a second";

/// The runs of the other system, beside those of the target.
#[derive(Debug, Serialize)]
pub(crate) struct Versus {
    /// The command that loads it.
    pub(crate) command: String,
    /// The orders that it completed in a second, in each run.
    pub(crate) runs: Vec<f64>,
    pub(crate) completed: Spread,
    /// How many orders the target completed for each one of the other system, in each pair of runs.
    pub(crate) ratio: Spread,
}

impl Versus {
    /// Returns the comparison of runs in turns, or `None` if there are none.
    pub(crate) fn of(command: &str, ours: &[f64], theirs: Vec<f64>) -> Option<Self> {
        let ratio = Spread::of(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs))?;
        let completed = Spread::of(theirs.iter().copied())?;
        Some(Self { command: command.to_owned(), runs: theirs, completed, ratio })
    }
}

impl fmt::Display for Versus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, completed, ratio, .. } = self;
        let Spread { median, min, max } = completed;
        writeln!(f, "\nin turns with: {command}")?;
        writeln!(f, "  {FIGURE:<26}{median:>10.0}   ({min:.0} to {max:.0})")?;
        let Spread { median, min, max } = ratio;
        write!(f, "  {:<26}{median:>10.2}   ({min:.2} to {max:.2})", "times as many here")
    }
}

/// Loads the other system once, and returns how many orders it completed in a second.
///
/// # Errors
/// If the command fails, or its output has no such figure.
pub(crate) async fn run(command: &str, args: &Args) -> Result<f64> {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("LOAD_ORDERS", args.orders.to_string())
        .env("LOAD_CLIENTS", args.clients.to_string())
        .env("LOAD_WATCH", name(&args.watch))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("the other system's load failed: {}", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    figure(&text)
        .ok_or_else(|| format!("the other system's load printed no line '{FIGURE} …': {text}").into())
}

/// Returns the figure of the last line that has it.
fn figure(text: &str) -> Option<f64> {
    let value = |line: &str| line.trim().strip_prefix(FIGURE)?.split_whitespace().next()?.parse().ok();
    text.lines().rev().find_map(value).filter(|figure: &f64| figure.is_finite() && *figure > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_that_of_a_report_of_this_program() {
        let text =
            "100 orders\n  completed a second             900   (880 to 950)\n  accepted a second 1000";
        assert_eq!(figure(text), Some(900.0));
        for text in ["", "completed a second", "completed a second many", "completed a second 0"] {
            assert_eq!(figure(text), None, "{text}");
        }
    }

    #[test]
    fn runs_are_compared_in_pairs() {
        let versus = Versus::of("other", &[900.0, 400.0, 500.0], vec![100.0, 100.0, 50.0]).unwrap();
        assert_eq!(versus.ratio, Spread { median: 9.0, min: 4.0, max: 10.0 });
        assert_eq!(versus.completed, Spread { median: 100.0, min: 50.0, max: 100.0 });
        assert!(versus.to_string().contains("9.00   (4.00 to 10.00)"), "{versus}");
        assert!(Versus::of("other", &[], Vec::new()).is_none());
    }
}
