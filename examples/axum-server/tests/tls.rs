//! HTTPS and WSS, with certificates of an authority that the test makes.
#![cfg(feature = "tls")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::program::{Program, command, fails, order_form};
use common::text;
use common::wire::{Wire, handshake};
use futures_util::StreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Who issues certificates, and a server that shows one of them.
struct Secure {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Secure {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let secure = Self { authority, folder: tempfile::tempdir().unwrap() };
        secure.issue();
        secure
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate and its key, and returns the certificate.
    fn issue(&self) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path("key.pem"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        std::fs::write(self.path("cert.pem"), pem("CERTIFICATE", certificate.der())).unwrap();
        certificate.der().clone()
    }

    async fn start(&self, args: &[&str]) -> Program {
        let all = [
            "--store",
            "memory:",
            "--sim-delay-ms",
            "0",
            "--sim-fail-rate",
            "0",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ];
        Program::start(self.folder.path(), &[&all, args].concat()).await
    }

    /// Connects to a server, over one version of TLS or the latest.
    async fn connect(
        &self,
        program: &Program,
        version: Option<&'static SupportedProtocolVersion>,
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into());
        let versions: &[_] = match &version {
            Some(version) => &[*version],
            None => rustls::DEFAULT_VERSIONS,
        };
        let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address(program)).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends a request, and returns the answer up to the end of the connection.
    async fn ask(&self, program: &Program, request: &str) -> String {
        let mut stream = self.connect(program, None).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // Without the end of TLS this would fail.
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Places an order, and returns what the server answers.
    async fn place(&self, program: &Program) -> Value {
        let body = order_form("k").to_string();
        let request = format!(
            "POST /api/orders/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = self.ask(program, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 202 "), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn address(program: &Program) -> SocketAddr {
    program.url.strip_prefix("https://").expect("the server says that it speaks HTTPS").parse().unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sockets_and_event_streams_work_over_both_versions() {
    let secure = Secure::new();
    let program = secure.start(&[]).await;
    let order = secure.place(&program).await;
    let id = text(&order, "orderId");
    assert_eq!(order["wsUrl"], format!("wss://localhost/ws/orders/{id}"));

    for version in [&TLS12, &TLS13] {
        let mut stream = secure.connect(&program, Some(version)).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        // The whole history of an order, over a connection that HTTP has handed over.
        stream.write_all(handshake("localhost", &format!("/ws/orders/{id}"), "13").as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut types = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(frame) => {
                    types.push(text(&serde_json::from_str(&frame).unwrap(), "type"));
                }
                Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
                _ => {}
            }
        }
        assert_eq!((&*types[0], &**types.last().unwrap()), ("connection", "confirmed"), "{types:?}");
    }

    let events = format!(
        "GET /api/orders/{id}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    );
    let answer = secure.ask(&program, &events).await;
    assert!(
        answer.contains("content-type: text/event-stream") && answer.contains("\"type\":\"confirmed\""),
        "{answer}"
    );
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_is_told_and_one_that_stalls_takes_no_place_for_long() {
    let secure = Secure::new();
    let program = secure.start(&["--max-connections-per-address", "2"]).await;
    let host = address(&program).to_string();
    let plain =
        Wire::send(&host, &format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.rest().await;
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("https-required"), "{plain}");
    let junk = Wire::send(&host, &"\u{1}".repeat(100)).await.rest().await;
    assert!(!junk.contains("HTTP"), "{junk}");
    // Whoever does not end its handshake has a place, and loses it.
    let mut stalled = [Wire::open(&host).await, Wire::open(&host).await];
    stalled[1].write(&[22, 3, 1]).await;
    let tokens = "GET /api/tokens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let refused = secure.ask(&program, tokens).await;
    assert!(refused.contains("too-many-connections"), "{refused}");
    for wire in &mut stalled {
        assert_eq!(wire.rest().await, "");
    }
    while secure.ask(&program, tokens).await.starts_with("HTTP/1.1 503 ") {}
    let metrics =
        secure.ask(&program, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    for (end, least) in [("plain", 1), ("failed", 1), ("late", 2), ("done", 3)] {
        let line = format!("order_engine_server_tls_handshakes_total{{end=\"{end}\"}} ");
        let count = metrics
            .lines()
            .find_map(|found| found.strip_prefix(&line))
            .unwrap_or_else(|| panic!("{metrics}"));
        assert!(count.parse::<u32>().unwrap() >= least, "{end}: {count}");
    }
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let secure = Secure::new();
    let program = secure.start(&[]).await;
    let first = secure.connect(&program, None).await;
    for by_signal in [true, false] {
        let renewed = secure.issue();
        if by_signal {
            program.send_signal("HUP").await;
        }
        while shown(&secure.connect(&program, None).await) != renewed {}
    }
    // What is no certificate changes nothing.
    let before = shown(&secure.connect(&program, None).await);
    std::fs::write(secure.path("cert.pem"), "nonsense").unwrap();
    program.send_signal("HUP").await;
    program.logged("the certificate stays as it was").await;
    assert_eq!(shown(&secure.connect(&program, None).await), before);
    drop(first);
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_certificate_stop_the_start_in_one_line() {
    let secure = Secure::new();
    let folder: &Path = secure.folder.path();
    std::fs::write(secure.path("empty"), "").unwrap();
    std::fs::write(
        secure.path("other.pem"),
        pem("PRIVATE KEY", &KeyPair::generate().unwrap().serialize_der()),
    )
    .unwrap();
    for (certificate, key, expected) in [
        ("missing", "key.pem", "cannot read certificates in missing"),
        ("cert.pem", "missing", "cannot read a private key in missing"),
        ("empty", "key.pem", "cannot"),
        ("cert.pem", "empty", "cannot read a private key in empty"),
        ("cert.pem", "other.pem", "cannot use the certificate with the key"),
    ] {
        let error = fails(
            folder,
            &["--port", "0", "--store", "memory:", "--tls-cert", certificate, "--tls-key", key],
        )
        .await;
        assert!(error.contains(expected) && error.lines().count() == 1, "{certificate} {key}: {error}");
    }
    let half = command(folder, &["--tls-cert", "cert.pem"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&half.stderr).contains("--tls-key"));
}
