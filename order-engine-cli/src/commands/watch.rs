//! Follows an order to its end, through interruptions.

use std::time::Duration;

use order_engine_client::{Event, Item};
use serde_json::Value;
use tokio::time::timeout;

use crate::client::{Client, segment};
use crate::failure::Failure;
use crate::output::{Output, field, raw, remark};

/// How wide the bar is, in characters.
const BAR_WIDTH: usize = 30;

/// How far an order has been followed.
struct Progress<'a> {
    output: &'a Output,
    /// The number of the event behind which it begins.
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
    // A server that was never reached is one whose address is wrong.
    let mut events = client.follow(id, progress.seq).await?;
    let mut told = String::new();
    while let Some(item) = events.next_item().await {
        match item? {
            Item::Event(event) => progress.show(&event)?,
            Item::Notice { message } => progress.tell(&message)?,
            // Once for each reason: an outage may be long.
            Item::Interrupted { reason } if reason != told => {
                let after = events.last_seq();
                progress.tell(&format!("the stream was cut ({reason}); trying again after event {after}"))?;
                told = reason;
            }
            _ => {}
        }
    }
    match &progress.end {
        Some(end) => outcome(end),
        // There is no more, so the last event was shown by somebody who has asked before.
        None => ended_before(client, id).await,
    }
}

impl Progress<'_> {
    /// Shows an event.
    fn show(&mut self, event: &Event) -> Result<(), Failure> {
        let frame: Value =
            serde_json::from_str(event.json()).map_err(|error| Failure::Unexpected(error.to_string()))?;
        self.hide_bar()?;
        self.output.show(&frame, event_line)?;
        if event.status.is_terminal() {
            self.end = Some(frame);
        } else if self.output.is_live() {
            raw(&bar(u64::from(event.progress)))?;
            self.is_bar_shown = true;
        }
        Ok(())
    }

    /// Shows what is no event.
    fn tell(&mut self, message: &str) -> Result<(), Failure> {
        self.hide_bar()?;
        remark(message);
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
