//! The public keys of an identity provider, as a JSON Web Key Set in a file or at a URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::auth::ring_provider::rsa_der;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use order_engine_chain::{Http, Source};
use order_engine_core::telemetry::chain;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// How old the keys become before they are read again.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
/// How often a token with an unknown key has the keys read again, at most: whoever makes up tokens must not have the
/// provider asked for each.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(30);
/// How long the provider may take to answer.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);
/// The largest set of keys. A key is a few hundred bytes.
const BYTES_MAX: usize = 256 * 1024;

/// Where a set of keys is. A URL may have a key in it, so no `Debug` shows it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwksLocation {
    /// A file.
    File(PathBuf),
    /// A URL.
    Url(String),
}

/// The error for a URL that keys are not read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a URL of keys must be https://, unless it is on the loopback: who can change the keys can be any user"
)]
pub struct InsecureJwks;

impl FromStr for JwksLocation {
    type Err = InsecureJwks;

    fn from_str(text: &str) -> Result<Self, InsecureJwks> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let uri: Uri = text.parse().map_err(|_| InsecureJwks)?;
        let is_local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match uri.scheme_str() {
            Some("https") => Ok(Self::Url(text.to_owned())),
            Some("http") if is_local => Ok(Self::Url(text.to_owned())),
            _ => Err(InsecureJwks),
        }
    }
}

impl fmt::Debug for JwksLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Url(_) => f.write_str("Url"),
        }
    }
}

/// A key that verifies tokens, pinned to its algorithm.
#[derive(Clone, Debug)]
pub(super) struct TokenKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// No set of keys was read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKeys;

/// The keys of a provider.
#[derive(Debug)]
pub(super) struct Jwks {
    origin: Origin,
    /// Nothing before they were read first.
    keys: RwLock<Option<Arc<[TokenKey]>>>,
    /// When they were asked for last. Who holds it asks.
    asked_at: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Url(Http),
}

impl Jwks {
    /// Opens a set of keys. A file must have one; a URL may have one later, so that the server starts without its provider.
    pub(super) fn open(location: &JwksLocation) -> Result<Self, Source> {
        let (origin, keys) = match location {
            JwksLocation::File(path) => (Origin::File(path.clone()), Some(parse(&std::fs::read(path)?)?)),
            JwksLocation::Url(url) => (Origin::Url(Http::new(url, FETCH_TIME_MAX, None)?), None),
        };
        Ok(Self { origin, keys: RwLock::new(keys), asked_at: Mutex::new(None) })
    }

    /// Reads the keys again from time to time.
    pub(super) async fn refresh(&self) {
        loop {
            let is_read = self.ask(&mut *self.asked_at.lock().await).await;
            sleep(if is_read { REFRESH_INTERVAL } else { UNKNOWN_INTERVAL }).await;
        }
    }

    /// Returns the key of a token's header: the one of that id, or the only one for its algorithm if the header has none.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<TokenKey>, NoKeys> {
        if let Ok(Some(found)) = self.known(id, algorithm) {
            return Ok(Some(found));
        }
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_none_or(|asked_at| asked_at.elapsed() >= UNKNOWN_INTERVAL) {
            self.ask(&mut asked_at).await;
        }
        drop(asked_at);
        self.known(id, algorithm)
    }

    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Option<TokenKey>, NoKeys> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref().ok_or(NoKeys)?;
        let mut fitting = keys.iter().filter(|key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => key.algorithm == algorithm,
        });
        Ok(match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        })
    }

    /// Asks for the keys, and returns whether they came.
    async fn ask(&self, asked_at: &mut Option<Instant>) -> bool {
        *asked_at = Some(Instant::now());
        match self.read().await {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
                true
            }
            Err(error) => {
                tracing::warn!(error = %chain(&*error), "the keys of tokens could not be read; those that are known stay");
                false
            }
        }
    }

    async fn read(&self) -> Result<Arc<[TokenKey]>, Source> {
        match &self.origin {
            Origin::File(path) => parse(&std::fs::read(path)?),
            Origin::Url(http) => {
                let answer = http.get("").await?;
                if answer.status != 200 {
                    return Err(format!("the answer is {}", answer.status).into());
                }
                parse(answer.body())
            }
        }
    }
}

/// A set, whose keys are read one by one: it may have keys for other uses, of kinds that mean nothing here.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

fn parse(text: &[u8]) -> Result<Arc<[TokenKey]>, Source> {
    if text.len() > BYTES_MAX {
        return Err("the set of keys is too large".into());
    }
    let Document { keys } = serde_json::from_slice(text)?;
    let keys: Arc<[TokenKey]> =
        keys.iter().filter_map(|key| token_key(&serde_json::from_str(key.get()).ok()?)).collect();
    if keys.is_empty() {
        return Err("the set has no key for RS256 or EdDSA".into());
    }
    Ok(keys)
}

/// Returns a key for tokens, or `None` if it is for something else. A shared secret is none: a set of keys is public.
fn token_key(jwk: &Jwk) -> Option<TokenKey> {
    let (algorithm, name, key) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let number = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
            let der = rsa_der(&number(&rsa.n)?, &number(&rsa.e)?);
            (Algorithm::RS256, KeyAlgorithm::RS256, DecodingKey::from_rsa_der(&der))
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA, DecodingKey::from_ed_components(&pair.x).ok()?)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_it = common.key_algorithm.is_none_or(|given| given == name)
        && common.public_key_use.as_ref().is_none_or(|given| *given == PublicKeyUse::Signature);
    is_for_it.then(|| TokenKey { id: common.key_id.clone(), algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files_and_over_tls() {
        let parse = |text: &str| text.parse::<JwksLocation>();
        assert_eq!(parse("keys.json"), Ok(JwksLocation::File("keys.json".into())));
        for url in ["https://id.example/jwks.json", "http://127.0.0.1:8080/jwks", "http://[::1]/"] {
            assert_eq!(parse(url), Ok(JwksLocation::Url(url.to_owned())));
        }
        for url in
            ["http://id.example/jwks.json", "ftp://id.example/", "https://", "http://127.0.0.1.example/"]
        {
            assert_eq!(parse(url), Err(InsecureJwks), "{url}");
        }
    }

    #[test]
    fn only_keys_for_tokens_are_taken() {
        let rsa = r#"{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}"#;
        let of = |keys: &[&str]| {
            let keys = parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
            keys.map(|keys| keys.len()).unwrap_or_default()
        };
        let encrypts = r#"{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}"#;
        let other = r#"{"kty":"RSA","alg":"RS512","n":"AQAB","e":"AQAB"}"#;
        let secret = r#"{"kty":"oct","alg":"HS256","k":"c2VjcmV0"}"#;
        let curve = r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#;
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(of(&[rsa, encrypts, other, secret, curve, ed, "7"]), 2);
        assert_eq!(of(&[encrypts, other, secret, curve]), 0);
    }
}
