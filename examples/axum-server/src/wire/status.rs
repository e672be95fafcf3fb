//! The status document of an order, and the answer to its creation.

use chrono::{DateTime, Utc};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Amount, Attention, ClientOrderId, Order, OrderId, Status, TxId, UndecodableOrder, UserId,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::wire::error::ErrorBody;
use crate::wire::quotes::price_number;
use crate::wire::schema;
use crate::wire::{serialize_optional_time, serialize_time};

/// The answer to a request for an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedOrder)]
pub(crate) struct AcceptedBody {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    #[schema(schema_with = schema::status)]
    status: Status,
    ws_url: String,
    /// The order's id again, because the order is the job.
    #[schema(value_type = String, format = Uuid)]
    job_id: OrderId,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
}

impl AcceptedBody {
    pub(crate) fn new(order: &Order, ws_url: String) -> Self {
        Self {
            order_id: order.id,
            status: order.status(),
            ws_url,
            job_id: order.id,
            created_at: order.created_at,
        }
    }
}

/// Returns the id of an order in a list, whether it can be decoded or not.
pub(crate) fn id_of(listed: &Result<Order, UndecodableOrder>) -> OrderId {
    listed.as_ref().map_or_else(|error| error.order_id, |order| order.id)
}

/// An order in a list. An undecodable order is listed, too, so that an operator sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ListedOrder)]
pub(crate) enum ListedBody {
    /// The order's status document, without the logs.
    Decoded(Box<StatusBody>),
    /// The order's id, and why it cannot be decoded.
    #[serde(rename_all = "camelCase")]
    Undecodable {
        #[schema(value_type = String, format = Uuid)]
        order_id: OrderId,
        attention: &'static str,
        message: &'static str,
    },
}

impl ListedBody {
    pub(crate) fn new(listed: &Result<Order, UndecodableOrder>) -> Self {
        match listed {
            Ok(order) => Self::Decoded(Box::new(StatusBody::listed(order))),
            Err(UndecodableOrder { order_id, error }) => {
                tracing::error!(order.id = %order_id, error = %chain(error), "an order in a list is unreadable");
                let message = "The stored order cannot be read. The server's log says why.";
                Self::Undecodable { order_id: *order_id, attention: "unreadable", message }
            }
        }
    }
}

/// An order as clients see it. Every field is always there; one without a value is `null`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Order)]
pub(crate) struct StatusBody {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
    #[schema(value_type = String)]
    user_id: UserId,
    #[schema(value_type = Option<String>)]
    client_order_id: Option<ClientOrderId>,
    #[schema(schema_with = schema::status)]
    status: Status,
    order_type: &'static str,
    token_in: String,
    token_out: String,
    input_token: String,
    output_token: String,
    amount: String,
    #[schema(schema_with = schema::base_units)]
    amount_base_units: Amount,
    slippage_bps: u16,
    /// The worst price, as the least output. An order without one of its own has it from its first quote on.
    min_out: Option<String>,
    chosen_dex: Option<String>,
    #[schema(value_type = Option<String>)]
    tx_hash: Option<TxId>,
    #[schema(value_type = Option<f64>)]
    execution_price: Option<Box<RawValue>>,
    execution_price_exact: Option<String>,
    amount_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units)]
    amount_out_base_units: Option<Amount>,
    attempt: u32,
    max_attempts: u32,
    attention: Option<&'static str>,
    error: Option<ErrorBody>,
    /// The messages of the order's events. A list of orders has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<String>>,
    last_seq: u64,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
}

impl StatusBody {
    /// Returns the document of an order with the messages of its events.
    pub(crate) fn new(order: &Order, logs: Vec<String>) -> Self {
        Self { logs: Some(logs), ..Self::listed(order) }
    }

    /// Returns the document of an order in a list.
    pub(crate) fn listed(order: &Order) -> Self {
        let (request, state) = (&order.request, &order.state);
        let (input, output) = (&request.input, &request.output);
        let price = order.execution_price();
        let amount_out = state.fill().map(|fill| fill.amount_out);
        Self {
            order_id: order.id,
            user_id: request.user_id.clone(),
            client_order_id: request.client_order_id.clone(),
            status: order.status(),
            order_type: "market",
            token_in: input.symbol.clone(),
            token_out: output.symbol.clone(),
            input_token: input.symbol.clone(),
            output_token: output.symbol.clone(),
            amount: request.amount.to_human(input.decimals),
            amount_base_units: request.amount,
            slippage_bps: request.slippage_bps,
            min_out: order.worst_price().map(|worst| worst.to_human(output.decimals)),
            chosen_dex: state.chosen_dex().map(str::to_owned),
            tx_hash: state.tx_id().cloned(),
            execution_price: price.as_deref().and_then(price_number),
            execution_price_exact: price,
            amount_out: amount_out.map(|amount| amount.to_human(output.decimals)),
            amount_out_base_units: amount_out,
            attempt: state.attempt(),
            max_attempts: state.max_attempts(),
            attention: attention(order),
            error: state.failure().map(ErrorBody::new),
            logs: None,
            last_seq: order.seq,
            created_at: order.created_at,
            updated_at: order.updated_at,
            expires_at: order.expires_at(),
        }
    }
}

/// Returns why an operator, or the user, may want to look at an order.
fn attention(order: &Order) -> Option<&'static str> {
    let cancel_requested = || order.state.is_cancel_requested().then_some("cancel-requested");
    order.state.attention().map(Attention::as_str).or_else(cancel_requested)
}
