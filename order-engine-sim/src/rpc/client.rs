//! Calls, with time-outs and bounded retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use order_engine_core::{Backoff, Runtime};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How a node is called.
#[derive(Clone, Debug)]
pub struct RpcOptions {
    /// Where the node is.
    pub url: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// How often a call without an effect is tried again after a time-out, a broken connection, a 429 or
    /// a 5xx.
    pub retries: u32,
    /// The waits between the tries.
    pub backoff: Backoff,
}

impl RpcOptions {
    /// Two seconds a call, and three more tries after 50, 100 and 200 ms.
    pub fn new(url: impl Into<String>) -> Self {
        let backoff = Backoff { initial_ms: 50, max_ms: 1_000, ..Backoff::default() };
        Self { url: url.into(), timeout: Duration::from_secs(2), retries: 3, backoff }
    }
}

/// Calls one node. Clones share its connections.
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: reqwest::Client,
    options: Arc<RpcOptions>,
    runtime: Runtime,
    next_id: Arc<AtomicU64>,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The node did not answer in time, or the connection broke: the call may have had its effect.
    #[error("the node did not answer: {0}")]
    Transport(String),
    /// Something between here and the node answered.
    #[error("the node answered with status {0}")]
    Status(u16),
    /// The node refused the call.
    #[error("the node refused: {message} ({code})")]
    Refused {
        /// The code of JSON-RPC, or of the node.
        code: i64,
        /// Why, in words.
        message: String,
    },
    /// The answer is none.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// There can be no client.
    #[error("the client cannot be made: {0}")]
    Client(String),
}

impl RpcError {
    /// Whether the same call may succeed in a moment.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status(status) => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Fault { error: Fault },
    Result { result: Value },
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
    message: String,
}

impl RpcClient {
    /// A client of a node, in these surroundings.
    ///
    /// # Errors
    /// If there can be none.
    pub fn new(options: RpcOptions, runtime: Runtime) -> Result<Self, RpcError> {
        let http =
            reqwest::Client::builder().timeout(options.timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| RpcError::Client(error.to_string()))?;
        Ok(Self { http, options: Arc::new(options), runtime, next_id: Arc::default() })
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Asks something that has no effect, again if need be.
    ///
    /// # Errors
    /// The last reason.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, RpcError> {
        let call = self.envelope(method, &params);
        let answer = self.try_often(&call).await?;
        result_of(answer)
    }

    /// Asks several things that have no effect in one request.
    ///
    /// # Errors
    /// The last reason, or the reason of the first that was refused.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        calls: &[(&str, Value)],
    ) -> Result<Vec<T>, RpcError> {
        let batch: Vec<Value> = calls.iter().map(|(method, params)| self.envelope(method, params)).collect();
        let Value::Array(mut answers) = self.try_often(&Value::Array(batch.clone())).await? else {
            return Err(RpcError::Malformed("a batch is answered by a list".into()));
        };
        // Answers may come in any order.
        let mut answer_to = |call: &Value| {
            let at = answers.iter().position(|answer| answer.get("id") == call.get("id"));
            at.map(|at| answers.swap_remove(at))
                .ok_or_else(|| RpcError::Malformed("an answer is missing".into()))
        };
        batch.iter().map(|call| result_of(answer_to(call)?)).collect()
    }

    /// Calls something that has an effect, once.
    ///
    /// # Errors
    /// The reason. Only a refusal says that there was no effect.
    pub(crate) async fn order<T: DeserializeOwned>(
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

    async fn try_often(&self, body: &Value) -> Result<Value, RpcError> {
        let mut tries = 0;
        loop {
            match self.post(body).await {
                Err(error) if error.is_transient() && tries < self.options.retries => {
                    tries += 1;
                    let entropy = self.runtime.entropy.next_u128();
                    let wait_ms = self.options.backoff.delay_ms(tries, entropy);
                    tracing::debug!(%error, wait_ms, "a call is tried again");
                    self.runtime.clock.sleep(Duration::from_millis(wait_ms)).await;
                }
                result => return result,
            }
        }
    }

    async fn post(&self, body: &Value) -> Result<Value, RpcError> {
        let lost = |error: reqwest::Error| RpcError::Transport(error.without_url().to_string());
        let response = self.http.post(&self.options.url).json(body).send().await.map_err(lost)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(RpcError::Status(status.as_u16()));
        }
        let answer = response.bytes().await.map_err(lost)?;
        serde_json::from_slice(&answer).map_err(|error| RpcError::Malformed(error.to_string()))
    }
}

fn result_of<T: DeserializeOwned>(answer: Value) -> Result<T, RpcError> {
    let malformed = |error: serde_json::Error| RpcError::Malformed(error.to_string());
    match serde_json::from_value(answer).map_err(malformed)? {
        Answer::Result { result } => serde_json::from_value(result).map_err(malformed),
        Answer::Fault { error: Fault { code, message } } => Err(RpcError::Refused { code, message }),
    }
}
