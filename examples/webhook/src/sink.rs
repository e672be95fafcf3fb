//! The sink that posts events to a URL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{Clock, OrderUpdate, SinkError, SinkGuarantee, StatusSink, TokioClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};

use crate::body::WebhookBody;
use crate::signature::{ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, sign};

/// The configuration of a webhook.
#[derive(Clone)]
pub struct WebhookConfig {
    /// The name of the sink, under which the store keeps its outbox entries.
    pub name: String,
    /// The URL of the receiver. It may contain a token, so it appears in no log and no `Debug`.
    pub url: String,
    /// The secrets that sign requests. While a secret is being changed: the new one and the old one.
    pub secrets: Vec<Secret>,
    /// How long a receiver may take for one request.
    pub timeout: Duration,
}

/// Why a webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWebhook {
    /// The URL cannot be read.
    #[error("the webhook's URL is not that of a web server")]
    Url,
    /// The HTTP client of this crate is built without TLS, so nothing would ever arrive.
    #[error("the webhook's URL begins with https, and this program is built without TLS")]
    NoTls,
    /// There is no secret, or an empty one, so a receiver could not check who sent a request.
    #[error("a webhook needs a secret, and no secret may be empty")]
    NoSecret,
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created")]
    Client(#[from] reqwest::Error),
}

/// A durable sink that signs an order's events and posts them to a URL. If the receiver does not answer with
/// 2xx, the engine delivers the events again.
#[derive(Clone)]
pub struct WebhookSink {
    name: String,
    url: Url,
    secrets: Vec<Secret>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl WebhookSink {
    /// Returns the sink of a webhook.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: WebhookConfig) -> Result<Self, InvalidWebhook> {
        let WebhookConfig { name, url, secrets, timeout } = config;
        let url = Url::parse(&url).ok().filter(Url::has_host).ok_or(InvalidWebhook::Url)?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(InvalidWebhook::NoTls),
            _ => return Err(InvalidWebhook::Url),
        }
        if secrets.is_empty() || secrets.iter().any(Secret::is_empty) {
            return Err(InvalidWebhook::NoSecret);
        }
        // A redirect would send events to a URL that is not configured.
        let client =
            Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { name, url, secrets, client, clock: Arc::new(TokioClock::new()) })
    }

    async fn post(&self, id: &str, body: Vec<u8>) -> Result<reqwest::StatusCode, reqwest::Error> {
        let timestamp_s = self.clock.now().timestamp();
        let signature = sign(&self.secrets, id, timestamp_s, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ID_HEADER, id)
            .header(TIMESTAMP_HEADER, timestamp_s)
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        Ok(request.send().await?.status())
    }
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, url: _, secrets, timeout } = self;
        f.debug_struct("WebhookConfig")
            .field("name", name)
            .field("secrets", secrets)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Returns the error of a request without an answer. The URL is left out, because it may contain a token.
fn unanswered(error: reqwest::Error) -> SinkError {
    SinkError::new("the receiver did not answer").with_source(error.without_url())
}

#[async_trait]
impl StatusSink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::Durable
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let Some(body) = WebhookBody::new(updates) else { return Ok(()) };
        let id = body.message_id();
        let body = serde_json::to_vec(&body)
            .map_err(|error| SinkError::new("the events cannot be encoded").with_source(error))?;
        let answer = self.post(&id, body).await.map_err(unanswered)?;
        if answer.is_success() {
            Ok(())
        } else {
            Err(SinkError::new(format!("the receiver answered {}", answer.as_u16())))
        }
    }
}
