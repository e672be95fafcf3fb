//! One node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rpc::error::RpcError;

/// A call: the method and its parameters.
pub(crate) type Call = (&'static str, Value);

/// A client of one node. It tries each call once.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    next_id: AtomicU64,
}

/// Shows no URL, which may contain a key.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The answer to a call. A result may be `null`.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<ErrorObject>,
}

/// An error object of JSON-RPC.
#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<Box<Value>>,
}

impl Answer {
    fn read<T: DeserializeOwned>(self) -> Result<T, RpcError> {
        match self.error {
            Some(ErrorObject { code, message, data }) => Err(RpcError::Refused { code, message, data }),
            None => serde_json::from_value(self.result).map_err(RpcError::malformed),
        }
    }
}

impl Client {
    pub(crate) fn new(url: String, timeout: Duration) -> Result<Self, RpcError> {
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| RpcError::Client(error.without_url().into()))?;
        Ok(Self { http, url, next_id: AtomicU64::new(1) })
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.post(&body).await?;
        serde_json::from_slice::<Answer>(&answer).map_err(RpcError::malformed)?.read()
    }

    /// Makes several calls in one request, and returns their answers in their order.
    pub(crate) async fn batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let count = u64::try_from(calls.len()).map_err(RpcError::malformed)?;
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let body: Vec<Value> = (first..)
            .zip(calls)
            .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let answer = self.post(&Value::Array(body)).await?;
        let answers: Vec<Answer> = match serde_json::from_slice(&answer) {
            Ok(answers) => answers,
            // A node that takes no batches, or not this one, answers with a single error.
            Err(error) => {
                let refused: Answer =
                    serde_json::from_slice(&answer).map_err(|_| RpcError::malformed(error))?;
                refused.read::<Value>()?;
                return Err(RpcError::malformed("a batch has as many answers as calls"));
            }
        };
        let mut by_id: BTreeMap<u64, Answer> =
            answers.into_iter().map(|answer| (answer.id, answer)).collect();
        let missing = || RpcError::malformed("a batch has an answer to each call");
        (first..first + count).map(|id| Ok(by_id.remove(&id).ok_or_else(missing)?.read())).collect()
    }

    async fn post(&self, body: &Value) -> Result<Bytes, RpcError> {
        let lost = |error: reqwest::Error| RpcError::Transport(error.without_url().into());
        let response = self.http.post(&self.url).json(body).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if status != 200 {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(RpcError::Status {
                status,
                retry_after_s: after.and_then(|value| value.parse().ok()),
            });
        }
        response.bytes().await.map_err(lost)
    }
}
