//! One node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http::Http;
use crate::rpc::error::RpcError;

/// A client of one node. It tries each call once.
pub(crate) struct Client {
    http: Http,
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
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, RpcError> {
        let http = Http::new(url, timeout).map_err(RpcError::Client)?;
        Ok(Self { http, next_id: AtomicU64::default() })
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.http.post("", &body).await.map_err(RpcError::Transport)?;
        let status = answer.status;
        if status != 200 {
            let after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(RpcError::Status {
                status,
                retry_after_s: after.and_then(|value| value.parse().ok()),
            });
        }
        match serde_json::from_slice(&answer.body).map_err(RpcError::malformed)? {
            Answer::Result { result } => serde_json::from_value(result).map_err(RpcError::malformed),
            Answer::Refused { error: ErrorObject { code, message, data } } => {
                Err(RpcError::Refused { code, message, data })
            }
        }
    }
}
