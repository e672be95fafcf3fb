//! One connection of a stream.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Error;
use crate::repeat::Backoff;
use crate::sse::{Message, Parser};

/// One connection of a stream.
#[derive(Debug)]
pub(crate) struct Link {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Message>,
    silence_max: Duration,
    is_silent_at: Instant,
}

impl Link {
    pub(crate) fn new(body: Incoming, silence_max: Duration) -> Self {
        let is_silent_at = Instant::now() + silence_max;
        Self { body, parser: Parser::default(), ready: VecDeque::new(), silence_max, is_silent_at }
    }

    /// Returns the next event, or why there is none any more. Nothing is lost if this is given up.
    pub(crate) async fn next(&mut self) -> Result<Message, String> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let frame = match timeout_at(self.is_silent_at, self.body.frame()).await {
                Err(_) => return Err("it fell silent".to_owned()),
                Ok(None) => return Err("it ended".to_owned()),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(Some(Ok(frame))) => frame,
            };
            self.is_silent_at = Instant::now() + self.silence_max;
            if let Some(data) = frame.data_ref() {
                let taken = self.parser.take(data);
                self.ready.extend(taken.map_err(|_| "an event is too large".to_owned())?);
            }
        }
    }
}

/// When a stream connects again.
#[derive(Debug)]
pub(crate) struct Pace {
    backoff: Backoff,
    at: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::default(), at: Instant::now() }
    }

    /// Notes that there was an event.
    pub(crate) fn progressed(&mut self) {
        self.backoff = Backoff::default();
    }

    /// Notes that the connection broke, or could not be made.
    pub(crate) fn failed(&mut self, error: Option<&Error>) {
        self.at = Instant::now() + self.backoff.next(error.and_then(Error::retry_after));
    }

    /// Waits until it is time to connect. Who gives this up waits no longer the next time.
    pub(crate) async fn wait(&self) {
        sleep_until(self.at).await;
    }
}
