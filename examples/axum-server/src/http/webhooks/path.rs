//! The endpoint that a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::store_watch::Part;
use crate::webhooks::endpoint::{Endpoint, EndpointId};
use crate::webhooks::service::Webhooks;
use crate::wire::problem::Problem;

/// Returns the webhooks of the server.
pub(crate) fn webhooks(app: &AppState) -> Result<&Webhooks, Problem> {
    app.options.webhooks.as_ref().ok_or_else(|| {
        let detail = "This server has no webhooks: its operator allows none.";
        Problem::new(StatusCode::NOT_FOUND, "no-webhooks", detail)
    })
}

/// Returns the 409 for an endpoint that somebody changes at the same time.
pub(super) fn conflict() -> Problem {
    let detail = "The webhook is being changed by another request. Try again.";
    Problem::new(StatusCode::CONFLICT, "webhook-changed", detail)
}

/// The endpoint that a path names, which is the caller's.
#[derive(Debug)]
pub(crate) struct EndpointInPath(pub(super) Endpoint);

impl FromRequestParts<AppState> for EndpointInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let webhooks = webhooks(app)?;
        let text =
            Path::<String>::from_request_parts(parts, app).await.map_err(|_| Problem::webhook_not_found())?;
        let id: EndpointId = text.parse().map_err(|_| Problem::webhook_not_found())?;
        let found = app.store_watch.in_time(Part::Reads, webhooks.store.endpoint(id)).await?;
        found.filter(|endpoint| caller.sees(&endpoint.user)).map(Self).ok_or_else(Problem::webhook_not_found)
    }
}
