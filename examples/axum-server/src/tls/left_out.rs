//! In the place of TLS in a server that was built without it.

use std::io;

use tokio::net::TcpStream;

use crate::tls::TlsError;
use crate::tls::settings::TlsSettings;
use crate::transport::socket::Socket;

/// A certificate. There is none without the feature `tls`.
#[derive(Clone, Debug)]
pub enum Tls {}

impl Tls {
    /// Fails if the settings name a certificate.
    ///
    /// # Errors
    /// If they do.
    pub fn open(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if settings.tls_cert.is_some() { Err(TlsError::LeftOut) } else { Ok(None) }
    }

    /// Reads nothing.
    pub fn reload(&self) {
        match *self {}
    }

    /// Watches nothing.
    pub async fn upkeep(self) {
        match self {}
    }

    pub(crate) async fn accept(&self, _: TcpStream) -> Result<Socket, (io::Error, TcpStream)> {
        match *self {}
    }
}
