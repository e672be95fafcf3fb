//! One attempt: a message, signed and posted.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::webhooks::attempt::{Attempt, Trigger};
use crate::webhooks::client::{Answer, Signed, WebhookClient};
use crate::webhooks::endpoint::Settings;
use crate::webhooks::message::Message;

/// What attempts of all endpoints share.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) client: WebhookClient,
    /// One permit for each request under way.
    pub(crate) slots: Arc<Semaphore>,
}

impl Post {
    /// Posts a message to an endpoint once, and returns what became of it and what the receiver answered.
    pub(crate) async fn attempt(
        &self,
        settings: &Settings,
        message: &Message,
        trigger: Trigger,
        tries: u32,
    ) -> (Attempt, Answer) {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.ok();
        let (at, begun) = (Utc::now(), Instant::now());
        let signed = sign(settings, message, at);
        let answer = self.client.post(&settings.url, &signed, message.body.clone()).await;
        let (status, error) = match &answer {
            Answer::Status { status, .. } => {
                (Some(*status), (!(200..300).contains(status)).then_some("status"))
            }
            Answer::None(code) => (None, Some(*code)),
        };
        let attempt = Attempt {
            event_id: message.id.clone(),
            r#type: message.kind.clone(),
            order_id: message.event.map(|(order_id, _)| order_id),
            seq: message.event.map(|(_, seq)| seq),
            trigger,
            tries,
            at,
            status,
            error: error.map(str::to_owned),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let outcome = if attempt.is_delivered() { "delivered" } else { "failed" };
        metrics::counter!("order_engine_server_webhook_attempts_total", "outcome" => outcome).increment(1);
        (attempt, answer)
    }
}

fn sign(settings: &Settings, message: &Message, at: DateTime<Utc>) -> Signed {
    let signature = settings.secrets.sign(&message.id, at, &message.body);
    Signed { id: message.id.clone(), timestamp_s: at.timestamp(), signature }
}
