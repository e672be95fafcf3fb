//! A signer behind HTTP, and what is never shown.

use std::error::Error as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_solana::{
    Cluster, ClusterOptions, KeypairSigner, RemoteSigner, RemoteSignerOptions, SignError, WalletSigner as _,
};
use serde_json::{Value, json};

const AUTHORIZATION: &str = "Bearer top-secret";

/// What the signer does.
#[derive(Clone, Copy)]
enum Manner {
    Signs,
    SignsSomethingElse,
    Answers(u16),
}

struct Service {
    wallet: KeypairSigner,
    manner: Manner,
}

async fn answer(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    assert_eq!(headers["authorization"], AUTHORIZATION);
    assert_eq!(request["address"], service.wallet.address().to_string());
    let message = STANDARD.decode(request["message"].as_str().unwrap()).unwrap();
    let signed = match service.manner {
        Manner::Signs => service.wallet.sign(&message).await,
        Manner::SignsSomethingElse => service.wallet.sign(b"something else").await,
        Manner::Answers(status) => return Err(StatusCode::from_u16(status).unwrap()),
    };
    Ok(Json(json!({ "signature": signed.unwrap().to_string() })))
}

async fn signer(manner: Manner) -> RemoteSigner {
    let service = Service { wallet: KeypairSigner::random(), manner };
    let address = service.wallet.address();
    let router = Router::new().route("/sign/top-secret", post(answer)).with_state(Arc::new(service));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/sign/top-secret", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    RemoteSigner::new(RemoteSignerOptions::new(url, address).with_authorization(AUTHORIZATION)).unwrap()
}

#[tokio::test]
async fn a_remote_signer_signs() {
    let signer = signer(Manner::Signs).await;
    let signature = signer.sign(b"message").await.unwrap();
    assert!(signature.verify(signer.address().as_ref(), b"message"));
}

#[tokio::test]
async fn a_wrong_signature_is_noticed_before_it_is_used() {
    let error = signer(Manner::SignsSomethingElse).await.sign(b"message").await.unwrap_err();
    assert!(matches!(error, SignError::Invalid), "{error}");
}

#[tokio::test]
async fn a_signer_that_refuses_is_told_from_one_that_is_away() {
    for (status, is_away) in [(403, false), (400, false), (429, true), (500, true), (503, true)] {
        let error = signer(Manner::Answers(status)).await.sign(b"message").await.unwrap_err();
        assert_eq!(matches!(error, SignError::Unavailable(_)), is_away, "{status}: {error}");
        assert_eq!(matches!(error, SignError::Refused(_)), !is_away, "{status}: {error}");
    }
}

#[tokio::test]
async fn no_secret_is_in_what_is_shown() {
    let signer = signer(Manner::Answers(403)).await;
    let unreachable = RemoteSignerOptions::new("http://127.0.0.1:1/top-secret", signer.address());
    let error = RemoteSigner::new(unreachable).unwrap().sign(b"message").await.unwrap_err();
    assert!(error.source().is_some());
    let nodes = ClusterOptions::new(["http://127.0.0.1:1/top-secret"]).with_retries(0);
    let cluster = Cluster::new(nodes.clone(), Runtime::tokio()).unwrap();
    let unanswered = cluster.accounts(&[signer.address()]).await.unwrap_err();
    let shown = [
        format!("{signer:?}"),
        format!("{error:?} {}", chain(&error)),
        format!("{nodes:?} {cluster:?}"),
        format!("{unanswered:?} {}", chain(&unanswered)),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("top-secret")), "{shown:#?}");
}
