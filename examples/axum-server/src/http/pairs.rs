//! `GET /api/pairs`: what can be traded.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use order_engine_core::Token;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::params::Params;
use crate::pair_limits::Tradable;
use crate::wire::problem::Problem;
use crate::wire::schema;

/// How long a client waits for limits that nobody knows yet.
const WAIT: Duration = Duration::from_secs(1);

/// What can be traded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pairs)]
pub(crate) struct PairsBody {
    pairs: Vec<PairBody>,
}

/// A pair of tokens, in one direction.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Pair)]
struct PairBody {
    token_in: String,
    token_out: String,
    /// About the least amount of the input token that buys anything; `null` while it is not known.
    least: Option<String>,
    #[schema(schema_with = schema::optional_base_units)]
    least_base_units: Option<String>,
    /// About the greatest amount within the server's limit of the price impact.
    greatest: Option<String>,
    #[schema(schema_with = schema::optional_base_units)]
    greatest_base_units: Option<String>,
}

/// List the pairs that can be traded.
///
/// The limits are found by quotes, for half a minute at a time. A pair whose limits are not known yet has `null`; one that is known not
/// to be traded is left out.
#[utoipa::path(
    get,
    path = "/api/pairs",
    operation_id = "listPairs",
    tag = "Market",
    responses((status = 200, description = "The pairs.", body = PairsBody)),
)]
pub(crate) async fn pairs(State(app): State<AppState>, params: Params) -> Result<Json<PairsBody>, Problem> {
    params.only(&[])?;
    let pairs = all(app.tokens.tokens());
    let refreshing = {
        let (app, pairs) = (app.clone(), pairs.clone());
        // Others ask for them, too, so it goes on when this client does not wait any longer.
        tokio::spawn(async move {
            app.pair_limits.refresh(&app.engine, pairs, app.options.max_price_impact_bps).await;
        })
    };
    // What is not known in time is told as not known.
    let _ = timeout(WAIT, refreshing).await;
    Ok(Json(PairsBody { pairs: pairs.iter().filter_map(|pair| body(&app, pair)).collect() }))
}

fn all(tokens: &[Token]) -> Vec<(Token, Token)> {
    let of = |input: &Token| {
        let others = tokens.iter().filter(|output| output.mint != input.mint);
        others.map(|output| (input.clone(), output.clone())).collect::<Vec<_>>()
    };
    tokens.iter().flat_map(of).collect()
}

/// Returns a pair, unless it is not traded.
fn body(app: &AppState, (input, output): &(Token, Token)) -> Option<PairBody> {
    let limits = match app.pair_limits.of(input, output) {
        Tradable::Unknown => None,
        Tradable::No => return None,
        Tradable::Within(limits) => Some(limits),
    };
    Some(PairBody {
        token_in: input.symbol.clone(),
        token_out: output.symbol.clone(),
        least: limits.map(|limits| limits.least.to_human(input.decimals)),
        least_base_units: limits.map(|limits| limits.least.to_string()),
        greatest: limits.map(|limits| limits.greatest.to_human(input.decimals)),
        greatest_base_units: limits.map(|limits| limits.greatest.to_string()),
    })
}
