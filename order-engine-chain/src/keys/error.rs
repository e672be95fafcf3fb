//! Why there is no key, or no signature.

use crate::Source;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer could not be reached. It may answer later.
    #[error("the signer did not answer")]
    Unavailable(#[source] Source),
    /// The signer will not sign this.
    #[error("the signer refused with status {0}")]
    Refused(u16),
    /// What the signer returned is no signature of the wallet under these bytes.
    #[error("the signer returned something else than a signature of the wallet")]
    Invalid,
}

/// Why there is no key. No message contains any part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read.
    #[error("the key file cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// Other users of the machine may read the file.
    #[error("the key file can be read by others (mode {mode:o}); run chmod 600")]
    Exposed {
        /// The permissions of the file.
        mode: u32,
    },
    /// The environment variable is missing.
    #[error("the environment variable {0} is missing or is not text")]
    NoVariable(String),
    /// It is no key in the form that the chain's tools write.
    #[error("the key is malformed")]
    Malformed,
    /// The file is no encrypted key, or asks for a derivation that is not known here or too costly.
    #[error("the key file has another format: {0}")]
    OtherFormat(&'static str),
    /// The password does not open the file.
    #[error("the password does not open the key file")]
    WrongPassword,
    /// The client of the signer could not be made.
    #[error("the client of the signer cannot be made")]
    Client(#[source] Source),
}
