//! The live view for operators: rates, latencies, and what needs them.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::metrics::Sample;
use super::overview::stats_text;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, line, raw};

/// Switches to another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Goes to the top, and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// The other screen. However the view ends, the terminal is as it was.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, Failure> {
        let screen = Self;
        raw(ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = raw(LEAVE);
    }
}

/// Shows the view until Ctrl-C, or once.
pub(crate) async fn top(
    client: &Client,
    output: &Output,
    interval: Duration,
    once: bool,
) -> Result<(), Failure> {
    if once {
        let (first, at) = (look(client).await?.1, Instant::now());
        sleep(interval).await;
        let (stats, sample) = look(client).await?;
        return line(&view(&stats, &sample, &first, at.elapsed()));
    }
    if !output.is_live() {
        return Err(Failure::Usage("top needs a terminal; --once writes the view once".into()));
    }
    // Before the screen is another one, so that nothing ends the program without the way back.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let screen = Screen::enter()?;
    let result = tokio::select! {
        result = show(client, interval) => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    drop(screen);
    result
}

async fn show(client: &Client, interval: Duration) -> Result<(), Failure> {
    let mut earlier: Option<(Sample, Instant)> = None;
    loop {
        match look(client).await {
            Ok((stats, sample)) => {
                let now = Instant::now();
                let (before, at) = earlier.take().unwrap_or_else(|| (sample.clone(), now));
                raw(&format!("{CLEAR}{}\n", view(&stats, &sample, &before, now - at)))?;
                earlier = Some((sample, now));
            }
            // The server may be starting again.
            Err(failure) if failure.is_passing() => raw(&format!("{CLEAR}{failure}\n"))?,
            Err(failure) => return Err(failure),
        }
        sleep(interval).await;
    }
}

async fn look(client: &Client) -> Result<(serde_json::Value, Sample), Failure> {
    let stats = client.get("/api/operator/stats").await?;
    // A server without metrics has no rates.
    let metrics = match client.text("/metrics").await {
        Ok(text) => text,
        Err(Failure::Refused { status: 503, .. }) => String::new(),
        Err(failure) => return Err(failure),
    };
    Ok((stats, Sample::parse(&metrics)))
}

fn view(stats: &serde_json::Value, sample: &Sample, earlier: &Sample, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(0.001);
    let rate = |status| sample.rate(earlier, status, seconds);
    let latency =
        |part| sample.latency(earlier, part).map_or_else(|| "-".to_owned(), |bound| format!("{bound} s"));
    format!(
        "accepted {:.1}/s  confirmed {:.1}/s  failed {:.1}/s  half within {}  95% within {}\n\n{}",
        rate("pending"),
        rate("confirmed"),
        rate("failed"),
        latency(0.5),
        latency(0.95),
        stats_text(stats)
    )
}
