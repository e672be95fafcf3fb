//! Whether a new order is taken.

use std::time::Duration;

use chrono::Utc;
use order_engine_core::{Failure, FailureCode, OrderRequest, Quotation, QuoteRequest};
use tokio::time::timeout;

use crate::app::AppState;
use crate::http::asked::Asked;
use crate::limits::admission::Admitted;
use crate::store_watch::Part;
use crate::wire::problem::Problem;

/// How long a new order waits for a quote.
const QUOTE_TIME_MAX: Duration = Duration::from_secs(1);

/// Admits a new order: within the limits, and unless it would lose too much to the price or no waiting helps.
///
/// An order of which no quote tells in time is admitted: the engine keeps the same limit of its price when it routes
/// the order. So is one that an earlier request placed, for which the answer holds nothing: a repetition is
/// answered with its order, whatever has changed since.
pub(crate) async fn admit(app: &AppState, asked: &Asked) -> Result<Option<Admitted>, Problem> {
    let request = &asked.request;
    let admitted = match app.admission.admit(&app.engine, request).await {
        Ok(admitted) => match too_late(asked) {
            Some(problem) => Err(problem),
            None => objection(app, request).await.map_or(Ok(admitted), Err),
        },
        Err(problem) => Err(problem),
    };
    match admitted {
        Ok(admitted) => Ok(Some(admitted)),
        Err(_) if is_placed(app, request).await? => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Returns why the quote of an order holds no more.
fn too_late(asked: &Asked) -> Option<Problem> {
    asked.quote_ends.filter(|ends| *ends <= Utc::now())?;
    Some(Problem::unacceptable(
        "quoteId",
        "quote-expired",
        "The quote has expired. Ask for a new one.".to_owned(),
    ))
}

async fn is_placed(app: &AppState, request: &OrderRequest) -> Result<bool, Problem> {
    let Some(name) = &request.client_order_id else { return Ok(false) };
    let named = app.engine.order_named(&request.user_id, name);
    Ok(app.store_watch.in_time(Part::Reads, named).await?.is_some())
}

async fn objection(app: &AppState, request: &OrderRequest) -> Option<Problem> {
    let refusal = quote(app, request.quote_request()).await?.refusal()?;
    let Failure { code, message, .. } = refusal.failure;
    if code == FailureCode::PRICE_IMPACT {
        return Some(Problem::price_impact(impact(app, request).await, message));
    }
    let hopeless = [
        (FailureCode::AMOUNT_TOO_SMALL, "amount", "amount-too-small"),
        (FailureCode::PAIR_NOT_TRADED, "tokenOut", "pair-not-traded"),
    ];
    // Whatever else stands against it may pass.
    let (_, field, code) = hopeless.into_iter().find(|(hopeless, ..)| *hopeless == code)?;
    Some(Problem::unacceptable(field, code, message))
}

/// Returns the price impact that an order would have without a limit of its own, in basis points. It is unknown if it
/// is beyond the router's own limit.
async fn impact(app: &AppState, request: &OrderRequest) -> Option<u32> {
    let mut unlimited = request.quote_request();
    unlimited.max_price_impact_bps = None;
    quote(app, unlimited).await?.route?.analysis?.price_impact_bps
}

/// Returns a quote, unless the router does not answer in time.
async fn quote(app: &AppState, request: QuoteRequest) -> Option<Quotation> {
    timeout(QUOTE_TIME_MAX, app.engine.quote(&request)).await.ok()?.ok()
}
