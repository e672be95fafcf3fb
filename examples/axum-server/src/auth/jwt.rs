//! Tokens of an identity provider: JSON Web Tokens, signed by HS256, RS256 or `EdDSA`.

use chrono::DateTime;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use order_engine_chain::Source;
use serde::Deserialize;

use crate::auth::caller::Caller;
use crate::auth::jwks::{Jwks, JwksLocation};
use crate::auth::key_file::is_user;
use crate::auth::ring_provider;
use crate::auth::scope::Scopes;
use crate::auth::secret_text::SecretText;
use crate::auth::tenure::Tenure;

/// How tokens are checked. Each key verifies by one algorithm, whatever a token's header says: a public key is never the secret
/// of an HMAC.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) secret: Option<DecodingKey>,
    pub(super) jwks: Option<Jwks>,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) leeway_s: u64,
}

/// Why a token makes nobody of who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    /// It is not valid.
    Invalid,
    /// The keys of the provider are not known yet.
    NoKeys,
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, which may have a fraction.
    exp: f64,
    #[serde(default)]
    scope: String,
}

impl Tokens {
    pub(super) fn open(
        secret: Option<&SecretText>,
        jwks: Option<&JwksLocation>,
        [issuer, audience]: [&str; 2],
        leeway_s: u64,
    ) -> Result<Self, Source> {
        ring_provider::install();
        Ok(Self {
            secret: secret.map(|secret| DecodingKey::from_secret(secret.as_bytes())),
            jwks: jwks.map(Jwks::open).transpose()?,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            leeway_s,
        })
    }

    /// Returns who has a token.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        // What it says must be understood means nothing here.
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let (algorithm, key) = self.key(header.alg, header.kid.as_deref()).await?;
        let data = decode::<Claims>(token, &key, &self.validation(algorithm));
        let claims = data.map_err(|_| TokenError::Invalid)?.claims;
        self.holder(&claims).ok_or(TokenError::Invalid)
    }

    /// Returns the key that a token must be signed with, and the only algorithm that the key is for.
    async fn key(&self, named: Algorithm, id: Option<&str>) -> Result<(Algorithm, DecodingKey), TokenError> {
        if named == Algorithm::HS256 {
            let secret = self.secret.clone().ok_or(TokenError::Invalid)?;
            return Ok((Algorithm::HS256, secret));
        }
        let jwks = self.jwks.as_ref().ok_or(TokenError::Invalid)?;
        match jwks.find(id, named).await {
            Ok(Some(found)) => Ok((found.algorithm, found.key)),
            Ok(None) => Err(TokenError::Invalid),
            Err(_) => Err(TokenError::NoKeys),
        }
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.leeway = self.leeway_s;
        validation.validate_nbf = true;
        validation
    }

    /// Returns whom the claims name, unless they name nobody or end in no year that there is.
    fn holder(&self, claims: &Claims) -> Option<Caller> {
        if !is_user(&claims.sub) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // A float saturates, and the bound is no time then.
        let exp = claims.exp.round() as i64;
        let until = exp.checked_add(i64::try_from(self.leeway_s).ok()?)?;
        let tenure = Tenure::until(DateTime::from_timestamp(until, 0)?);
        Some(Caller::new(&claims.sub, Scopes::of_claim(&claims.scope), tenure))
    }

    /// Keeps the provider's keys fresh, if there is a provider.
    pub(super) async fn refresh(&self) {
        if let Some(jwks) = &self.jwks {
            jwks.refresh().await;
        }
    }
}
