//! Who signs.

mod keystore;
mod local;
mod remote;

use std::fmt::Debug;

use alloy_primitives::{Address, Signature, keccak256};
use async_trait::async_trait;

pub use local::LocalSigner;
pub use order_engine_chain::{KeyError, SignError};
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

    /// Signs a serialised transaction: its type and its fields without a signature (EIP-2718), of which the hash is signed. Where the
    /// venue's [policy](crate::PermitPolicy) wants permits, also their messages: `0x19 0x01` and two hashes (EIP-712).
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

/// Returns a key file whose password is `testpassword`.
#[cfg(all(test, feature = "config"))]
pub(crate) const fn keystore_vector() -> &'static str {
    keystore::tests::SCRYPT
}
