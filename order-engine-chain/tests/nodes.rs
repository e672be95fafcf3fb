//! Nodes that fail, are busy, answer something else, or serve another chain.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use order_engine_chain::{ChainCheck, Nodes, NodesOptions, RpcError};
use order_engine_core::Runtime;
use serde_json::{Value, json};

/// What a node makes of a request.
type Manner = Box<dyn FnMut(&Value) -> Response + Send>;

/// A node, and what it was asked.
struct Node {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Node {
    async fn start(manner: impl FnMut(&Value) -> Response + Send + 'static) -> Self {
        let manner: Arc<Mutex<Manner>> = Arc::new(Mutex::new(Box::new(manner)));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move |Json(request): Json<Value>| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            (manner.lock().unwrap())(&request)
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked }
    }

    /// Starts a node that answers every call with this.
    async fn telling(result: Value) -> Self {
        Self::start(move |request| told(request, &result)).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn told(request: &Value, result: &Value) -> Response {
    Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })).into_response()
}

fn nodes(nodes: &[&Node]) -> Nodes {
    let options = NodesOptions::new(nodes.iter().map(|node| node.url.as_str())).with_retries(0);
    Nodes::new(options, |code, _| code == -32_603, Runtime::tokio()).unwrap()
}

async fn ask(nodes: &Nodes) -> Result<Value, RpcError> {
    nodes.query("method", json!([])).await
}

#[tokio::test]
async fn a_busy_node_is_left_alone_for_as_long_as_it_asks() {
    let busy = Node::start(|_| (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "60")]).into_response()).await;
    let other = Node::telling(json!(2)).await;
    let client = nodes(&[&busy, &other]);
    for _ in 0..3 {
        assert_eq!(ask(&client).await.unwrap(), 2);
    }
    assert_eq!((busy.asked(), other.asked()), (1, 3));
    // If all others fail it is asked nevertheless.
    let alone = nodes(&[&busy]);
    for _ in 0..2 {
        let error = ask(&alone).await.unwrap_err();
        assert!(matches!(error, RpcError::Status { status: 429, retry_after_s: Some(60) }), "{error:?}");
    }
}

#[tokio::test]
async fn a_node_that_lags_is_asked_last() {
    let (behind, ahead) = (Node::telling(json!(1)).await, Node::telling(json!(2)).await);
    let client = nodes(&[&behind, &ahead]);
    client.note_height(0, 100);
    client.note_height(1, 150);
    assert_eq!(ask(&client).await.unwrap(), 1, "fifty heights do not matter");
    client.note_height(1, 151);
    assert_eq!(ask(&client).await.unwrap(), 2);
}

#[tokio::test]
async fn another_node_is_asked_about_what_may_pass_and_about_nothing_else() {
    let refusing = |code: i64| {
        Node::start(move |request| {
            let error = json!({ "code": code, "message": "no", "data": [7] });
            Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })).into_response()
        })
    };
    let other = Node::telling(Value::Null).await;
    let passing = nodes(&[&refusing(-32_603).await, &other]);
    assert_eq!(ask(&passing).await.unwrap(), Value::Null);
    let final_word = nodes(&[&refusing(-32_602).await, &other]);
    let error = ask(&final_word).await.unwrap_err();
    let RpcError::Refused { code: -32_602, data: Some(data), may_pass: false, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*data, json!([7]));
    assert_eq!(other.asked(), 1);
}

#[tokio::test]
async fn what_answers_nothing_or_another_call_is_no_answer() {
    let bodies = [json!({}), json!({ "id": 1 }), json!({ "id": 99, "result": 5 }), json!([]), json!("x")];
    for body in bodies {
        let wrong = body.clone();
        let node = Node::start(move |_| Json(wrong.clone()).into_response()).await;
        let error = nodes(&[&node]).query::<Option<u64>>("method", json!([])).await.unwrap_err();
        assert!(matches!(error, RpcError::Malformed(_)), "{body}: {error:?}");
    }
    let null = Node::telling(Value::Null).await;
    assert_eq!(nodes(&[&null]).query::<Option<u64>>("method", json!([])).await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_may_be_answered_in_any_order_but_completely() {
    let calls = [("first", json!([])), ("second", json!([]))];
    let reversed = Node::start(|request| {
        let answers = request.as_array().unwrap().iter().rev();
        let answer = |call: &Value| json!({ "id": call["id"], "result": call["method"] });
        Json(answers.map(answer).collect::<Vec<_>>()).into_response()
    })
    .await;
    let told: Vec<String> = nodes(&[&reversed]).query_batch(&calls).await.unwrap();
    assert_eq!(told, ["first", "second"]);
    let short = Node::start(told_first).await;
    let error = nodes(&[&short]).query_batch::<Value>(&calls).await.unwrap_err();
    assert!(matches!(error, RpcError::Malformed(_)), "{error:?}");
    let none = Node::start(|_| {
        Json(json!({ "id": null, "error": { "code": -32_600, "message": "no batches" } })).into_response()
    })
    .await;
    let error = nodes(&[&none]).query_batch::<Value>(&calls).await.unwrap_err();
    assert!(matches!(error, RpcError::Refused { code: -32_600, .. }), "{error:?}");
}

fn told_first(request: &Value) -> Response {
    Json(json!([{ "id": request[0]["id"], "result": 1 }])).into_response()
}

#[tokio::test]
async fn a_node_of_another_chain_is_asked_only_which_one_it_serves() {
    let serving = |name: &'static str| {
        let methods = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&methods);
        let node = Node::start(move |request| {
            seen.lock().unwrap().push(request["method"].as_str().unwrap().to_owned());
            told(request, &json!(name))
        });
        (node, methods)
    };
    let ((ours, asked_ours), (theirs, asked_theirs)) = (serving("ours"), serving("theirs"));
    let (ours, theirs) = (ours.await, theirs.await);
    let read = |told: &Value| told.as_str().map(str::to_owned);
    let check = ChainCheck { method: "chain", read, expected: "ours".to_owned() };
    let client = nodes(&[&theirs, &ours]).with_check(check);
    for _ in 0..2 {
        let answers = client.ask_all::<Value>("method", &json!([])).await;
        assert!(matches!(&answers[0], Err(RpcError::OtherChain { found, .. }) if found == "theirs"));
        assert_eq!(*answers[1].as_ref().unwrap(), "ours");
    }
    assert_eq!(*asked_theirs.lock().unwrap(), ["chain", "chain"]);
    assert_eq!(*asked_ours.lock().unwrap(), ["chain", "method", "method"]);
}

#[tokio::test]
async fn a_silent_node_takes_no_longer_than_its_time() {
    // It accepts connections and says nothing.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/secret-key", listener.local_addr().unwrap());
    let options = NodesOptions::new([url]).with_retries(1).with_timeout(Duration::from_millis(50));
    let client = Nodes::new(options, |_, _| false, Runtime::tokio()).unwrap();
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, RpcError::Transport(_)), "{error:?}");
    let shown = format!("{client:?} {error:?}");
    assert!(!shown.contains("secret-key"), "{shown}");
}

#[test]
fn without_nodes_there_is_no_client() {
    let client = Nodes::new(NodesOptions::new(Vec::<String>::new()), |_, _| false, Runtime::tokio());
    assert!(matches!(client, Err(RpcError::NoNodes)));
}
