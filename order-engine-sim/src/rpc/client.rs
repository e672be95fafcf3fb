//! A JSON-RPC client with time-outs and bounded retries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use order_engine_core::telemetry::chain;
use order_engine_core::telemetry::trace::{TRACEPARENT, TraceContext};
use order_engine_core::{Backoff, Runtime};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The options of an [`RpcClient`].
#[derive(Clone)]
#[non_exhaustive]
pub struct RpcOptions {
    /// The URL of the node. It may have a key in it, so it appears in no log and no `Debug`.
    pub url: String,
    /// The longest time of one call.
    pub timeout: Duration,
    /// The most retries of a call without an effect, after a time-out, a broken connection, a 429 or a 5xx.
    pub retries: u32,
    /// The waits between the retries.
    pub backoff: Backoff,
}

impl fmt::Debug for RpcOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcOptions")
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl RpcOptions {
    /// Returns options with two seconds per call, and three retries after 50, 100 and 200 ms.
    pub fn new(url: impl Into<String>) -> Self {
        let backoff =
            Backoff::default().with_initial(Duration::from_millis(50)).with_max(Duration::from_secs(1));
        Self { url: url.into(), timeout: Duration::from_secs(2), retries: 3, backoff }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets [`retries`](Self::retries).
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }
}

/// A client of one node. Clones share its connections.
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: reqwest::Client,
    options: Arc<RpcOptions>,
    runtime: Runtime,
    next_id: Arc<AtomicU64>,
}

/// The error behind an [`RpcError`].
type Source = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The node did not answer in time, or the connection broke. The call may have had its effect.
    #[error("the node did not answer")]
    Transport(#[source] Source),
    /// The node, or a proxy before it, answered with an HTTP status other than 200.
    #[error("the node answered with status {0}")]
    Status(u16),
    /// The node refused the call.
    #[error("the node refused: {message} ({code})")]
    Refused {
        /// The code of JSON-RPC, or of the node.
        code: i64,
        /// The reason.
        message: String,
    },
    /// The answer is not the expected JSON.
    #[error("the answer cannot be read")]
    Malformed(#[source] Source),
    /// The client could not be created.
    #[error("the client cannot be made")]
    Client(#[source] Source),
}

impl RpcError {
    /// Returns whether the same call may succeed soon.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status(status) => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// The answer to one call.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused { error: ErrorObject },
    Result { result: Value },
}

/// An error object of JSON-RPC.
#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
}

impl RpcClient {
    /// Returns a client of a node on this runtime.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(options: RpcOptions, runtime: Runtime) -> Result<Self, RpcError> {
        let http =
            reqwest::Client::builder().timeout(options.timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| RpcError::Client(error.into()))?;
        Ok(Self { http, options: Arc::new(options), runtime, next_id: Arc::default() })
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes a call without an effect, with retries.
    ///
    /// # Errors
    /// The error of the last try.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        let call = self.envelope(method, &params);
        let answer = self.post_with_retries(&call).await?;
        result_of(answer)
    }

    /// Makes several calls without an effect in one request, with retries.
    ///
    /// # Errors
    /// The error of the last try, or of the first refused call.
    pub(crate) async fn query_batch<T: DeserializeOwned>(
        &self,
        calls: &[(&str, Value)],
    ) -> Result<Vec<T>, RpcError> {
        let batch: Vec<Value> = calls.iter().map(|(method, params)| self.envelope(method, params)).collect();
        let Value::Array(mut answers) = self.post_with_retries(&Value::Array(batch.clone())).await? else {
            return Err(RpcError::Malformed("a batch is answered by a list".into()));
        };
        // Answers may have any order.
        let mut answer_to = |call: &Value| {
            let index = answers.iter().position(|answer| answer.get("id") == call.get("id"));
            index
                .map(|index| answers.swap_remove(index))
                .ok_or_else(|| RpcError::Malformed("an answer is missing".into()))
        };
        batch.iter().map(|call| result_of(answer_to(call)?)).collect()
    }

    /// Makes a call with an effect, without retries.
    ///
    /// # Errors
    /// If there is no result. Only [`RpcError::Refused`] proves that there was no effect.
    pub(crate) async fn call_once<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RpcError> {
        let answer = self.post(&self.envelope(method, &params)).await?;
        result_of(answer)
    }

    fn envelope(&self, method: &str, params: &Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    async fn post_with_retries(&self, body: &Value) -> Result<Value, RpcError> {
        let mut tries = 0;
        loop {
            match self.post(body).await {
                Err(error) if error.is_transient() && tries < self.options.retries => {
                    tries += 1;
                    let entropy = self.runtime.entropy.next_u128();
                    let wait = self.options.backoff.delay(tries, entropy);
                    tracing::debug!(error = %chain(&error), wait_ms = wait.as_millis(), "retrying a call");
                    self.runtime.clock.sleep(wait).await;
                }
                result => return result,
            }
        }
    }

    async fn post(&self, body: &Value) -> Result<Value, RpcError> {
        let lost = |error: reqwest::Error| RpcError::Transport(error.without_url().into());
        let mut request = self.http.post(&self.options.url).json(body);
        if let Some(trace) = TraceContext::current() {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(RpcError::Status(status.as_u16()));
        }
        let answer = response.bytes().await.map_err(lost)?;
        serde_json::from_slice(&answer).map_err(|error| RpcError::Malformed(error.into()))
    }
}

fn result_of<T: DeserializeOwned>(answer: Value) -> Result<T, RpcError> {
    let malformed = |error: serde_json::Error| RpcError::Malformed(error.into());
    match serde_json::from_value(answer).map_err(malformed)? {
        Answer::Result { result } => serde_json::from_value(result).map_err(malformed),
        Answer::Refused { error: ErrorObject { code, message } } => Err(RpcError::Refused { code, message }),
    }
}
