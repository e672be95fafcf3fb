//! Who signs.

mod keypair;
mod remote;

use std::fmt::Debug;

use async_trait::async_trait;
use solana_pubkey::Pubkey;
use solana_signature::Signature;

pub use keypair::KeypairSigner;
pub use remote::{RemoteSigner, RemoteSignerOptions};

/// Signs messages for one wallet.
///
/// # Contract
/// - The secret appears in no `Debug`, no error, no log and no metric.
/// - Each call ends by itself in bounded time.
/// - A signature is valid for the wallet's address and exactly these bytes. It is checked before use.
#[async_trait]
pub trait WalletSigner: Debug + Send + Sync + 'static {
    /// Returns the address of the wallet. It is always the same.
    fn address(&self) -> Pubkey;

    /// Signs the serialised message of a transaction.
    ///
    /// # Errors
    /// If there is no signature.
    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// The error behind another one.
type Source = Box<dyn std::error::Error + Send + Sync>;

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
    /// It is neither a list of 64 bytes as the tools of Solana write it, nor base58 of them, or its two halves do
    /// not belong together.
    #[error("the key is malformed")]
    Malformed,
    /// The client of the signer could not be made.
    #[error("the client of the signer cannot be made")]
    Client(#[source] Source),
}
