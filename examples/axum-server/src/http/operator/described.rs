//! The descriptions of the acts. An act is no function, so each is described by one that nobody calls.

#![expect(dead_code, reason = "the functions carry descriptions")]

use utoipa::ToSchema;

use super::order_acts::MadeDueBody;
use super::order_view::ViewBody;
use super::overview::AttentionBody;
use super::pauses::PausesBody;
use super::webhooks::AllWebhooksBody;
use crate::http::cancel::CancelBody;
use crate::http::webhooks::deliveries::{DeliveriesBody, RedeliverySchema};
use crate::webhooks::attempt::Attempt;
use crate::wire::schema;
use crate::wire::status::StatusBody;

/// What an operator knows of the outcome of an order's transaction.
#[derive(ToSchema)]
#[schema(as = Resolution, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct ResolveForm {
    /// `executed`, with the amounts and the height, or `not-executed`.
    outcome: String,
    /// Why, for the history.
    #[schema(min_length = 1, max_length = 500)]
    note: String,
    #[schema(schema_with = schema::optional_human_amount)]
    amount_in: Option<String>,
    #[schema(schema_with = schema::optional_base_units, required = false)]
    amount_in_base_units: Option<String>,
    #[schema(schema_with = schema::optional_human_amount)]
    amount_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units, required = false)]
    amount_out_base_units: Option<String>,
    /// The block.
    height: Option<u64>,
}

/// How long ago an order must have ended to be deleted.
#[derive(ToSchema)]
#[schema(as = PurgeForm, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct PurgeForm {
    #[schema(minimum = 86_400, maximum = 3_153_600_000_u64)]
    older_than_s: u64,
}

/// How many orders were deleted.
#[derive(ToSchema)]
#[schema(as = Purged)]
struct PurgedForm {
    deleted: u64,
}

/// Why everything stops.
#[derive(ToSchema)]
#[schema(as = HaltForm)]
#[serde(deny_unknown_fields)]
struct HaltForm {
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// What is paused: for all orders, or for those of one of a venue, a user, or a pair.
#[derive(ToSchema)]
#[schema(as = PauseForm, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct PauseForm {
    /// `accepting`, `routing` or `sending`.
    activity: String,
    /// Why; only where a pause is set.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
    venue: Option<String>,
    user_id: Option<String>,
    token_in: Option<String>,
    token_out: Option<String>,
}

/// List the orders of all users that need an operator.
#[utoipa::path(get, path = "/api/operator/attention", operation_id = "listAttention", tag = "Operators", params(("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<String>, Query, format = Uuid)), responses((status = 200, description = "A page of orders.", body = AttentionBody)))]
pub(crate) fn attention() {}

/// Get an order with what was signed for it, and on request what its venues have of it.
#[utoipa::path(get, path = "/api/operator/orders/{orderId}", operation_id = "viewOrder", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user."), ("chain" = Option<bool>, Query, description = "Search the venues.")), responses((status = 200, description = "The order, as operators see it.", body = ViewBody)))]
pub(crate) fn view() {}

/// Say what became of a transaction whose outcome the engine does not know.
#[utoipa::path(post, path = "/api/operator/orders/{orderId}/resolve", operation_id = "resolveOrder", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user.")), request_body = ResolveForm, responses((status = 200, description = "The order.", body = StatusBody)))]
pub(crate) fn resolve() {}

/// Make a new order of a failed one.
#[utoipa::path(post, path = "/api/operator/orders/{orderId}/retry", operation_id = "retryOrder", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user.")), responses((status = 201, description = "The new order.", body = StatusBody), (status = 200, description = "The new order, which was made before.", body = StatusBody)))]
pub(crate) fn retry() {}

/// Lift the quarantine of an order.
#[utoipa::path(post, path = "/api/operator/orders/{orderId}/release", operation_id = "releaseOrder", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user.")), responses((status = 200, description = "The order.", body = StatusBody)))]
pub(crate) fn release() {}

/// Make an order due at once that waits.
#[utoipa::path(post, path = "/api/operator/orders/{orderId}/make-due", operation_id = "makeOrderDue", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user.")), responses((status = 200, description = "It is due now.", body = MadeDueBody)))]
pub(crate) fn make_due() {}

/// Cancel an order of whichever user.
#[utoipa::path(post, path = "/api/operator/orders/{orderId}/cancel", operation_id = "cancelAnyOrder", tag = "Operators", params(("orderId" = String, Path, format = Uuid, description = "The order, of whichever user.")), responses((status = 200, description = "The order is cancelled.", body = CancelBody), (status = 202, description = "The order is being cancelled.", body = CancelBody)))]
pub(crate) fn cancel() {}

/// Delete orders that ended long ago.
#[utoipa::path(post, path = "/api/operator/purge", operation_id = "purge", tag = "Operators", request_body = PurgeForm, responses((status = 200, description = "How many were deleted.", body = PurgedForm)))]
pub(crate) fn purge() {}

/// Stop sending and accepting, for everything, in every process on the store.
#[utoipa::path(post, path = "/api/operator/halt", operation_id = "halt", tag = "Operators", request_body = HaltForm, responses((status = 200, description = "What is paused.", body = PausesBody)))]
pub(crate) fn halt() {}

/// Go on after a halt.
#[utoipa::path(post, path = "/api/operator/halt/end", operation_id = "endHalt", tag = "Operators", responses((status = 200, description = "What is paused.", body = PausesBody)))]
pub(crate) fn end_halt() {}

/// Pause an activity.
#[utoipa::path(post, path = "/api/operator/pauses", operation_id = "setPause", tag = "Operators", request_body = PauseForm, responses((status = 200, description = "What is paused.", body = PausesBody)))]
pub(crate) fn set_pause() {}

/// End a pause.
#[utoipa::path(post, path = "/api/operator/pauses/end", operation_id = "endPause", tag = "Operators", request_body = PauseForm, responses((status = 200, description = "What is paused.", body = PausesBody)))]
pub(crate) fn end_pause() {}

/// List the webhooks of all users.
#[utoipa::path(get, path = "/api/operator/webhooks", operation_id = "listAllWebhooks", tag = "Operators", params(("status" = Option<String>, Query, description = "Only those with this status, or one of several with commas between."), ("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before.")), responses((status = 200, description = "A page of webhooks. It may have fewer than were asked for, also where there is a next one.", body = AllWebhooksBody<'_>)))]
pub(crate) fn list_webhooks() {}

/// List what was sent to a webhook of whichever user, the newest first.
#[utoipa::path(get, path = "/api/operator/webhooks/{webhookId}/deliveries", operation_id = "listAnyDeliveries", tag = "Operators", params(("webhookId" = String, Path, description = "The webhook, of whichever user."), ("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<u64>, Query, description = "The `nextCursor` of the page before.")), responses((status = 200, description = "A page of the log.", body = DeliveriesBody)))]
pub(crate) fn list_deliveries() {}

/// Send an event once more to a webhook of whichever user.
#[utoipa::path(post, path = "/api/operator/webhooks/{webhookId}/redeliver", operation_id = "redeliverAny", tag = "Operators", params(("webhookId" = String, Path, description = "The webhook, of whichever user.")), request_body = RedeliverySchema, responses((status = 200, description = "What became of it.", body = Attempt)))]
pub(crate) fn redeliver() {}
