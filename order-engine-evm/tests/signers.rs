//! A signer behind HTTP, and what is never shown.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_evm::{
    Bytes, Cluster, ClusterOptions, Deployment, KeyError, LocalSigner, PoolDirectory, RemoteSigner,
    RemoteSignerOptions, SignError, Signature, WalletSigner as _,
};
use serde_json::{Value, json};

const AUTHORIZATION: &str = "Bearer top-secret";
/// An encrypted key, made with OpenSSL and Python.
const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
    "ciphertext":"308c28e3102862adca9cf5736e6f0e77c82e94e3430b3b36f0867755b8878047","kdf":"scrypt","kdfparams":{"dklen":32,
    "n":1024,"p":2,"r":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
    "mac":"9e3723c6680c123b32139cb62530d2f2c66582029d29a3e11b7e89455b5a80db"},"version":3}"#;

/// What the signer does.
#[derive(Clone, Copy)]
enum Manner {
    Signs,
    SignsSomethingElse,
    SignsInTheOtherForm,
    Answers(u16),
}

struct Service {
    wallet: LocalSigner,
    manner: Manner,
}

async fn answer(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    assert_eq!(headers["authorization"], AUTHORIZATION);
    assert_eq!(request["address"], json!(service.wallet.address()));
    let message: Bytes = serde_json::from_value(request["message"].clone()).unwrap();
    let signed = service.wallet.sign(&message).await.unwrap();
    let signature = match service.manner {
        Manner::Signs => signed,
        Manner::SignsSomethingElse => service.wallet.sign(b"something else").await.unwrap(),
        // Its second half subtracted from the order of the curve: mathematically as good, and refused by every chain.
        Manner::SignsInTheOtherForm => {
            let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse();
            let order: order_engine_evm::U256 = order.unwrap();
            Signature::new(signed.r(), order - signed.s(), !signed.v())
        }
        Manner::Answers(status) => return Err(StatusCode::from_u16(status).unwrap()),
    };
    Ok(Json(json!({ "signature": Bytes::from(signature.as_bytes().to_vec()) })))
}

async fn signer(manner: Manner) -> RemoteSigner {
    let service = Service { wallet: LocalSigner::from_bytes(&[9; 32]).unwrap(), manner };
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
    let hash = alloy_primitives::keccak256(b"message");
    assert_eq!(signature.recover_address_from_prehash(&hash).unwrap(), signer.address());
}

#[tokio::test]
async fn a_wrong_signature_is_noticed_before_it_is_used() {
    for manner in [Manner::SignsSomethingElse, Manner::SignsInTheOtherForm] {
        let error = signer(manner).await.sign(b"message").await.unwrap_err();
        assert!(matches!(error, SignError::Invalid), "{error}");
    }
}

#[tokio::test]
async fn a_signer_that_refuses_is_told_from_one_that_is_away() {
    for (status, is_away) in [(403, false), (400, false), (429, true), (500, true), (503, true)] {
        let error = signer(Manner::Answers(status)).await.sign(b"message").await.unwrap_err();
        assert_eq!(matches!(error, SignError::Unavailable(_)), is_away, "{status}: {error}");
        assert_eq!(matches!(error, SignError::Refused(_)), !is_away, "{status}: {error}");
    }
}

#[test]
fn an_encrypted_key_file_opens_with_its_password_if_nobody_else_may_read_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, KEYSTORE).unwrap();
    let permit = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o644);
    let error = LocalSigner::from_keystore(&file, "testpassword").unwrap_err();
    assert!(matches!(error, KeyError::Exposed { mode: 0o644 }), "{error}");
    permit(0o600);
    let signer = LocalSigner::from_keystore(&file, "testpassword").unwrap();
    assert_eq!(signer.address().to_string(), "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b");
    let error = LocalSigner::from_keystore(&file, "a wrong one").unwrap_err();
    assert!(matches!(error, KeyError::WrongPassword), "{error}");
    assert!(!format!("{error:?} {}", chain(&error)).contains("a wrong one"));
}

#[tokio::test]
async fn no_secret_is_in_what_is_shown() {
    let signer = signer(Manner::Answers(403)).await;
    let unreachable = RemoteSignerOptions::new("http://127.0.0.1:1/top-secret", signer.address());
    let error = RemoteSigner::new(unreachable.clone()).unwrap().sign(b"message").await.unwrap_err();
    assert!(error.source().is_some());
    let nodes = ClusterOptions::new(["http://127.0.0.1:1/top-secret"], 1).with_retries(0);
    let cluster = Arc::new(Cluster::new(nodes.clone(), Runtime::tokio()).unwrap());
    let deployment = Deployment::uniswap(signer.address(), signer.address());
    let pools = PoolDirectory::new(cluster.clone(), deployment, [signer.address()]);
    let unanswered = pools.read().await.unwrap_err();
    let local = LocalSigner::from_bytes(&[0xab; 32]).unwrap();
    let shown = [
        format!("{signer:?} {unreachable:?}"),
        format!("{error:?} {}", chain(&error)),
        format!("{nodes:?} {cluster:?} {pools:?}"),
        format!("{unanswered:?} {}", chain(&unanswered)),
        format!("{local:?}"),
    ];
    let is_silent = |shown: &String| !shown.contains("top-secret") && !shown.contains("abab");
    assert!(shown.iter().all(is_silent), "{shown:#?}");
}
