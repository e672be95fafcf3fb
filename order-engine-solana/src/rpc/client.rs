//! One node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::rpc::error::RpcError;

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

/// The answer to a call.
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
    #[serde(default)]
    data: Option<Box<Value>>,
}

impl Client {
    pub(crate) fn new(url: String, timeout: Duration) -> Result<Self, RpcError> {
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| RpcError::Client(error.without_url().into()))?;
        Ok(Self { http, url, next_id: AtomicU64::default() })
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let lost = |error: reqwest::Error| RpcError::Transport(error.without_url().into());
        let response = self.http.post(&self.url).json(&body).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if status != 200 {
            let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(RpcError::Status {
                status,
                retry_after_s: after.and_then(|value| value.parse().ok()),
            });
        }
        let answer = response.bytes().await.map_err(lost)?;
        match serde_json::from_slice(&answer).map_err(RpcError::malformed)? {
            Answer::Result { result } => serde_json::from_value(result).map_err(RpcError::malformed),
            Answer::Refused { error: ErrorObject { code, message, data } } => {
                Err(RpcError::Refused { code, message, data })
            }
        }
    }
}
