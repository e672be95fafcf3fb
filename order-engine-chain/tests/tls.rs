//! Real TLS servers: whom a client talks to, and whom it tells nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_chain::{Nodes, NodesOptions, RemoteSignerOptions, RpcError, SignError, SignerClient};
use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// Who issues certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its own certificate into a file.
    fn file(&self, folder: &TempDir) -> PathBuf {
        let path = folder.path().join("ca.pem");
        let text = STANDARD.encode(self.0.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        path
    }

    /// Starts a server with a certificate for a name until a year.
    async fn server(&self, name: &str, year: i32) -> Server {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Server::start(certificate.der().clone(), key).await
    }
}

/// A node and a signer behind TLS.
struct Server {
    url: String,
    /// How many requests it has been told.
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        let config = ServerConfig::builder_with_provider(ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://localhost:{}/secret-key", listener.local_addr().unwrap().port());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(acceptor.clone(), socket, Arc::clone(&counted)));
            }
        });
        Self { url, requests }
    }

    fn nodes(&self, ca_file: PathBuf) -> Nodes {
        let options = NodesOptions::new([self.url.as_str()]).with_retries(0).with_ca_file(ca_file);
        let options = options.with_timeout(Duration::from_secs(10));
        Nodes::new(options, |_, _| false, Runtime::tokio()).unwrap()
    }

    fn signer(&self, ca_file: PathBuf) -> SignerClient {
        let options = RemoteSignerOptions::new(self.url.as_str(), "wallet").with_ca_file(ca_file);
        let options = options.with_authorization("Bearer secret-token").with_timeout(Duration::from_secs(10));
        SignerClient::new(&options).unwrap()
    }
}

/// Answers one request, whatever it is, as a node and as a signer would.
async fn answer(acceptor: TlsAcceptor, socket: TcpStream, requests: Arc<AtomicUsize>) -> Option<()> {
    let mut socket = acceptor.accept(socket).await.ok()?;
    let mut request = Vec::new();
    // All bodies here end with a brace, and nothing before them has one.
    while !request.ends_with(b"}") {
        if socket.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "result": 7, "signature": "signed" }).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    socket.write_all(answer.as_bytes()).await.ok()?;
    socket.shutdown().await.ok()
}

#[tokio::test]
async fn a_node_and_a_signer_with_certificates_of_the_authority_are_called() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let (server, ca) = (authority.server("localhost", 4000).await, authority.file(&folder));
    let result: u64 = server.nodes(ca.clone()).query("method", json!([])).await.unwrap();
    assert_eq!(result, 7);
    assert_eq!(server.signer(ca).signature("wallet", "message").await.unwrap(), "signed");
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

/// Asserts that nothing is told to a server, and why.
async fn is_told_nothing(server: &Server, ca_file: PathBuf, why: &str) {
    let error = server.nodes(ca_file.clone()).query::<u64>("method", json!([])).await.unwrap_err();
    assert!(matches!(error, RpcError::Transport(_)), "{error:?}");
    let refused = server.signer(ca_file).signature("wallet", "message").await.unwrap_err();
    assert!(matches!(refused, SignError::Unavailable(_)), "{refused:?}");
    for told in [chain(&error).to_string(), chain(&refused).to_string()] {
        assert!(told.contains("certificate") && told.contains(why), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_name_is_told_nothing() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let server = authority.server("other.example", 4000).await;
    is_told_nothing(&server, authority.file(&folder), "not valid for name").await;
}

#[tokio::test]
async fn a_server_of_an_authority_that_is_not_trusted_is_told_nothing() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let server = Authority::new().server("localhost", 4000).await;
    is_told_nothing(&server, authority.file(&folder), "").await;
}

#[tokio::test]
async fn a_server_with_an_old_certificate_is_told_nothing() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let server = authority.server("localhost", 2001).await;
    is_told_nothing(&server, authority.file(&folder), "expired").await;
}

#[test]
fn a_file_without_certificates_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    let client = |path: &PathBuf| {
        let options = NodesOptions::new(["https://localhost"]).with_ca_file(path);
        Nodes::new(options, |_, _| false, Runtime::tokio())
    };
    assert!(matches!(client(&path), Err(RpcError::Client(_))), "there is no file");
    std::fs::write(&path, "nothing").unwrap();
    let error = client(&path).unwrap_err();
    assert!(chain(&error).to_string().contains("no certificates"), "{}", chain(&error));
}
