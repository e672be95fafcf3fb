//! A signer in another process.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::http::Http;
use crate::keys::{KeyError, SignError};

/// How a signer over HTTP is called for a wallet with an address `A`.
#[derive(Clone)]
#[non_exhaustive]
pub struct RemoteSignerOptions<A> {
    /// Where requests are posted. It may have a secret in it, so it appears in no log and no `Debug`.
    pub url: String,
    /// The wallet whose key the signer has.
    pub address: A,
    /// What the header `Authorization` has, if the signer asks for it.
    pub authorization: Option<Zeroizing<String>>,
    /// The longest time of one call.
    pub timeout: Duration,
    /// A file with the certificates (PEM) of the authorities that a signer behind `https://` is trusted by. Without it, those of the
    /// machine count.
    pub ca_file: Option<PathBuf>,
}

impl<A> RemoteSignerOptions<A> {
    /// Returns options for a wallet's signer at a URL, with two seconds a call and no authorization.
    pub fn new(url: impl Into<String>, address: A) -> Self {
        let (authorization, ca_file) = (None, None);
        Self { url: url.into(), address, authorization, timeout: Duration::from_secs(2), ca_file }
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

    /// Sets [`ca_file`](Self::ca_file).
    #[must_use]
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self { ca_file: Some(path.into()), ..self }
    }
}

/// Shows neither the URL nor the authorization.
impl<A: fmt::Display> fmt::Debug for RemoteSignerOptions<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSignerOptions")
            .field("address", &format_args!("{}", self.address))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Asks a signer over HTTP for signatures, which the chain's crate reads and checks.
///
/// It posts `{"address": …, "message": …}` and expects `{"signature": …}` with status 200. A status of 429 or above 499 means that the
/// signer may answer later; any other says that it refuses.
pub struct SignerClient {
    http: Http,
}

#[derive(Serialize)]
struct Request<'a> {
    address: &'a str,
    message: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    signature: String,
}

/// Shows nothing of the signer.
impl fmt::Debug for SignerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignerClient").finish_non_exhaustive()
    }
}

impl SignerClient {
    /// Returns a client. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made, or the authorization has characters that a header cannot have.
    pub fn new<A>(options: &RemoteSignerOptions<A>) -> Result<Self, KeyError> {
        let http = Http::new(&options.url, options.timeout, options.ca_file.as_deref());
        let mut http = http.map_err(KeyError::Client)?;
        if let Some(authorization) = &options.authorization {
            http = http.with_header("authorization", authorization).map_err(KeyError::Client)?;
        }
        Ok(Self { http })
    }

    /// Returns what the signer says is the signature of a wallet under a message, all three as the chain writes them.
    ///
    /// # Errors
    /// If the signer does not answer, refuses, or answers something else.
    pub async fn signature(&self, address: &str, message: &str) -> Result<String, SignError> {
        let request = Request { address, message };
        let answer = self.http.post("", &request).await.map_err(SignError::Unavailable)?;
        match answer.status {
            200 => {}
            status @ (429 | 500..) => {
                return Err(SignError::Unavailable(format!("status {status}").into()));
            }
            status => return Err(SignError::Refused(status)),
        }
        let reply: Reply = serde_json::from_slice(answer.body()).map_err(|_| SignError::Invalid)?;
        Ok(reply.signature)
    }
}
