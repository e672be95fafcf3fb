//! An act of an operator: who may do it, how it is read, done and recorded.

use std::marker::PhantomData;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts, Path, Request};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use order_engine_core::OrderId;
use serde::Serialize;

use crate::app::AppState;
use crate::audit::{Outcome, Record, Who};
use crate::auth::scope::Scope;
use crate::gate::{Needs, missing_scope};
use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::http::gated::refuse;
use crate::http::params::{Params, parse_order_id};
use crate::limits::proxies::Arrival;
use crate::limits::rate::{Standing, tell};
use crate::webhooks::endpoint::EndpointId;
use crate::wire::fields::Fields;
use crate::wire::problem::Problem;

/// What every act needs.
pub(crate) const NEEDS: Needs = Needs::Scope(Scope::Operate);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a request that is recorded.
const REQUEST_ID_CHARS_MAX: usize = 128;
/// By these headers a request shows that it passed a proxy.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-forwarded-host"];

/// What an act does, which decides how it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It shows orders of users. It is recorded before it shows them.
    Look,
    /// It changes something. It is recorded before and afterwards, and not done if it cannot be.
    Change,
    /// It stops everything. It is recorded as a change is, and done although it cannot be: a full disk must not stand
    /// between an operator and the kill switch.
    Stop,
}

/// What an operator asks for, read and checked, and not yet done. What it serialises are its parameters, as they are
/// recorded.
pub(crate) trait Act: Serialize + Sized + Send + Sync + 'static {
    /// Its name in the audit log.
    const NAME: &'static str;
    /// What it does.
    const KIND: Kind;

    /// Reads it from a request.
    fn read(app: &AppState, asked: Asked) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Returns what it is done to.
    fn target(&self) -> Option<String> {
        None
    }

    /// Does it. A refusal, of a status below 500, has changed nothing.
    fn perform(self, app: &AppState) -> impl Future<Output = Result<Response, Problem>> + Send;
}

/// What a request for an act says.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What the path names.
    named: Option<String>,
    pub(crate) params: Params,
    pub(crate) fields: Fields,
}

impl Asked {
    async fn read(app: &AppState, parts: &mut Parts, body: Body) -> Result<Self, Problem> {
        let named = Path::<String>::from_request_parts(parts, app).await.ok().map(|Path(text)| text);
        let Ok(params) = Params::from_request_parts(parts, app).await;
        // An act that needs nothing said needs no body.
        let fields = if body.is_end_stream() {
            Fields::default()
        } else {
            read_fields(&parts.headers, body, BODY_BYTES_MAX).await?
        };
        Ok(Self { named, params, fields })
    }

    /// Returns the id of the webhook of the path, if that is one.
    pub(crate) fn webhook(&self) -> Result<EndpointId, Problem> {
        let id = self.named.as_deref().and_then(|text| text.parse().ok());
        id.ok_or_else(Problem::webhook_not_found)
    }

    /// Returns the order of the path, if that is an order's id.
    pub(crate) fn order(&self) -> Result<OrderId, Problem> {
        self.named.as_deref().and_then(parse_order_id).ok_or_else(Problem::order_not_found)
    }

    /// Succeeds if nothing is said beside what was read.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        self.params.only(&[])?;
        self.fields.finish()
    }
}

/// The handler of an act, which is its own gate, because it also records whom the gate refuses.
pub(crate) struct Acting<A>(PhantomData<fn() -> A>);

impl<A> Acting<A> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A> Clone for Acting<A> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<A: Act> Handler<(), AppState> for Acting<A> {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, app: AppState) -> Self::Future {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let mut standings = Vec::new();
            let mut response = match admit(&app, A::NAME, &parts, &mut standings).await {
                Ok(record) => answer::<A>(app, record, parts, body).await,
                Err(problem) => refuse(problem),
            };
            tell(&standings, response.headers_mut());
            response
        })
    }
}

/// Returns the record of an act by who may do it.
async fn admit(
    app: &AppState,
    act: &'static str,
    parts: &Parts,
    standings: &mut Vec<Standing>,
) -> Result<Record, Problem> {
    let address = parts.extensions.get::<Arrival>().map(|arrival| arrival.client);
    let mut record = app.options.audit.record(act, Who { address, ..Who::default() });
    record.request_id = request_id(&parts.headers);
    record.target = Some(parts.uri.path().to_owned());
    let identified = app.gate.identify(NEEDS, parts, standings).await;
    let caller = match identified {
        Ok((caller, _)) => caller,
        Err(problem) => {
            record.log_only(Outcome::Refused, Some(problem.code()));
            return Err(problem);
        }
    };
    record.who.user = caller.user().map(ToString::to_string);
    record.who.key = caller.tenure().key_id().map(str::to_owned);
    let may_operate =
        if caller.may(Scope::Operate) { is_known(app, parts) } else { Err(missing_scope(Scope::Operate)) };
    let Err(problem) = may_operate else {
        record.target = None;
        return Ok(record);
    };
    if caller.user().is_some() {
        record_refusal(&record, &problem).await;
    } else {
        record.log_only(Outcome::Refused, Some(problem.code()));
    }
    Err(problem)
}

/// Checks that it is known who asks, as it must be for what operators do and see.
///
/// Without authentication everybody may who reaches the server, if that is somebody on this machine. Who may trade without
/// a credential may lose their own orders; who may operate without one may lose everybody's.
fn is_known(app: &AppState, parts: &Parts) -> Result<(), Problem> {
    let is_here = || {
        app.local_addr.ip().is_loopback() && !FORWARDED.iter().any(|name| parts.headers.contains_key(*name))
    };
    if app.gate.credentials().is_none() && !is_here() {
        let detail = "A server without authentication serves operators on its own machine only.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "operators-unknown", detail));
    }
    Ok(())
}

/// That an operator asks, for handlers of what operators see and nobody records.
#[derive(Debug)]
pub(crate) struct Operator;

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        is_known(app, parts).map(|()| Self)
    }
}

/// Returns the id that a client, or a proxy, gave a request, if it can stand in a line.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()).then(|| text.to_owned())
}

async fn answer<A: Act>(app: AppState, mut record: Record, mut parts: Parts, body: Body) -> Response {
    let read = async {
        let asked = Asked::read(&app, &mut parts, body).await?;
        A::read(&app, asked).await
    };
    let act = match read.await {
        Ok(act) => act,
        Err(problem) => {
            record.target = Some(parts.uri.path().to_owned());
            record_refusal(&record, &problem).await;
            return problem.into_response();
        }
    };
    // A client that goes away must not end an act half-way, nor without its record.
    let acted = tokio::spawn(async move { act_on_record(&app, record, act).await }).await;
    acted.unwrap_or_else(|_| {
        let detail = "The act ended abnormally. Look at what it did before you repeat it.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "act-failed", detail).into_response()
    })
}

async fn act_on_record<A: Act>(app: &AppState, mut record: Record, act: A) -> Response {
    record.target = act.target();
    record.parameters = serde_json::to_value(&act).unwrap_or_default();
    if A::KIND != Kind::Look && record.write(Outcome::Begun, None).await.is_err() && A::KIND != Kind::Stop {
        let detail = "The audit log cannot be written, so nothing was done.";
        return Problem::unavailable("audit-unavailable", detail).into_response();
    }
    let result = act.perform(app).await;
    let (outcome, code) = match &result {
        Ok(_) => (Outcome::Done, None),
        Err(problem) if problem.status().is_server_error() => (Outcome::Unknown, Some(problem.code())),
        Err(problem) => (Outcome::Refused, Some(problem.code())),
    };
    let is_recorded = record.write(outcome, code).await.is_ok();
    match A::KIND {
        _ if is_recorded => {}
        Kind::Stop => {}
        Kind::Look => {
            let detail = "The audit log cannot be written, so nothing is shown.";
            return Problem::unavailable("audit-unavailable", detail).into_response();
        }
        Kind::Change => {
            let detail = "The audit log has that the act was begun, and not what came of it. Look before you repeat it.";
            return Problem::unavailable("audit-incomplete", detail).into_response();
        }
    }
    result.into_response()
}

/// Records a refusal. It has changed nothing, so the client is told of it even if the log lacks it.
async fn record_refusal(record: &Record, problem: &Problem) {
    // The failure is in the log of the process.
    let _ = record.write(Outcome::Refused, Some(problem.code())).await;
}
