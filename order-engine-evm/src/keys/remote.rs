//! A key that another process holds.

use std::fmt;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, Signature};
use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::{KeyError, SignError, WalletSigner, is_signed_by};

/// The options of a [`RemoteSigner`].
#[derive(Clone)]
#[non_exhaustive]
pub struct RemoteSignerOptions {
    /// Where requests are posted. It may have a secret in it, so it appears in no log and no `Debug`.
    pub url: String,
    /// The wallet whose key the signer has.
    pub address: Address,
    /// What the header `Authorization` has, if the signer asks for it.
    pub authorization: Option<Zeroizing<String>>,
    /// The longest time of one call.
    pub timeout: Duration,
}

impl RemoteSignerOptions {
    /// Returns options for a wallet's signer at a URL, with two seconds a call and no authorization.
    pub fn new(url: impl Into<String>, address: Address) -> Self {
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
/// It posts `{"address": "0x…", "message": "0x…"}`, the serialised transaction, and expects `{"signature": "0x…"}` of 65 bytes with status 200. A status of
/// 429 or above 499 means that the signer may answer later; any other says that it refuses.
#[derive(Debug)]
pub struct RemoteSigner {
    http: reqwest::Client,
    options: RemoteSignerOptions,
}

#[derive(Serialize)]
struct Request {
    address: Address,
    message: Bytes,
}

#[derive(Deserialize)]
struct Reply {
    signature: Bytes,
}

impl RemoteSigner {
    /// Returns a signer. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made, or the authorization has characters that a header cannot have.
    pub fn new(options: RemoteSignerOptions) -> Result<Self, KeyError> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &options.authorization {
            let value = HeaderValue::from_str(authorization.as_str());
            let mut value = value.map_err(|error| KeyError::Client(error.into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .timeout(options.timeout)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(|error| KeyError::Client(error.into()))?;
        Ok(Self { http, options })
    }
}

#[async_trait]
impl WalletSigner for RemoteSigner {
    fn address(&self) -> Address {
        self.options.address
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let unavailable = |error: reqwest::Error| SignError::Unavailable(error.without_url().into());
        let request = Request { address: self.options.address, message: Bytes::copy_from_slice(message) };
        let response = self.http.post(&self.options.url).json(&request).send().await.map_err(unavailable)?;
        match response.status().as_u16() {
            200 => {}
            status @ (429 | 500..) => {
                return Err(SignError::Unavailable(format!("status {status}").into()));
            }
            status => return Err(SignError::Refused(status)),
        }
        let reply = response.bytes().await.map_err(unavailable)?;
        let reply: Reply = serde_json::from_slice(&reply).map_err(|_| SignError::Invalid)?;
        let signature = Signature::from_raw(&reply.signature).map_err(|_| SignError::Invalid)?;
        // A wrong signature would only be noticed when the transaction never lands.
        if is_signed_by(self.options.address, message, &signature) {
            Ok(signature)
        } else {
            Err(SignError::Invalid)
        }
    }
}
