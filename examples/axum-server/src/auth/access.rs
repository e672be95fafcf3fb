//! Who may use the server, and how they say who they are.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::Utc;
use order_engine_chain::Source;

use crate::auth::api_keys::ApiKeys;
use crate::auth::caller::Caller;
use crate::auth::jwt::{TokenError, Tokens};
use crate::auth::key_file::{KeyFileError, PREFIX};
use crate::auth::scope::{Scope, Scopes};
use crate::auth::settings::AuthSettings;
use crate::auth::tenure::Tenure;
use crate::auth::ticket::Tickets;

/// How far clocks may be apart unless the settings say so, in seconds.
const LEEWAY_S: u64 = 30;

/// Who may use a server: everybody, or who has a credential. Its clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Access {
    credentials: Option<Arc<Credentials>>,
    has_open_metrics: bool,
}

/// The credentials that are accepted.
#[derive(Debug)]
pub(crate) struct Credentials {
    keys: Option<ApiKeys>,
    tokens: Option<Tokens>,
    pub(crate) tickets: Tickets,
}

/// Why the settings of authentication cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccess {
    /// The file of keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Tokens of any provider, or for any service, would be accepted.
    #[error(
        "--jwt-secret and --jwks need --jwt-issuer and --jwt-audience: a token for another service must not trade here"
    )]
    AnyToken,
    /// The name of an issuer or of an audience is there, and nothing that verifies tokens.
    #[error("--jwt-issuer and --jwt-audience need --jwt-secret or --jwks")]
    NoTokenKey,
    /// The keys of the provider cannot be used.
    #[error("cannot use the keys of --jwks")]
    Jwks(#[source] Source),
}

/// Why a request is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no credential.
    Missing,
    /// Its credential is not valid. Nobody learns why.
    Invalid,
    /// Its credential cannot be checked at the moment.
    Unavailable,
}

impl Access {
    /// Returns the access that the settings describe: everybody's, if they have nothing.
    ///
    /// # Errors
    /// If they are not usable.
    pub fn open(settings: &AuthSettings) -> Result<Self, InvalidAccess> {
        let keys = settings.api_keys.clone().map(ApiKeys::open).transpose()?;
        let tokens = tokens(settings)?;
        if keys.is_none() && tokens.is_none() {
            return Ok(Self::default());
        }
        let tickets = Tickets::new(settings.signing_secret.as_ref());
        let credentials = Arc::new(Credentials { keys, tokens, tickets });
        Ok(Self { credentials: Some(credentials), has_open_metrics: settings.open_metrics })
    }

    /// Returns whether everybody may use the server who reaches it.
    pub const fn is_open(&self) -> bool {
        self.credentials.is_none()
    }

    /// Keeps keys as their files and their provider have them, until the future is dropped.
    pub async fn upkeep(self) {
        let Some(credentials) = &self.credentials else { return };
        let keys = async {
            if let Some(keys) = &credentials.keys {
                keys.watch().await;
            }
        };
        let tokens = async {
            if let Some(tokens) = &credentials.tokens {
                tokens.refresh().await;
            }
        };
        tokio::join!(keys, tokens);
    }

    /// Returns the credentials, unless everybody may use the server.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }

    pub(crate) const fn has_open_metrics(&self) -> bool {
        self.has_open_metrics
    }
}

fn tokens(settings: &AuthSettings) -> Result<Option<Tokens>, InvalidAccess> {
    let AuthSettings { jwt_secret, jwks, jwt_issuer, jwt_audience, jwt_leeway, .. } = settings;
    let names = jwt_issuer.as_deref().zip(jwt_audience.as_deref());
    match (jwt_secret.is_some() || jwks.is_some(), names) {
        (false, None) if jwt_issuer.is_none() && jwt_audience.is_none() => Ok(None),
        (false, _) => Err(InvalidAccess::NoTokenKey),
        (true, None) => Err(InvalidAccess::AnyToken),
        (true, Some((issuer, audience))) => {
            let leeway_s = jwt_leeway.unwrap_or(LEEWAY_S);
            Tokens::open(jwt_secret.as_ref(), jwks.as_ref(), [issuer, audience], leeway_s)
                .map(Some)
                .map_err(InvalidAccess::Jwks)
        }
    }
}

impl Credentials {
    /// Returns whose credential the headers of a request have.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Refusal::Missing)?;
        // A second one might be what a proxy before this server has checked.
        if values.next().is_some() {
            return Err(Refusal::Invalid);
        }
        let (scheme, credential) =
            value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Refusal::Invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Invalid);
        }
        self.holder(credential.trim()).await
    }

    async fn holder(&self, credential: &str) -> Result<Caller, Refusal> {
        if credential.starts_with(PREFIX) {
            let keys = self.keys.as_ref().ok_or(Refusal::Invalid)?;
            return keys.caller(credential).ok_or(Refusal::Invalid);
        }
        let tokens = self.tokens.as_ref().ok_or(Refusal::Invalid)?;
        tokens.caller(credential).await.map_err(|error| match error {
            TokenError::Invalid => Refusal::Invalid,
            TokenError::NoKeys => Refusal::Unavailable,
        })
    }

    /// Takes a ticket, and returns whose it is: who may read, for as long as the credential holds for which it was made.
    pub(crate) fn ticket_holder(&self, ticket: &str) -> Result<Caller, Refusal> {
        let claims = self.tickets.take(ticket, Utc::now()).ok_or(Refusal::Invalid)?;
        let tenure = match (&claims.key, claims.until) {
            (Some(id), _) => {
                let keys = self.keys.as_ref().ok_or(Refusal::Invalid)?;
                keys.tenure(id).ok_or(Refusal::Invalid)?
            }
            (None, Some(until)) => Tenure::until(until),
            (None, None) => return Err(Refusal::Invalid),
        };
        Ok(Caller::new(claims.user.as_str(), Scopes::of(&[Scope::Read]), tenure))
    }
}
