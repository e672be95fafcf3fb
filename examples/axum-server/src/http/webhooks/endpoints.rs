//! A user's endpoints: to create, list, show, change and delete them, and to rotate their secrets.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use chrono::{SubsecRound as _, Utc};
use order_engine_core::telemetry::chain;
use order_engine_core::{FeedCursor, FeedScope, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{ChangeSchema, EndpointBody, EndpointForm, NewEndpointSchema};
use super::path::{EndpointInPath, conflict, webhooks};
use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::params::Params;
use crate::store_watch::Part;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress, Settings};
use crate::webhooks::secret::{Secrets, SigningSecret};
use crate::wire::order_form::ANONYMOUS;
use crate::wire::problem::Problem;

/// All endpoints of a user. There are few.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhooks)]
pub(crate) struct EndpointsBody<'a> {
    webhooks: Vec<EndpointBody<'a>>,
}

/// Register a webhook for the events from now on. The answer is the only one with the secret.
#[utoipa::path(
    post,
    path = "/api/webhooks",
    operation_id = "createWebhook",
    tag = "Webhooks",
    request_body = NewEndpointSchema,
    responses((status = 201, description = "The webhook, with its secret.", body = EndpointBody<'_>)),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let webhooks = webhooks(&app)?;
    let (parts, body) = request.into_parts();
    let form = EndpointForm::of_new(&parts.headers, body, webhooks.rules()).await?;
    let user = user_of(&caller, form.user)?;
    let cursor = end_of_feed(&app, &user).await?;
    let endpoint = Endpoint {
        id: EndpointId::generate(),
        user,
        created_at: Utc::now().trunc_subsecs(3),
        revision: 1,
        settings: Settings {
            // The form is refused without it.
            url: form
                .url
                .ok_or_else(|| Problem::invalid_field("url", "required", "The field is required."))?,
            kinds: form.kinds.unwrap_or_default(),
            description: form.description.unwrap_or_default(),
            secrets: Secrets::new(secret()?),
            is_on: true,
        },
        progress: Progress::after(cursor),
    };
    let created = webhooks.store.create(&endpoint, webhooks.most);
    if !app.store_watch.in_time(Part::Writes, created).await? {
        let detail = format!("A user may have {} webhooks. Delete one first.", webhooks.most);
        return Err(Problem::new(StatusCode::CONFLICT, "too-many-webhooks", detail));
    }
    webhooks.notify();
    let location = [(LOCATION, format!("/api/webhooks/{}", endpoint.id))];
    Ok((StatusCode::CREATED, location, Json(EndpointBody::with_secret(&endpoint))).into_response())
}

/// List a user's webhooks.
#[utoipa::path(
    get,
    path = "/api/webhooks",
    operation_id = "listWebhooks",
    tag = "Webhooks",
    params(("userId" = Option<String>, Query, description = "Whose. With authentication, it is the credential's.")),
    responses((status = 200, description = "The webhooks.", body = EndpointsBody<'_>)),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Response, Problem> {
    let webhooks = webhooks(&app)?;
    let user = user_of(&caller, params.only(&["userId"])?.user_id()?)?;
    let endpoints = app.store_watch.in_time(Part::Reads, webhooks.store.endpoints(&user)).await?;
    let body = EndpointsBody { webhooks: endpoints.iter().map(EndpointBody::new).collect() };
    Ok(Json(body).into_response())
}

/// Get a webhook.
#[utoipa::path(
    get,
    path = "/api/webhooks/{webhookId}",
    operation_id = "getWebhook",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    responses((status = 200, description = "The webhook.", body = EndpointBody<'_>)),
)]
pub(crate) async fn show(EndpointInPath(endpoint): EndpointInPath) -> Response {
    Json(EndpointBody::new(&endpoint)).into_response()
}

/// Change what the body has. With `enabled` a webhook that was given up starts again where it stopped, and with `skip` behind all that waits.
#[utoipa::path(
    patch,
    path = "/api/webhooks/{webhookId}",
    operation_id = "changeWebhook",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    request_body = ChangeSchema,
    responses((status = 200, description = "The webhook.", body = EndpointBody<'_>)),
)]
pub(crate) async fn change(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let form = EndpointForm::of_change(&parts.headers, body, webhooks(&app)?.rules()).await?;
    // Another receiver may be well, so the pause for the old one does not count.
    let is_elsewhere = form.url.is_some() && endpoint.is_enabled();
    let restarts = form.is_enabled == Some(true) || is_elsewhere;
    let cursor = if form.skips { end_of_feed(&app, &endpoint.user).await? } else { endpoint.progress.cursor };
    let Settings { url, kinds, description, secrets, is_on } = endpoint.settings;
    let settings = Settings {
        url: form.url.unwrap_or(url),
        kinds: form.kinds.unwrap_or(kinds),
        description: form.description.unwrap_or(description),
        secrets,
        is_on: form.is_enabled.unwrap_or(is_on),
    };
    let progress = if restarts { Progress::after(cursor) } else { endpoint.progress };
    let changed = save(&app, Endpoint { settings, progress, ..endpoint }, restarts).await?;
    Ok(Json(EndpointBody::new(&changed)).into_response())
}

/// Make a new secret, which the answer shows once. The old one signs as well for a day.
#[utoipa::path(
    post,
    path = "/api/webhooks/{webhookId}/rotate-secret",
    operation_id = "rotateWebhookSecret",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    responses((status = 200, description = "The webhook, with its secret.", body = EndpointBody<'_>)),
)]
pub(crate) async fn rotate_secret(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
) -> Result<Response, Problem> {
    let secrets = endpoint.settings.secrets.rotated(secret()?, Utc::now());
    let settings = Settings { secrets, ..endpoint.settings };
    let changed = save(&app, Endpoint { settings, ..endpoint }, false).await?;
    Ok(Json(EndpointBody::with_secret(&changed)).into_response())
}

/// Delete a webhook.
#[utoipa::path(
    delete,
    path = "/api/webhooks/{webhookId}",
    operation_id = "deleteWebhook",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    responses((status = 204, description = "It is deleted.")),
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
) -> Result<StatusCode, Problem> {
    let webhooks = webhooks(&app)?;
    let deleted = app.store_watch.in_time(Part::Writes, webhooks.store.delete(endpoint.id)).await?;
    webhooks.notify();
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::webhook_not_found()) }
}

/// Writes a change, and returns the endpoint as it is now.
async fn save(app: &AppState, endpoint: Endpoint, restarts: bool) -> Result<Endpoint, Problem> {
    let webhooks = webhooks(app)?;
    let updated = webhooks.store.update(&endpoint, restarts);
    if !app.store_watch.in_time(Part::Writes, updated).await? {
        return Err(conflict());
    }
    webhooks.notify();
    Ok(Endpoint { revision: endpoint.revision + 1, ..endpoint })
}

fn user_of(caller: &Caller, named: Option<UserId>) -> Result<UserId, Problem> {
    Ok(caller.acting_as(named)?.unwrap_or_else(|| UserId::new(ANONYMOUS)))
}

async fn end_of_feed(app: &AppState, user: &UserId) -> Result<FeedCursor, Problem> {
    let feed = app.engine.feed(FeedScope::User(user.clone()), None);
    Ok(app.store_watch.in_time(Part::Reads, feed).await?.cursor())
}

fn secret() -> Result<SigningSecret, Problem> {
    SigningSecret::generate().map_err(|error| {
        tracing::error!(error = %chain(&error), "no secret can be made");
        Problem::unavailable("no-secret", "No secret can be made at the moment.")
    })
}
