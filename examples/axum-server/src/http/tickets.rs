//! `POST /api/tickets`: what a browser's page opens a socket with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::wire::problem::Problem;
use crate::wire::serialize_time;

/// A ticket. A socket takes it as the query parameter `ticket`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TicketBody {
    ticket: String,
    #[serde(serialize_with = "serialize_time")]
    expires_at: DateTime<Utc>,
}

pub(crate) async fn issue(State(app): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    let Some(credentials) = app.gate.credentials() else {
        let detail = "The server has no authentication, so sockets need no ticket.";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-tickets", detail));
    };
    let issued = credentials.tickets.issue(&caller, Utc::now()).map_err(|error| {
        tracing::error!(%error, "no ticket can be made");
        Problem::unavailable("no-tickets", "No ticket can be made at the moment.")
    })?;
    let issued = issued
        .ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "no-tickets", "Only a user can have a ticket."))?;
    let body = TicketBody { ticket: issued.text, expires_at: issued.expires_at };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
