//! `POST /api/tickets`: what a browser's page opens a socket with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::wire::problem::Problem;
use crate::wire::serialize_time;

/// A ticket. A socket takes it as the query parameter `ticket`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ticket)]
pub(crate) struct TicketBody {
    ticket: String,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: DateTime<Utc>,
}

/// Get a ticket, by which the page of a browser opens a socket.
#[utoipa::path(
    post,
    path = "/api/tickets",
    operation_id = "issueTicket",
    tag = "Live",
    responses((status = 201, description = "A ticket, for one socket within half a minute.", body = TicketBody)),
)]
pub(crate) async fn issue(State(app): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    let Some(credentials) = app.gate.credentials() else {
        let detail = "The server has no authentication, so sockets need no ticket.";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-tickets", detail));
    };
    let issued = credentials
        .tickets
        .issue(&caller, Utc::now())
        .ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "no-tickets", "Only a user can have a ticket."))?;
    let body = TicketBody { ticket: issued.text, expires_at: issued.expires_at };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
