//! Connections over TLS. The certificate of the server is one that only these tests trust.
#![cfg(feature = "tls")]

use std::process::Command;

use order_engine_core::telemetry::chain;
use order_engine_core::{OrderStore as _, StoreErrorKind};
use order_engine_redis::testing::{RedisServer, free_port};
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};

/// In the process that trusts the certificate: the URL of the server.
const URL: &str = "ORDER_ENGINE_TEST_TLS_URL";

fn file(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn a_server_is_spoken_to_only_if_its_certificate_is_trusted() {
    if let Ok(url) = std::env::var(URL) {
        let options = RedisOptions::new(&url).unwrap();
        RedisStore::open(options.clone()).await.unwrap().check().await.unwrap();
        assert!(RedisFanout::open(options).await.unwrap().source().is_connected());
        return;
    }
    let tls_port = free_port().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let _server = RedisServer::start(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ]);
    // Whom a process trusts is decided when it starts.
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_is_spoken_to_only_if_its_certificate_is_trusted"])
        .env(URL, format!("rediss://localhost:{tls_port}/0"))
        .env("SSL_CERT_FILE", file("ca.pem"))
        .status()
        .unwrap();
    assert!(trusting.success());

    let options = RedisOptions::new(&format!("rediss://localhost:{tls_port}/0")).unwrap();
    let error = RedisStore::open(options).await.unwrap_err();
    assert!(chain(&error).to_string().contains("certificate"), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}
