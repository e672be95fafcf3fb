//! The settings of TLS.

use std::path::PathBuf;

/// With which certificate clients are served. Without one they are served without TLS.
#[derive(Clone, Debug, Default, clap::Args)]
#[non_exhaustive]
pub struct TlsSettings {
    /// Serve HTTPS and WSS, and nothing else, with the certificates of this file (PEM, the server's own first). It is read again
    /// when it changes, and on SIGHUP.
    #[arg(long, env = "TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the first certificate (PEM).
    #[arg(long, env = "TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}
