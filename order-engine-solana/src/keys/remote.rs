//! A key that another process holds.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use solana_pubkey::Pubkey;
use solana_signature::Signature;
use zeroize::Zeroizing;

use crate::http::Http;
use crate::keys::{KeyError, SignError, WalletSigner};

/// The options of a [`RemoteSigner`].
#[derive(Clone)]
#[non_exhaustive]
pub struct RemoteSignerOptions {
    /// Where requests are posted. It may have a secret in it, so it appears in no log and no `Debug`.
    pub url: String,
    /// The wallet whose key the signer has.
    pub address: Pubkey,
    /// What the header `Authorization` has, if the signer asks for it.
    pub authorization: Option<Zeroizing<String>>,
    /// The longest time of one call.
    pub timeout: Duration,
}

impl RemoteSignerOptions {
    /// Returns options for a wallet's signer at a URL, with two seconds a call and no authorization.
    pub fn new(url: impl Into<String>, address: Pubkey) -> Self {
        Self { url: url.into(), address, authorization: None, timeout: Duration::from_secs(2) }
    }

    /// Sets [`authorization`](Self::authorization), `Bearer …` for instance.
    #[must_use]
    pub fn with_authorization(self, authorization: impl Into<String>) -> Self {
        Self { authorization: Some(Zeroizing::new(authorization.into())), ..self }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// Shows neither the URL nor the authorization.
impl fmt::Debug for RemoteSignerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSignerOptions")
            .field("address", &format_args!("{}", self.address))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Lets a signer over HTTP sign.
///
/// It posts `{"address": base58, "message": base64}` and expects `{"signature": base58}` with status 200. A status of
/// 429 or above 499 means that the signer may answer later; any other says that it refuses.
pub struct RemoteSigner {
    http: Http,
    options: RemoteSignerOptions,
}

#[derive(Serialize)]
struct Request {
    address: String,
    message: String,
}

#[derive(Deserialize)]
struct Reply {
    signature: String,
}

/// Shows neither the URL nor the authorization.
impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSigner").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RemoteSigner {
    /// Returns a signer. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made, or the authorization has characters that a header cannot have.
    pub fn new(options: RemoteSignerOptions) -> Result<Self, KeyError> {
        let mut http = Http::new(&options.url, options.timeout).map_err(KeyError::Client)?;
        if let Some(authorization) = &options.authorization {
            http = http.with_header(AUTHORIZATION, authorization).map_err(KeyError::Client)?;
        }
        Ok(Self { http, options })
    }
}

#[async_trait]
impl WalletSigner for RemoteSigner {
    fn address(&self) -> Pubkey {
        self.options.address
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let request =
            Request { address: self.options.address.to_string(), message: STANDARD.encode(message) };
        let answer = self.http.post("", &request).await.map_err(SignError::Unavailable)?;
        match answer.status {
            200 => {}
            status @ (429 | 500..) => {
                return Err(SignError::Unavailable(format!("status {status}").into()));
            }
            status => return Err(SignError::Refused(status)),
        }
        let reply: Reply = serde_json::from_slice(&answer.body).map_err(|_| SignError::Invalid)?;
        let signature: Signature = reply.signature.parse().map_err(|_| SignError::Invalid)?;
        // A wrong signature would only be noticed when the transaction never lands.
        if signature.verify(self.options.address.as_ref(), message) {
            Ok(signature)
        } else {
            Err(SignError::Invalid)
        }
    }
}
