//! A key that another process holds.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_chain::SignerClient;
use solana_pubkey::Pubkey;
use solana_signature::Signature;

use crate::keys::{KeyError, SignError, WalletSigner};

/// The options of a [`RemoteSigner`].
pub type RemoteSignerOptions = order_engine_chain::RemoteSignerOptions<Pubkey>;

/// Lets a signer over HTTP sign.
///
/// It posts `{"address": base58, "message": base64}` and expects `{"signature": base58}` with status 200. A status of
/// 429 or above 499 means that the signer may answer later; any other says that it refuses.
#[derive(Debug)]
pub struct RemoteSigner {
    client: SignerClient,
    address: Pubkey,
}

impl RemoteSigner {
    /// Returns a signer. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made, or the authorization has characters that a header cannot have.
    #[allow(clippy::needless_pass_by_value, reason = "options are given away everywhere")]
    pub fn new(options: RemoteSignerOptions) -> Result<Self, KeyError> {
        Ok(Self { client: SignerClient::new(&options)?, address: options.address })
    }
}

#[async_trait]
impl WalletSigner for RemoteSigner {
    fn address(&self) -> Pubkey {
        self.address
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signed = self.client.signature(&self.address.to_string(), &STANDARD.encode(message)).await?;
        let signature: Signature = signed.parse().map_err(|_| SignError::Invalid)?;
        // A wrong signature would only be noticed when the transaction never lands.
        if signature.verify(self.address.as_ref(), message) { Ok(signature) } else { Err(SignError::Invalid) }
    }
}
