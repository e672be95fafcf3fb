//! One node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::http::{Answer as HttpAnswer, Http};
use crate::rpc::error::RpcError;
use crate::rpc::options::NodesOptions;

/// A call: the method and its parameters.
pub type Call = (&'static str, Value);

/// Whether a reason for which a node refuses a call, its code and its words, may be gone soon or not be there at another node.
pub type Dialect = fn(i64, &str) -> bool;

/// A client of one node. It tries each call once.
pub(super) struct Client {
    http: Http,
    next_id: AtomicU64,
    dialect: Dialect,
}

/// Shows no URL, which may contain a key.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The answer to a call.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<u64>,
    /// A result may be `null`, which is something else than none.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
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

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Answer {
    fn read<T: DeserializeOwned>(self, dialect: Dialect) -> Result<T, RpcError> {
        match (self.error, self.result) {
            (Some(ErrorObject { code, message, data }), _) => {
                let may_pass = dialect(code, &message);
                Err(RpcError::Refused { code, message, data, may_pass })
            }
            (None, Some(result)) => serde_json::from_value(result).map_err(RpcError::malformed),
            (None, None) => Err(RpcError::malformed("it has neither a result nor an error")),
        }
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

impl Client {
    pub(super) fn new(url: &str, options: &NodesOptions, dialect: Dialect) -> Result<Self, RpcError> {
        let http = Http::new(url, options.timeout, options.ca_file.as_deref()).map_err(RpcError::Client)?;
        Ok(Self { http, next_id: AtomicU64::new(1), dialect })
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &Value,
    ) -> Result<T, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let answer = self.post(&request(id, method, params)).await?;
        let answer: Answer = serde_json::from_slice(answer.body()).map_err(RpcError::malformed)?;
        if answer.id.is_some_and(|answered| answered != id) {
            return Err(RpcError::malformed("it answers another call"));
        }
        answer.read(self.dialect)
    }

    /// Makes several calls in one request, and returns their answers in their order.
    pub(super) async fn batch<T: DeserializeOwned>(
        &self,
        calls: &[Call],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        let count = u64::try_from(calls.len()).map_err(RpcError::malformed)?;
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let body: Vec<Value> =
            (first..).zip(calls).map(|(id, (method, params))| request(id, method, params)).collect();
        let answer = self.post(&Value::Array(body)).await?;
        let answers: Vec<Answer> = match serde_json::from_slice(answer.body()) {
            Ok(answers) => answers,
            // A node that takes no batches, or not this one, answers with a single error.
            Err(error) => {
                let refused: Answer =
                    serde_json::from_slice(answer.body()).map_err(|_| RpcError::malformed(error))?;
                refused.read::<Value>(self.dialect)?;
                return Err(RpcError::malformed("a batch has as many answers as calls"));
            }
        };
        let mut by_id: BTreeMap<u64, Answer> =
            answers.into_iter().filter_map(|answer| Some((answer.id?, answer))).collect();
        let missing = || RpcError::malformed("a batch has an answer to each call");
        (first..first + count)
            .map(|id| Ok(by_id.remove(&id).ok_or_else(missing)?.read(self.dialect)))
            .collect()
    }

    async fn post(&self, body: &Value) -> Result<HttpAnswer, RpcError> {
        let answer = self.http.post("", body).await.map_err(RpcError::Transport)?;
        match answer.status {
            200 => Ok(answer),
            status => Err(RpcError::Status { status, retry_after_s: answer.retry_after_s() }),
        }
    }
}
