//! Follows an order to its end, through interruptions.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::client::{Client, segment};
use crate::failure::Failure;
use crate::output::{Output, field, raw, remark};
use crate::sse::Parser;

/// The server sends something every 20 seconds. What is silent for longer than two of these is cut.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long to wait before the next attempt to connect: at first, and at most.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How wide the bar is, in characters.
const BAR_WIDTH: usize = 30;

/// How far an order has been followed.
struct Progress<'a> {
    output: &'a Output,
    /// The number of the last event that was shown.
    seq: u64,
    /// The last event, once it ends the order.
    end: Option<Value>,
    is_bar_shown: bool,
}

/// Follows an order. Every event is shown once, in order; the connection may break as often as it likes.
pub(crate) async fn watch(
    client: &Client,
    output: &Output,
    id: &str,
    after: u64,
    time: Option<Duration>,
) -> Result<(), Failure> {
    let mut progress = Progress { output, seq: after, end: None, is_bar_shown: false };
    let followed = follow(client, id, &mut progress);
    let result = match time {
        Some(time) => timeout(time, followed).await.unwrap_or(Err(Failure::TimedOut)),
        None => followed.await,
    };
    progress.hide_bar()?;
    result
}

async fn follow(client: &Client, id: &str, progress: &mut Progress<'_>) -> Result<(), Failure> {
    let mut wait = WAIT;
    let mut has_connected = false;
    let mut told = String::new();
    loop {
        let before = progress.seq;
        let cut = match client.events(id, progress.seq).await {
            // There is no more, so the last event was shown by somebody who has asked before.
            Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                return ended_before(client, id).await;
            }
            Ok(response) => {
                has_connected = true;
                take(response.into_body(), progress).await?
            }
            // A server that was never reached is one whose address is wrong.
            Err(failure) if has_connected && failure.is_passing() => failure.to_string(),
            Err(failure) => return Err(failure),
        };
        if let Some(end) = &progress.end {
            return outcome(end);
        }
        if progress.seq > before {
            wait = WAIT;
        }
        // Once for each reason: an outage may be long.
        if cut != told {
            progress.hide_bar()?;
            remark(&format!("the stream was cut ({cut}); trying again after event {}", progress.seq));
            told = cut;
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Shows the events of a stream until it ends, and returns why it did.
async fn take(mut body: Incoming, progress: &mut Progress<'_>) -> Result<String, Failure> {
    let mut parser = Parser::default();
    while progress.end.is_none() {
        let frame = match timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => return Ok("it fell silent".to_owned()),
            Ok(None) => return Ok("it ended".to_owned()),
            Ok(Some(Err(error))) => return Ok(error.to_string()),
            Ok(Some(Ok(frame))) => frame,
        };
        for event in frame.data_ref().map(|data| parser.take(data)).unwrap_or_default() {
            let frame: Value =
                serde_json::from_str(&event.data).map_err(|error| Failure::Unexpected(error.to_string()))?;
            match event.id.and_then(|id| id.parse().ok()) {
                // What was shown already.
                Some(seq) if seq <= progress.seq => {}
                Some(seq) if seq == progress.seq + 1 => progress.show(seq, frame)?,
                Some(seq) => return Ok(format!("event {seq} came before the one before it")),
                None => progress.tell(&frame)?,
            }
        }
    }
    Ok(String::new())
}

impl Progress<'_> {
    /// Shows an event.
    fn show(&mut self, seq: u64, frame: Value) -> Result<(), Failure> {
        self.hide_bar()?;
        self.output.show(&frame, event_line)?;
        self.seq = seq;
        if matches!(frame["status"].as_str(), Some("confirmed" | "failed")) {
            self.end = Some(frame);
        } else if self.output.is_live() {
            raw(&bar(frame["progress"].as_u64().unwrap_or(0)))?;
            self.is_bar_shown = true;
        }
        Ok(())
    }

    /// Shows what is no event: a notice of the server.
    fn tell(&mut self, frame: &Value) -> Result<(), Failure> {
        if frame["type"] == "notice" {
            self.hide_bar()?;
            remark(&field(frame, "message"));
        }
        Ok(())
    }

    fn hide_bar(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.is_bar_shown) { raw("\r\x1b[K") } else { Ok(()) }
    }
}

fn event_line(frame: &Value) -> String {
    let [at, kind, message] = ["timestamp", "type", "message"].map(|name| field(frame, name));
    format!("{at}  {:>3}%  {kind:<18}  {message}", field(frame, "progress"))
}

fn bar(percent: u64) -> String {
    let filled = usize::try_from(percent.min(100)).unwrap_or(0) * BAR_WIDTH / 100;
    format!("[{}{}] {percent:>3}%", "#".repeat(filled), "-".repeat(BAR_WIDTH - filled))
}

fn outcome(end: &Value) -> Result<(), Failure> {
    if end["status"] != "failed" {
        return Ok(());
    }
    let error = &end["error"];
    Err(Failure::OrderFailed(format!("{}, {}", field(error, "code"), field(error, "message"))))
}

async fn ended_before(client: &Client, id: &str) -> Result<(), Failure> {
    outcome(&client.get(&format!("/api/orders/status/{}", segment(id))).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows() {
        assert_eq!(bar(0), format!("[{}]   0%", "-".repeat(30)));
        assert_eq!(bar(50), format!("[{}{}]  50%", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(100), format!("[{}] 100%", "#".repeat(30)));
    }
}
