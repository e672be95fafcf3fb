//! The certificate, which is read again when its files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use order_engine_core::telemetry::chain;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::file_watch::{LOOK_INTERVAL, stamp};
use crate::tls::TlsError;
use crate::tls::settings::TlsSettings;
use crate::transport::socket::Socket;

/// The certificate with which clients are served. Its clones are the same one.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    certificates: PathBuf,
    key: PathBuf,
    /// What new connections are served with. Those that are open keep what they began with.
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files of the settings, if they name some.
    ///
    /// # Errors
    /// If a file cannot be read, or they are no certificate and its key.
    pub fn open(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        let (Some(certificates), Some(key)) = (settings.tls_cert.clone(), settings.tls_key.clone()) else {
            return Ok(None);
        };
        let config = Mutex::new(read(&certificates, &key)?);
        Ok(Some(Self(Arc::new(Shared { certificates, key, config }))))
    }

    /// Reads the files again. If they are none of a server, the certificate stays as it was: a renewal may write one after the other.
    pub fn reload(&self) {
        match read(&self.0.certificates, &self.0.key) {
            Ok(new) => {
                *self.0.config.lock().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("new connections are served with the certificate as it is now");
            }
            Err(error) => tracing::error!(error = %chain(&error), "the certificate stays as it was"),
        }
    }

    /// Reads the files again whenever they change, until the future is dropped.
    pub async fn upkeep(self) {
        let stamps = || [&self.0.certificates, &self.0.key].map(|path| stamp(path));
        let mut seen = stamps();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let found = stamps();
            if found != seen {
                seen = found;
                self.reload();
            }
        }
    }

    /// Does the handshake with a client. If it fails, the connection is the caller's to close.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Socket, (io::Error, TcpStream)> {
        let config = Arc::clone(&self.0.config.lock().unwrap_or_else(PoisonError::into_inner));
        let socket = TlsAcceptor::from(config).accept(stream).into_fallible().await?;
        Ok(Socket::Tls(Box::new(socket)))
    }
}

/// Reads what clients are served with: TLS 1.2 and 1.3, and HTTP/1.1 in it.
fn read(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |what, path: &Path| {
        let path = path.to_owned();
        move |error: rustls::pki_types::pem::Error| TlsError::File { what, path, source: error.into() }
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("certificates", certificates))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable("a private key", key))?;
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| TlsError::Pair(error.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
