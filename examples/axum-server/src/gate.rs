//! The gate in front of every route: it finds out who asks, counts the request, and refuses what the caller may not do.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, UPGRADE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use order_engine_core::UserId;

use crate::auth::access::{Access, Credentials, Refusal};
use crate::auth::caller::Caller;
use crate::auth::scope::Scope;
use crate::limits::proxies::Arrival;
use crate::limits::rate::{Limiter, Standing, client_of};
use crate::limits::settings::LimitSettings;
use crate::wire::problem::Problem;

/// What a request for a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// Nothing, and it is not counted either: balancers ask whether the server is well.
    Probe,
    /// Nothing.
    Nothing,
    /// A credential with a scope.
    Scope(Scope),
    /// A credential with the scope `read`, or for a WebSocket a ticket instead.
    Stream,
    /// A credential with the scope `operate`, unless everybody may see the metrics.
    Metrics,
}

/// Counts and refuses requests.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Access,
    users: Option<Limiter<UserId>>,
    addresses: Option<Limiter<IpAddr>>,
}

impl Gate {
    pub(crate) fn new(access: Access, settings: &LimitSettings) -> Self {
        let [user, address] = settings.rates(access.is_open());
        Self {
            access,
            users: user.and_then(|rate| Limiter::new("user", rate)),
            addresses: address.and_then(|rate| Limiter::new("address", rate)),
        }
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.access.credentials()
    }

    /// Returns who makes a request, or why it is refused. Counts it with each limit that applies.
    pub(crate) async fn admit(
        &self,
        needs: Needs,
        request: &Parts,
        standings: &mut Vec<Standing>,
    ) -> Result<Caller, Problem> {
        match self.identify(needs, request, standings).await? {
            (caller, Some(scope)) if !caller.may(scope) => Err(missing_scope(scope)),
            (caller, _) => Ok(caller),
        }
    }

    /// Counts another order of a request for several, as if it had come in a request of its own.
    pub(crate) fn count_another(&self, caller: &Caller, request: &Parts) -> Result<(), Problem> {
        let mut standings = Vec::new();
        self.count_address(request, &mut standings)?;
        self.count_user(caller, &mut standings)
    }

    fn count_address(&self, request: &Parts, standings: &mut Vec<Standing>) -> Result<(), Problem> {
        match (&self.addresses, request.extensions.get::<Arrival>()) {
            (Some(limiter), Some(arrival)) => count(limiter, &client_of(arrival.client), standings),
            _ => Ok(()),
        }
    }

    fn count_user(&self, caller: &Caller, standings: &mut Vec<Standing>) -> Result<(), Problem> {
        match (&self.users, caller.user()) {
            (Some(limiter), Some(user)) => count(limiter, user, standings),
            _ => Ok(()),
        }
    }

    /// Returns who makes a request, whatever they may do, and the scope that it needs. Counts it with each limit that
    /// applies.
    pub(crate) async fn identify(
        &self,
        needs: Needs,
        request: &Parts,
        standings: &mut Vec<Standing>,
    ) -> Result<(Caller, Option<Scope>), Problem> {
        if needs == Needs::Probe {
            return Ok((Caller::nobody(), None));
        }
        // First of all, so that wrong credentials are counted, too.
        self.count_address(request, standings)?;
        let scope = match needs {
            Needs::Scope(scope) => Some(scope),
            Needs::Stream => Some(Scope::Read),
            Needs::Metrics if !self.access.has_open_metrics() => Some(Scope::Operate),
            Needs::Probe | Needs::Nothing | Needs::Metrics => None,
        };
        let Some(credentials) = self.credentials() else { return Ok((Caller::anyone(), scope)) };
        if scope.is_none() {
            return Ok((Caller::nobody(), None));
        }
        let caller = match ticket(needs, request) {
            Some(ticket) => credentials.ticket_holder(ticket),
            None => credentials.caller(&request.headers).await,
        };
        let caller = caller.map_err(refused)?;
        self.count_user(&caller, standings)?;
        Ok((caller, scope))
    }
}

/// Returns the ticket of a request for a WebSocket.
fn ticket(needs: Needs, request: &Parts) -> Option<&str> {
    let is_socket = needs == Needs::Stream && request.headers.contains_key(UPGRADE);
    let query = request.uri.query().filter(|_| is_socket)?;
    query.split('&').find_map(|parameter| parameter.strip_prefix("ticket="))
}

fn count<K: std::hash::Hash + Eq + Clone>(
    limiter: &Limiter<K>,
    key: &K,
    standings: &mut Vec<Standing>,
) -> Result<(), Problem> {
    let standing = limiter.count(key);
    standings.push(standing);
    let Some(wait_s) = standing.wait_s else { return Ok(()) };
    let detail = "Too many requests. The headers RateLimit and RateLimit-Policy say how many there may be.";
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).with_retry_after(wait_s))
}

fn refused(refusal: Refusal) -> Problem {
    let challenge = |code, detail, value| {
        Problem::new(StatusCode::UNAUTHORIZED, code, detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(value))
    };
    match refusal {
        Refusal::Missing => {
            let detail = "The request needs a credential: Authorization: Bearer, with an API key or a token.";
            challenge("no-credential", detail, r#"Bearer realm="order-engine""#)
        }
        Refusal::Invalid => {
            let value = r#"Bearer realm="order-engine", error="invalid_token""#;
            challenge("invalid-credential", "The credential is not valid.", value)
        }
        Refusal::Unavailable => Problem::unavailable(
            "credential-unchecked",
            "The credential cannot be checked at the moment. Try again.",
        ),
    }
}

pub(crate) fn missing_scope(scope: Scope) -> Problem {
    let (detail, value) = match scope {
        Scope::Read => ("The credential does not have the scope read.", r#"scope="read""#),
        Scope::Trade => ("The credential does not have the scope trade.", r#"scope="trade""#),
        Scope::Operate => ("The credential does not have the scope operate.", r#"scope="operate""#),
    };
    let value = format!(r#"Bearer realm="order-engine", error="insufficient_scope", {value}"#);
    let problem = Problem::new(StatusCode::FORBIDDEN, "missing-scope", detail);
    match HeaderValue::from_str(&value) {
        Ok(value) => problem.with_header(WWW_AUTHENTICATE, value),
        Err(_) => problem,
    }
}
