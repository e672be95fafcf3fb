//! An order that is not placed: everything is checked, and the answer says what would be traded.

use axum::Json;
use axum::response::{IntoResponse, Response};
use order_engine_core::OrderRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::asked::{Asked, refusal};
use crate::http::{guard, quote};
use crate::wire::fields::Fields;
use crate::wire::problem::Problem;
use crate::wire::quotes::QuotationBody;

/// What would be traded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DryRun)]
pub(crate) struct DryRunBody<'a> {
    /// Always true: there is no order.
    dry_run: bool,
    quote: QuotationBody<'a>,
}

/// Checks what a request asks for as if it placed the order: its fields, the limits of its user, and the market.
pub(crate) async fn rehearse(
    app: &AppState,
    caller: &Caller,
    fields: Fields,
    key: Option<&str>,
) -> Result<Response, Problem> {
    let asked = Asked::read(app, caller, fields, key)?;
    let _admitted = guard::admit(app, &asked).await?;
    let OrderRequest { slippage_bps, .. } = asked.request;
    let request = asked.request.quote_request();
    app.engine.draft(asked.request).map_err(|error| refusal(&error))?;
    let quotation = quote::quotation(app, &request).await?;
    let quote = QuotationBody::new(&request, slippage_bps, &quotation);
    Ok(Json(DryRunBody { dry_run: true, quote }).into_response())
}
