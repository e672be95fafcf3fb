//! The JSON-RPC server over HTTP.

use std::future::Future;
use std::io;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::node::Node;
use crate::rpc::call::{CallError, ErrorObject, error_object};
use crate::rpc::methods;
use crate::simulator::Simulator;

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
/// The most calls in one request.
const BATCH_MAX: usize = 100;

/// Serves a chain until `shutdown` completes and all open requests are answered.
///
/// # Errors
/// If the listener fails.
pub async fn serve<F>(listener: TcpListener, simulator: Simulator, shutdown: F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let routes = Router::new().route("/", post(answer)).with_state(simulator);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

async fn answer(State(simulator): State<Simulator>, body: Bytes) -> Response {
    let request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return json_response(&failed(&Value::Null, &error_object(PARSE_ERROR, error.to_string())));
        }
    };
    let answered = match request {
        Value::Array(calls) if calls.is_empty() || calls.len() > BATCH_MAX => {
            let message = format!("a batch has 1 to {BATCH_MAX} calls");
            Ok(failed(&Value::Null, &error_object(INVALID_REQUEST, message)))
        }
        Value::Array(calls) => batch(&simulator, &calls).await,
        call => one(&simulator, &node_for(&simulator, &call), &call).await,
    };
    answered.map_or_else(|Lost| broken(), |answer| json_response(&answer))
}

/// The answer to a call was lost.
struct Lost;

async fn batch(simulator: &Simulator, calls: &[Value]) -> Result<Value, Lost> {
    let node = node_for(simulator, calls.first().unwrap_or(&Value::Null));
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(one(simulator, &node, call).await?);
    }
    Ok(Value::Array(answers))
}

/// Returns the node that answers a request. One node answers a whole batch, which uses one connection.
fn node_for(simulator: &Simulator, call: &Value) -> Node {
    simulator.chain().node(call.get("method").and_then(Value::as_str).unwrap_or_default())
}

async fn one(simulator: &Simulator, node: &Node, call: &Value) -> Result<Value, Lost> {
    let id = call.get("id").unwrap_or(&Value::Null);
    let Some(method) = call.get("method").and_then(Value::as_str) else {
        return Ok(failed(id, &error_object(INVALID_REQUEST, "a call must name its method")));
    };
    let params = call.get("params").unwrap_or(&Value::Null);
    match methods::call((simulator.chain(), node), method, params).await {
        Ok(result) => Ok(json!({ "jsonrpc": "2.0", "result": result, "id": id })),
        Err(CallError::Refused(error)) => Ok(failed(id, &error)),
        Err(CallError::Lost) => Err(Lost),
    }
}

fn failed(id: &Value, ErrorObject { code, message, data }: &ErrorObject) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data.clone();
    }
    json!({ "jsonrpc": "2.0", "error": error, "id": id })
}

fn json_response(body: &Value) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.to_string()).into_response()
}

/// Returns a response whose connection breaks before the answer.
fn broken() -> Response {
    let lost = stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
    (StatusCode::OK, Body::from_stream(lost)).into_response()
}
