//! `GET /api/operator/orders/{orderId}`: one order of whichever user, as an operator needs to see it.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Amount, Attention, Certainty, FindError, FoundTransaction, Observation, Order, OrderId, Purpose,
    SignedTx, TxId,
};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::act::{Act, Asked, Kind};
use super::order::load;
use crate::app::AppState;
use crate::wire::problem::{Document, Problem};
use crate::wire::schema;
use crate::wire::status::StatusBody;

/// How long the venues may take to search their histories.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(20);

/// Shows an order, and with `?chain=true` what its venues have of it.
#[derive(Debug, Serialize)]
pub(crate) struct ViewOrder {
    #[serde(skip)]
    id: OrderId,
    chain: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OperatorOrder)]
pub(crate) struct ViewBody {
    order: StatusBody,
    /// The order that this one repeats.
    #[schema(value_type = Option<String>, format = Uuid)]
    origin: Option<OrderId>,
    venue: Option<String>,
    is_cancel_requested: bool,
    attention: Option<AttentionBody>,
    /// What was signed for the attempt that runs, in the order of the signing.
    transactions: Vec<TransactionBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<ChainBody>,
}

/// Why the order needs an operator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attention)]
struct AttentionBody {
    kind: &'static str,
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignedTransaction)]
struct TransactionBody {
    #[schema(value_type = String)]
    tx_hash: TxId,
    purpose: &'static str,
    until_height: Option<u64>,
    account: Option<String>,
    nonce: Option<String>,
    #[schema(schema_with = schema::base_units)]
    min_out_base_units: Amount,
}

/// What the final histories of the venues have with the order's tag. That nothing is found proves nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChainFindings)]
enum ChainBody {
    Found(Vec<FoundBody>),
    #[schema(value_type = Document<'static>)]
    Problem(Problem),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FoundTransaction)]
struct FoundBody {
    venue: String,
    #[schema(value_type = String)]
    tx_hash: TxId,
    /// What it was signed for; `null` if this engine has not signed it.
    purpose: Option<&'static str>,
    /// `landed`, `reverted`, `not-found`, or `null` if the venue does not say.
    outcome: Option<&'static str>,
    is_final: bool,
    /// What a landed one did, which is what a resolution wants.
    #[serde(flatten)]
    fill: Option<FillBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Fill)]
struct FillBody {
    #[schema(schema_with = schema::base_units)]
    amount_in_base_units: Amount,
    #[schema(schema_with = schema::base_units)]
    amount_out_base_units: Amount,
    height: u64,
}

impl Act for ViewOrder {
    const NAME: &'static str = "view-order";
    const KIND: Kind = Kind::Look;

    async fn read(_: &AppState, asked: Asked) -> Result<Self, Problem> {
        let id = asked.order()?;
        asked.fields.finish()?;
        let params = asked.params.only(&["chain"])?;
        let chain = match params.text("chain") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::invalid_field("chain", "invalid", "Must be true or false.")),
        };
        Ok(Self { id, chain })
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let order = load(app, self.id).await?;
        let chain = if self.chain { Some(search(app, self.id).await) } else { None };
        Ok(Json(ViewBody { chain, ..ViewBody::new(&order) }).into_response())
    }
}

impl ViewBody {
    fn new(order: &Order) -> Self {
        let state = &order.state;
        let signed = state.siblings().into_iter().flat_map(|siblings| {
            let fillers = siblings.fillers().iter().map(|tx| TransactionBody::new(Purpose::Filler, tx));
            fillers.chain(siblings.iter().map(|sibling| TransactionBody::new(sibling.purpose, &sibling.tx)))
        });
        Self {
            order: StatusBody::listed(order),
            origin: order.origin,
            venue: state.venue().map(ToString::to_string),
            is_cancel_requested: state.is_cancel_requested(),
            attention: state.attention().map(AttentionBody::new),
            transactions: signed.collect(),
            chain: None,
        }
    }
}

impl AttentionBody {
    fn new(attention: &Attention) -> Self {
        let message = match attention {
            Attention::Quarantined(failure) => failure.message.clone(),
            Attention::OutcomeUnknown(reason) => reason.to_string(),
            // One that only a newer engine knows.
            other => other.as_str().to_owned(),
        };
        Self { kind: attention.as_str(), message }
    }
}

impl TransactionBody {
    fn new(purpose: Purpose, tx: &SignedTx) -> Self {
        let nonce = tx.validity.nonce();
        Self {
            tx_hash: tx.id.clone(),
            purpose: purpose_name(purpose),
            until_height: tx.validity.until_height(),
            account: nonce.map(|nonce| nonce.account.to_string()),
            nonce: nonce.map(|nonce| nonce.value.to_string()),
            min_out_base_units: tx.min_amount_out,
        }
    }
}

const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Original => "original",
        Purpose::FeeBump => "fee-bump",
        Purpose::Cancel => "cancel",
        Purpose::Filler => "filler",
    }
}

/// Returns what the venues have of an order, or why they do not say: the order itself is shown all the same.
async fn search(app: &AppState, id: OrderId) -> ChainBody {
    let late = |_| Problem::unavailable("chain-silent", "The venue did not answer in time.");
    let found = timeout(SEARCH_TIME_MAX, app.engine.find_on_chain(id)).await.map_err(late);
    match found.and_then(|found| found.map_err(|error| not_found(&error))) {
        Ok(found) => ChainBody::Found(found.iter().flatten().map(FoundBody::new).collect()),
        Err(problem) => ChainBody::Problem(problem),
    }
}

fn not_found(error: &FindError) -> Problem {
    tracing::warn!(error = %chain(error), "the chain could not be searched for an order");
    match error {
        FindError::Store(error) => Problem::store(error),
        FindError::NoVenue(_) => {
            Problem::unavailable("no-venue", "This process does not have the venue of the order.")
        }
        FindError::Unsupported(_) => {
            let detail = "The venue does not find transactions by their order.";
            Problem::new(StatusCode::NOT_IMPLEMENTED, "search-unsupported", detail)
        }
        _ => Problem::unavailable("chain-silent", "The venue could not be searched."),
    }
}

impl FoundBody {
    fn new(found: &FoundTransaction) -> Self {
        let (outcome, certainty, fill) = match &found.observation {
            None => (None, None, None),
            Some(Observation::NotFound { .. }) => (Some("not-found"), None, None),
            Some(Observation::Landed { certainty, fill }) => (Some("landed"), Some(certainty), Some(fill)),
            Some(Observation::Reverted { certainty, .. }) => (Some("reverted"), Some(certainty), None),
        };
        Self {
            venue: found.venue.to_string(),
            tx_hash: found.tx_id.clone(),
            purpose: found.purpose.map(purpose_name),
            outcome,
            is_final: certainty == Some(&Certainty::Finalized),
            fill: fill.map(|fill| FillBody {
                amount_in_base_units: fill.amount_in,
                amount_out_base_units: fill.amount_out,
                height: fill.height,
            }),
        }
    }
}
