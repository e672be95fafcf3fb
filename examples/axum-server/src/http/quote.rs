//! Quotes, the tokens that orders may name, and the chain.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use order_engine_core::telemetry::chain;
use order_engine_core::{Quotation, QuoteRequest, StepError, Token};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::venue::ChainInfo;
use crate::wire::order_form::{QuoteFormSchema, quote_request};
use crate::wire::problem::Problem;
use crate::wire::quotes::QuotationBody;

/// The registered tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(crate) struct TokensBody {
    #[schema(value_type = Vec<TokenSchema>)]
    tokens: Vec<Token>,
}

/// The schema of a token.
#[derive(ToSchema)]
#[schema(as = Token)]
#[expect(dead_code, reason = "it is the form of another type, and never made")]
struct TokenSchema {
    /// What people call it.
    symbol: String,
    /// What the chain calls it.
    mint: String,
    /// How many digits its units have behind the point.
    decimals: u8,
}

/// List the tokens that orders may name.
#[utoipa::path(
    get,
    path = "/api/tokens",
    operation_id = "listTokens",
    tag = "Market",
    responses((status = 200, description = "The tokens.", body = TokensBody)),
)]
pub(crate) async fn tokens(State(app): State<AppState>) -> Json<TokensBody> {
    Json(TokensBody { tokens: app.tokens.tokens().to_vec() })
}

/// Get the chain that the server trades on.
#[utoipa::path(
    get,
    path = "/api/chain",
    operation_id = "getChain",
    tag = "Market",
    responses((status = 200, description = "The chain.", body = ChainInfo)),
)]
pub(crate) async fn chain_info(State(app): State<AppState>) -> Json<ChainInfo> {
    Json(app.options.chain.clone())
}

/// Get a quote.
///
/// The result of routing now, with every candidate. An order that gives its `quoteId` in time has its least output as its floor.
#[utoipa::path(
    post,
    path = "/api/quote",
    operation_id = "getQuote",
    tag = "Market",
    request_body = QuoteFormSchema,
    responses((status = 200, description = "The quote.", body = QuotationBody<'_>)),
)]
pub(crate) async fn quote(State(app): State<AppState>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    let (request, slippage_bps) = quote_request(fields, &app.tokens)?;
    let quotation = quotation(&app, &request).await?;
    let mut body = QuotationBody::new(&request, slippage_bps, &quotation);
    if let Some(min_out) = quotation.min_amount_out(slippage_bps) {
        let issued = app.quote_ids.issue(&request, min_out, Utc::now());
        body.make_executable(issued.id, issued.expires_at);
    }
    Ok(Json(body).into_response())
}

/// Returns the result of routing now.
pub(crate) async fn quotation(app: &AppState, request: &QuoteRequest) -> Result<Quotation, Problem> {
    app.engine.quote(request).await.map_err(|error| refusal(&error))
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
