//! HTTPS and WSS: the certificate with which the server shows who it is.

#[cfg(feature = "tls")]
mod certificate;
#[cfg(not(feature = "tls"))]
mod left_out;
pub(crate) mod settings;

#[cfg(feature = "tls")]
pub use certificate::Tls;
#[cfg(not(feature = "tls"))]
pub use left_out::Tls;

use std::path::PathBuf;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server was built without it.
    #[error("this server was built without the feature 'tls'")]
    LeftOut,
    /// A file has no certificates or no key, or cannot be read.
    #[error("cannot read {what} in {}", path.display())]
    File {
        /// What it should have.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate and the key are none of a server.
    #[error("cannot use the certificate with the key")]
    Pair(#[source] Box<dyn std::error::Error + Send + Sync>),
}
