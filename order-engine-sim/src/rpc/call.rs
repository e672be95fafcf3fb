//! What all JSON-RPC methods of a chain share: their parameters and errors.

use order_engine_core::telemetry;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::SimError;

pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
pub(crate) const INVALID_PARAMS: i64 = -32_602;
const INTERNAL: i64 = -32_603;

/// The reason why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The answer is an error object.
    Refused(ErrorObject),
    /// There is no answer: the request or the reply was lost.
    Lost,
}

/// An error object of JSON-RPC.
#[derive(Debug)]
pub(crate) struct ErrorObject {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

impl From<ErrorObject> for CallError {
    fn from(error: ErrorObject) -> Self {
        Self::Refused(error)
    }
}

/// Returns an error object without data.
pub(crate) fn error_object(code: i64, message: impl Into<String>) -> ErrorObject {
    ErrorObject { code, message: message.into(), data: None }
}

/// Returns the error of a chain that cannot write its ledger.
pub(crate) fn stopped(error: &SimError) -> ErrorObject {
    error_object(INTERNAL, telemetry::chain(error).to_string())
}

/// Returns a result as JSON.
pub(crate) fn to_value(result: &impl serde::Serialize) -> Result<Value, ErrorObject> {
    serde_json::to_value(result).map_err(|error| error_object(INTERNAL, error.to_string()))
}

/// Returns a positional parameter.
pub(crate) fn param<T: DeserializeOwned>(params: &Value, index: usize, name: &str) -> Result<T, ErrorObject> {
    let value = params.get(index).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).map_err(|error| error_object(INVALID_PARAMS, format!("{name}: {error}")))
}
