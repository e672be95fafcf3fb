//! Delivery to one endpoint, by whoever has its lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use order_engine_core::telemetry::chain;
use order_engine_core::{Engine, Feed, FeedCursor, FeedError, FeedEvent, FeedScope};
use tokio::time::sleep;
use uuid::Uuid;

use crate::webhooks::attempt::{Attempt, Trigger};
use crate::webhooks::client::Answer;
use crate::webhooks::endpoint::{Endpoint, Progress};
use crate::webhooks::kinds::wants;
use crate::webhooks::lease::Lease;
use crate::webhooks::message::{Message, kind};
use crate::webhooks::post::Post;
use crate::webhooks::round::Round;
use crate::webhooks::schedule::{self, Setback};
use crate::webhooks::store::WebhookStore;

/// How many events are delivered together: as many may come twice after a crash.
const ROUND_EVENTS: usize = 64;
/// How many requests one receiver gets at a time, if it is quick. A slow one, or one that fails, gets one: it cannot take the place
/// of others.
const WIDTH: usize = 4;
/// How long a quick receiver takes.
const QUICK_MS: u64 = 2_000;
/// How many events that nobody wants are passed before that is written down.
const SKIPS_MAX: usize = 1_000;
/// How long to wait for a store that does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long to leave an endpoint whose next event this program cannot read, so that a newer one takes it.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);

/// Delivers to an endpoint.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn WebhookStore>,
    pub(crate) post: Post,
    pub(crate) endpoint: Endpoint,
    pub(crate) lease: Lease,
}

/// Why a deliverer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The engine shuts down, somebody else has the lease, or the endpoint is disabled.
    Done,
    /// The next event cannot be read.
    Unreadable,
}

/// What a round's requests have come to.
#[derive(Debug, Default)]
struct Outcome {
    attempts: Vec<Attempt>,
    delivered: Vec<usize>,
    setback: Option<Setback>,
}

impl Deliverer {
    /// Delivers until the lease is lost, the endpoint is disabled, or the engine shuts down. Safe to drop: what is not written down is
    /// delivered again.
    pub(crate) async fn run(mut self) {
        if let End::Unreadable = self.deliver_all().await
            && let Err(error) = self.store.release(&self.lease, UNREADABLE_PAUSE).await
        {
            tracing::warn!(error = %chain(&error), "the lease of a webhook is not given up");
        }
    }

    async fn deliver_all(&mut self) -> End {
        let mut feed = self.feed_after(self.endpoint.progress.cursor).await;
        let mut width = 1;
        loop {
            let mut round = match self.next_round(&mut feed).await {
                Ok(round) => round,
                Err(end) => return end,
            };
            while !round.is_done() {
                self.wait_for_turn().await;
                let outcome = self.send(&round, width).await;
                let is_quick = outcome.attempts.iter().all(|attempt| attempt.duration_ms < QUICK_MS);
                width = if is_quick && outcome.setback.is_none() { WIDTH } else { 1 };
                for place in &outcome.delivered {
                    round.deliver(*place);
                }
                self.endpoint.progress = self.after(&round, &outcome);
                if !self.write(&outcome.attempts).await || !self.endpoint.is_enabled() {
                    return End::Done;
                }
            }
        }
    }

    /// Returns the user's feed behind a place.
    async fn feed_after(&self, cursor: FeedCursor) -> Feed {
        let scope = FeedScope::User(self.endpoint.user.clone());
        loop {
            match self.engine.feed(scope.clone(), Some(cursor)).await {
                Ok(feed) => return feed,
                Err(_) => sleep(STORE_PAUSE).await,
            }
        }
    }

    /// Waits for an event that is wanted, and returns it with those behind it that are there already.
    async fn next_round(&mut self, feed: &mut Feed) -> Result<Round, End> {
        let mut round = Round::after(self.endpoint.progress.cursor);
        let mut skipped = 0;
        while round.len() < ROUND_EVENTS {
            let next = if round.len() == 0 {
                feed.next().await
            } else {
                let Some(next) = feed.next().now_or_never() else { break };
                next
            };
            match next {
                Some(Ok(event)) => skipped += usize::from(!self.take(&mut round, &event)),
                Some(Err(FeedError::Store(_))) => sleep(STORE_PAUSE).await,
                // The round ends before it, and the next one begins with it.
                Some(Err(FeedError::Undecodable { .. })) if round.len() > 0 => {
                    *feed = self.feed_after(round.end()).await;
                    break;
                }
                Some(Err(FeedError::Undecodable { error, .. })) => {
                    tracing::error!(webhook.id = %self.endpoint.id, error = %chain(&error), "a webhook waits for an event that cannot be read");
                    return Err(End::Unreadable);
                }
                Some(Err(_)) | None => return Err(End::Done),
            }
            if round.len() == 0 && skipped >= SKIPS_MAX {
                skipped = 0;
                self.endpoint.progress.cursor = round.cursor();
                if !self.write(&[]).await {
                    return Err(End::Done);
                }
            }
        }
        Ok(round)
    }

    /// Adds an event to a round, and returns true if it is wanted.
    fn take(&self, round: &mut Round, FeedEvent { cursor, order, event, .. }: &FeedEvent) -> bool {
        let is_wanted = wants(&self.endpoint.settings.kinds, &kind(event));
        if is_wanted {
            round.push(order.id, *cursor, Message::of_event(order, event));
        } else {
            round.skip(*cursor);
        }
        is_wanted
    }

    /// Waits until the endpoint may be tried again.
    async fn wait_for_turn(&self) {
        let pause = self.endpoint.progress.next_attempt_at.map(|at| at - Utc::now());
        if let Some(pause) = pause.and_then(|pause| pause.to_std().ok()) {
            sleep(pause).await;
        }
    }

    /// Sends what is left of a round: several orders at a time, each order's events one after the other. After a failure nothing more
    /// is begun.
    async fn send(&self, round: &Round, width: usize) -> Outcome {
        let has_failed = AtomicBool::new(false);
        let lanes = stream::iter(round.lanes()).map(|lane| self.send_lane(round, lane, &has_failed));
        let outcomes: Vec<Outcome> = lanes.buffer_unordered(width).collect().await;
        outcomes.into_iter().fold(Outcome::default(), |mut all, one| {
            all.attempts.extend(one.attempts);
            all.delivered.extend(one.delivered);
            // A receiver that wants nothing any more has said so, whatever else has failed.
            let is_stronger = one.setback.as_ref().is_some_and(|setback| setback.is_gone);
            if is_stronger || all.setback.is_none() {
                all.setback = one.setback.or(all.setback);
            }
            all
        })
    }

    async fn send_lane(&self, round: &Round, lane: Vec<usize>, has_failed: &AtomicBool) -> Outcome {
        let mut outcome = Outcome::default();
        for place in lane {
            if has_failed.load(Ordering::Acquire) {
                break;
            }
            let message = round.message(place);
            let tries = self.endpoint.progress.tries.get(&message.id).copied().unwrap_or(0) + 1;
            let settings = &self.endpoint.settings;
            let (attempt, answer) = self.post.attempt(settings, message, Trigger::Event, tries).await;
            let is_delivered = attempt.is_delivered();
            outcome.setback = setback(&attempt, &answer);
            outcome.attempts.push(attempt);
            if !is_delivered {
                has_failed.store(true, Ordering::Release);
                break;
            }
            outcome.delivered.push(place);
        }
        outcome
    }

    /// Returns the progress after a round's requests.
    fn after(&self, round: &Round, outcome: &Outcome) -> Progress {
        let mut progress = Progress { cursor: round.cursor(), ..self.endpoint.progress.clone() };
        let now = Utc::now();
        let Some(setback) = outcome.setback.clone() else { return schedule::succeeded(&progress, now) };
        for attempt in &outcome.attempts {
            if attempt.is_delivered() {
                progress.tries.remove(&attempt.event_id);
                progress.last_success_at = Some(now);
            } else {
                progress.tries.insert(attempt.event_id.clone(), attempt.tries);
            }
        }
        let progress = schedule::failed(progress, setback, now, random());
        if let Some(disabled) = &progress.disabled {
            tracing::warn!(webhook.id = %self.endpoint.id, reason = ?disabled.reason, "a webhook is disabled");
            metrics::counter!("order_engine_server_webhooks_disabled_total").increment(1);
        }
        progress
    }

    /// Writes the progress down, however long the store takes. Returns false if somebody else has the endpoint.
    async fn write(&self, attempts: &[Attempt]) -> bool {
        let mut is_known = false;
        loop {
            match self.store.advance(&self.lease, &self.endpoint.progress, attempts).await {
                Ok(is_held) => return is_held,
                Err(error) if !is_known => {
                    is_known = true;
                    tracing::warn!(webhook.id = %self.endpoint.id, error = %chain(&error), "the progress of a webhook is not written yet");
                }
                Err(_) => {}
            }
            sleep(STORE_PAUSE).await;
        }
    }
}

/// Returns how an attempt has failed, if it has.
fn setback(attempt: &Attempt, answer: &Answer) -> Option<Setback> {
    let error = attempt.error.clone()?;
    let (error, is_gone, retry_after) = match answer {
        Answer::Status { status, retry_after } => (format!("status-{status}"), *status == 410, *retry_after),
        Answer::None(_) => (error, false, None),
    };
    Some(Setback { error, is_gone, retry_after })
}

/// Returns any number, for jitter.
fn random() -> u32 {
    Uuid::new_v4().as_fields().0
}
