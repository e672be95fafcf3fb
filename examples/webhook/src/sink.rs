//! The sink.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{Clock, EventRecord, SinkError, SinkGuarantee, StatusSink, TokioClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};

use crate::body::WebhookBody;
use crate::signature::{SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, sign};

/// Where a webhook goes.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The name under which the store keeps what it is owed.
    pub name: String,
    /// Where requests go.
    pub url: String,
    /// What they are signed with. While a secret is being changed: the new one and the old one.
    pub secrets: Vec<Secret>,
    /// How long a receiver may take for one request.
    pub timeout: Duration,
}

/// Why a webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWebhook {
    /// The URL cannot be read.
    #[error("'{0}' is no URL of a web server")]
    Url(String),
    /// A receiver could not tell who sent a request.
    #[error("a webhook needs a secret")]
    NoSecret,
    /// There can be no HTTP client.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// A durable sink that posts an order's events to a URL, signed. The engine delivers again what the
/// receiver did not answer with 2xx.
#[derive(Clone, Debug)]
pub struct WebhookSink {
    name: String,
    url: Url,
    secrets: Vec<Secret>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl WebhookSink {
    /// A webhook.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    pub fn new(config: WebhookConfig) -> Result<Self, InvalidWebhook> {
        let WebhookConfig { name, url, secrets, timeout } = config;
        let parsed = Url::parse(&url).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        let parsed = parsed.ok_or(InvalidWebhook::Url(url))?;
        if secrets.is_empty() {
            return Err(InvalidWebhook::NoSecret);
        }
        // A redirect would send orders to somebody whom nobody has configured.
        let client =
            Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { name, url: parsed, secrets, client, clock: Arc::new(TokioClock::new()) })
    }

    async fn post(&self, body: Vec<u8>) -> Result<reqwest::StatusCode, reqwest::Error> {
        let timestamp_s = self.clock.now().timestamp();
        let signature = sign(&self.secrets, timestamp_s, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(TIMESTAMP_HEADER, timestamp_s)
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        Ok(request.send().await?.status())
    }
}

#[async_trait]
impl StatusSink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::Durable
    }

    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
        let Some(body) = WebhookBody::new(events) else { return Ok(()) };
        let body = serde_json::to_vec(&body).map_err(|error| SinkError::new(error.to_string()))?;
        // The URL may hold a token, which does not belong into a log.
        let answer =
            self.post(body).await.map_err(|error| SinkError::new(error.without_url().to_string()))?;
        if answer.is_success() {
            Ok(())
        } else {
            Err(SinkError::new(format!("the receiver answered {}", answer.as_u16())))
        }
    }
}
