//! What was sent to an endpoint, and what a user has sent to it now.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use chrono::Utc;
use order_engine_core::{OrderHead, OrderId};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::path::{EndpointInPath, webhooks};
use crate::app::AppState;
use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::http::params::{Params, parse_order_id};
use crate::store_watch::Part;
use crate::webhooks::attempt::{Attempt, Trigger};
use crate::webhooks::client::REQUEST_TIME_MAX;
use crate::webhooks::endpoint::{Endpoint, EndpointId};
use crate::webhooks::message::Message;
use crate::wire::fields::{Fields, ValueError, plain};
use crate::wire::problem::Problem;

/// How many entries a page has if the client gives no limit.
const PAGE: u32 = 50;
/// How many entries a page has at most.
const PAGE_MAX: u32 = 200;
/// How long a client waits for its request to begin, while those of others are under way.
const WAIT: Duration = Duration::from_secs(2);

/// The schema of a request to send an event once more.
#[derive(ToSchema)]
#[schema(as = Redelivery, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct RedeliverySchema {
    #[schema(format = Uuid)]
    order_id: String,
    /// The number of the event among the order's.
    seq: u64,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deliveries)]
pub(crate) struct DeliveriesBody {
    deliveries: Vec<Attempt>,
    /// Where the next page begins; `null` for the last page.
    next_cursor: Option<u64>,
}

/// List what was sent to a webhook, the newest first.
#[utoipa::path(
    get,
    path = "/api/webhooks/{webhookId}/deliveries",
    operation_id = "listDeliveries",
    tag = "Webhooks",
    params(
        ("webhookId" = String, Path, description = "The webhook."),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 unless said."),
        ("cursor" = Option<u64>, Query, description = "The `nextCursor` of the page before."),
    ),
    responses((status = 200, description = "A page of the log.", body = DeliveriesBody)),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
    params: Params,
) -> Result<Json<DeliveriesBody>, Problem> {
    let asked = LogPage::read(params)?;
    asked.of(&app, endpoint.id).await.map(Json)
}

/// Which page of a log a request asks for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LogPage {
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
}

impl LogPage {
    pub(crate) fn read(params: Params) -> Result<Self, Problem> {
        let params = params.only(&["limit", "cursor"])?;
        Ok(Self { limit: params.limit(PAGE, PAGE_MAX)?, cursor: params.number("cursor")? })
    }

    /// Returns the page of the log of an endpoint.
    pub(crate) async fn of(self, app: &AppState, id: EndpointId) -> Result<DeliveriesBody, Problem> {
        let limit = self.limit as usize;
        // One entry more than the page has shows whether there is a next page.
        let read = webhooks(app)?.store.attempts(id, self.cursor, limit + 1);
        let mut entries = app.store_watch.in_time(Part::Reads, read).await?;
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let next_cursor = entries.last().filter(|_| has_more).map(|(number, _)| *number);
        Ok(DeliveriesBody {
            deliveries: entries.into_iter().map(|(_, attempt)| attempt).collect(),
            next_cursor,
        })
    }
}

/// Send a test, also to a webhook that is off.
#[utoipa::path(
    post,
    path = "/api/webhooks/{webhookId}/test",
    operation_id = "testWebhook",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    responses((status = 200, description = "What became of it.", body = Attempt)),
)]
pub(crate) async fn test(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
) -> Result<Json<Attempt>, Problem> {
    let message = Message::test(endpoint.id, Utc::now());
    send(&app, &endpoint, &message, Trigger::Test).await.map(Json)
}

/// Send an event once more.
#[utoipa::path(
    post,
    path = "/api/webhooks/{webhookId}/redeliver",
    operation_id = "redeliver",
    tag = "Webhooks",
    params(("webhookId" = String, Path, description = "The webhook.")),
    request_body = RedeliverySchema,
    responses((status = 200, description = "What became of it.", body = Attempt)),
)]
pub(crate) async fn redeliver(
    State(app): State<AppState>,
    EndpointInPath(endpoint): EndpointInPath,
    request: Request,
) -> Result<Json<Attempt>, Problem> {
    let (parts, body) = request.into_parts();
    let fields = read_fields(&parts.headers, body, BODY_BYTES_MAX).await?;
    let event = EventName::read(fields)?;
    event.send(&app, &endpoint).await.map(Json)
}

/// Which event shall be sent once more.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventName {
    order_id: OrderId,
    seq: u64,
}

impl EventName {
    pub(crate) fn read(mut fields: Fields) -> Result<Self, Problem> {
        for field in ["orderId", "seq"] {
            if !fields.has(field) {
                fields.reject(field, "required", "The field is required.");
            }
        }
        let order_id = fields.read("orderId", order_id);
        let seq: Option<u64> = fields.read("seq", |value| plain(value, "a whole number"));
        fields.finish()?;
        let (Some(order_id), Some(seq)) = (order_id, seq) else { return Err(Problem::order_not_found()) };
        Ok(Self { order_id, seq })
    }

    /// Sends the event to an endpoint, if it is one of the endpoint's user.
    pub(crate) async fn send(self, app: &AppState, endpoint: &Endpoint) -> Result<Attempt, Problem> {
        let message = self.message(app, endpoint).await?.ok_or_else(Problem::order_not_found)?;
        send(app, endpoint, &message, Trigger::Redelivery).await
    }

    async fn message(self, app: &AppState, endpoint: &Endpoint) -> Result<Option<Message>, Problem> {
        let Self { order_id, seq } = self;
        let Some(before) = seq.checked_sub(1) else { return Ok(None) };
        let order = app.store_watch.in_time(Part::Reads, app.engine.order(order_id)).await?;
        let Some(order) = order.filter(|order| order.request.user_id == endpoint.user) else {
            return Ok(None);
        };
        let events = app.store_watch.in_time(Part::Reads, app.engine.events(order_id, before, 1)).await?;
        let Some(event) = events.first().filter(|event| event.seq == seq) else { return Ok(None) };
        let head = OrderHead::new(order.id, order.request.clone(), order.origin, order.created_at);
        Ok(Some(Message::of_event(&head, event)))
    }
}

fn order_id(value: &RawValue) -> Result<OrderId, ValueError> {
    let text: String = plain(value, "a string")?;
    parse_order_id(&text).ok_or_else(|| ValueError::invalid("Must be the id of an order."))
}

async fn send(
    app: &AppState,
    endpoint: &Endpoint,
    message: &Message,
    trigger: Trigger,
) -> Result<Attempt, Problem> {
    let webhooks = webhooks(app)?;
    let attempt = webhooks.asked.attempt(&endpoint.settings, message, trigger, 1);
    let (attempt, _) = timeout(WAIT + REQUEST_TIME_MAX, attempt).await.map_err(|_| {
        Problem::unavailable("too-many-attempts", "Too many such requests are under way. Try again.")
    })?;
    app.store_watch.in_time(Part::Writes, webhooks.store.log(endpoint.id, &attempt)).await?;
    Ok(attempt)
}
