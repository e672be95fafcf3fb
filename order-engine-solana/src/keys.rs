//! Who signs.

mod keypair;
mod remote;

use std::fmt::Debug;

use async_trait::async_trait;
use solana_pubkey::Pubkey;
use solana_signature::Signature;

pub use keypair::KeypairSigner;
pub use order_engine_chain::{KeyError, SignError};
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
