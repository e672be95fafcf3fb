//! A key that another process holds.

use alloy_primitives::{Address, Signature, hex};
use async_trait::async_trait;
use order_engine_chain::SignerClient;

use crate::keys::{KeyError, SignError, WalletSigner, is_signed_by};

/// The options of a [`RemoteSigner`].
pub type RemoteSignerOptions = order_engine_chain::RemoteSignerOptions<Address>;

/// Lets a signer over HTTP sign.
///
/// It posts `{"address": "0x…", "message": "0x…"}`, the serialised transaction, and expects `{"signature": "0x…"}` of 65 bytes with status 200. A status of
/// 429 or above 499 means that the signer may answer later; any other says that it refuses.
#[derive(Debug)]
pub struct RemoteSigner {
    client: SignerClient,
    address: Address,
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
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let address = hex::encode_prefixed(self.address);
        let signed = self.client.signature(&address, &hex::encode_prefixed(message)).await?;
        let bytes = hex::decode(signed).map_err(|_| SignError::Invalid)?;
        let signature = Signature::from_raw(&bytes).map_err(|_| SignError::Invalid)?;
        // A wrong signature would only be noticed when the transaction never lands.
        if is_signed_by(self.address, message, &signature) { Ok(signature) } else { Err(SignError::Invalid) }
    }
}
