//! What a request for an order asks for, before anything is done.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use order_engine_core::{OrderRequest, SubmitError};

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::quote_ids::NoPromise;
use crate::wire::fields::{Fields, plain};
use crate::wire::order_form::{named_user, order_request};
use crate::wire::problem::Problem;

/// What a request asks for.
pub(crate) struct Asked {
    pub(crate) request: OrderRequest,
    /// When the quote ends at which the order is placed.
    pub(crate) quote_ends: Option<DateTime<Utc>>,
}

impl Asked {
    /// Reads what a request asks for.
    pub(crate) fn read(
        app: &AppState,
        caller: &Caller,
        mut fields: Fields,
        key: Option<&str>,
    ) -> Result<Self, Problem> {
        let user = caller.acting_as(named_user(&fields))?;
        let quote_id: Option<String> = fields.read("quoteId", |value| plain(value, "a string"));
        let mut request = order_request(fields, key, &app.tokens)?;
        if let Some(user) = user {
            request.user_id = user;
        }
        request.max_price_impact_bps.get_or_insert(app.options.max_price_impact_bps);
        let promise = quote_id.map(|id| app.quote_ids.read(&id, &request.quote_request())).transpose();
        let promise = promise.map_err(no_promise)?;
        // Who names a least output of their own as well gets the better of the two.
        request.min_amount_out = request.min_amount_out.max(promise.map(|promise| promise.min_out));
        Ok(Self { request, quote_ends: promise.map(|promise| promise.expires_at) })
    }
}

fn no_promise(reason: NoPromise) -> Problem {
    match reason {
        NoPromise::Unknown => Problem::invalid_field("quoteId", "invalid", "This is no quote of the server."),
        NoPromise::Different => {
            let message = "The quote is for other tokens or another amount.";
            Problem::invalid_field("quoteId", "conflict", message)
        }
    }
}

/// Returns the answer to an order that the engine did not take.
pub(crate) fn refusal(error: &SubmitError) -> Problem {
    match error {
        SubmitError::ShuttingDown => Problem::shutting_down(),
        SubmitError::Paused(_) => {
            Problem::unavailable("paused", "New orders are not accepted at the moment.")
        }
        error => {
            // The form checks all the engine's rules and has better messages. This is a fallback.
            let detail = format!("The order is not acceptable: {error}.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail)
        }
    }
}
