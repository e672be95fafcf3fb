//! Quotes, the tokens that orders may name, and the chain.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{StepError, Token};
use serde::Serialize;

use crate::app::AppState;
use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::venue::ChainInfo;
use crate::wire::order_form::quote_request;
use crate::wire::problem::Problem;
use crate::wire::quotes::QuotationBody;

/// The registered tokens.
#[derive(Debug, Serialize)]
pub(crate) struct TokensBody {
    tokens: Vec<Token>,
}

/// `GET /api/tokens`.
pub(crate) async fn tokens(State(app): State<AppState>) -> Json<TokensBody> {
    Json(TokensBody { tokens: app.tokens.tokens().to_vec() })
}

/// `GET /api/chain`: what the server trades on.
pub(crate) async fn chain_info(State(app): State<AppState>) -> Json<ChainInfo> {
    Json(app.options.chain.clone())
}

/// `POST /api/quote`: the result of routing now, without an order.
pub(crate) async fn quote(State(app): State<AppState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    let (request, slippage_bps) = quote_request(fields, &app.tokens)?;
    let quotation = app.engine.quote(&request).await.map_err(|error| refusal(&error))?;
    Ok(Json(QuotationBody::new(&request, slippage_bps, &quotation)).into_response())
}

fn refusal(error: &StepError) -> Problem {
    if error.class.is_retryable() {
        tracing::warn!(error = %chain(error), "the router could not quote");
        Problem::unavailable("quote-unavailable", "No quote is available at the moment. Try again.")
    } else {
        let detail = error.failure.message.clone();
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "quote-refused", detail)
    }
}
