//! Who signs.

mod keystore;
mod local;
mod remote;

use std::fmt::Debug;

use alloy_primitives::{Address, Signature, keccak256};
use async_trait::async_trait;

pub use local::LocalSigner;
pub use remote::{RemoteSigner, RemoteSignerOptions};

/// Signs transactions for one wallet.
///
/// # Contract
/// - The secret appears in no `Debug`, no error, no log and no metric.
/// - Each call ends by itself in bounded time.
/// - A signature is valid for the wallet's address and exactly these bytes. It is checked before use.
#[async_trait]
pub trait WalletSigner: Debug + Send + Sync + 'static {
    /// Returns the address of the wallet. It is always the same.
    fn address(&self) -> Address;

    /// Signs a serialised transaction: its type and its fields without a signature (EIP-2718), of which the hash is signed.
    ///
    /// # Errors
    /// If there is no signature.
    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// Returns whether this is the signature of a wallet under these bytes.
pub(crate) fn is_signed_by(address: Address, message: &[u8], signature: &Signature) -> bool {
    let signer = signature.recover_address_from_prehash(&keccak256(message));
    // A chain accepts only one of the two forms that each signature has.
    signature.normalize_s().is_none() && signer.is_ok_and(|signer| signer == address)
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
    /// It is not 32 bytes in hexadecimal digits, or no key of the curve.
    #[error("the key is malformed")]
    Malformed,
    /// The file is no encrypted key of version 3, or asks for a derivation that is not known here or too costly.
    #[error("the key file has another format: {0}")]
    OtherFormat(&'static str),
    /// The password does not open the file.
    #[error("the password does not open the key file")]
    WrongPassword,
    /// The client of the signer could not be made.
    #[error("the client of the signer cannot be made")]
    Client(#[source] Source),
}
