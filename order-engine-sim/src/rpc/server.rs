//! JSON-RPC over HTTP.

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

use crate::Simulator;
use crate::node::Node;
use crate::rpc::methods::{self, Fault, Unanswered, fault};

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
/// The most calls in one request.
const BATCH_MAX: usize = 100;

/// Serves a chain until `shutdown` comes and what is under way has been answered.
///
/// # Errors
/// If connections can be accepted no more.
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
        Err(error) => return json_response(&failed(&Value::Null, &fault(PARSE_ERROR, error.to_string()))),
    };
    let answered = match request {
        Value::Array(calls) if calls.is_empty() || calls.len() > BATCH_MAX => {
            let message = format!("a batch has 1 to {BATCH_MAX} calls");
            Ok(failed(&Value::Null, &fault(INVALID_REQUEST, message)))
        }
        Value::Array(calls) => batch(&simulator, &calls).await,
        call => one(&simulator, &node_for(&simulator, &call), &call).await,
    };
    answered.map_or_else(|Lost| broken(), |answer| json_response(&answer))
}

/// Nobody is told what came of a call.
struct Lost;

async fn batch(simulator: &Simulator, calls: &[Value]) -> Result<Value, Lost> {
    let node = node_for(simulator, calls.first().unwrap_or(&Value::Null));
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(one(simulator, &node, call).await?);
    }
    Ok(Value::Array(answers))
}

/// The node that answers a request: one for a whole batch, since it comes over one connection.
fn node_for(simulator: &Simulator, call: &Value) -> Node {
    simulator.chain().node(call.get("method").and_then(Value::as_str).unwrap_or_default())
}

async fn one(simulator: &Simulator, node: &Node, call: &Value) -> Result<Value, Lost> {
    let id = call.get("id").unwrap_or(&Value::Null);
    let Some(method) = call.get("method").and_then(Value::as_str) else {
        return Ok(failed(id, &fault(INVALID_REQUEST, "a call names its method")));
    };
    let params = call.get("params").unwrap_or(&Value::Null);
    match methods::call((simulator.chain(), node), method, params).await {
        Ok(result) => Ok(json!({ "jsonrpc": "2.0", "result": result, "id": id })),
        Err(Unanswered::Fault(fault)) => Ok(failed(id, &fault)),
        Err(Unanswered::Lost) => Err(Lost),
    }
}

fn failed(id: &Value, Fault { code, message, data }: &Fault) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data.clone();
    }
    json!({ "jsonrpc": "2.0", "error": error, "id": id })
}

fn json_response(body: &Value) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.to_string()).into_response()
}

/// A connection that breaks before the answer.
fn broken() -> Response {
    let lost = stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
    (StatusCode::OK, Body::from_stream(lost)).into_response()
}
