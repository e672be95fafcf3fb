//! What a receiver gets: an event in the form of the live stream, in the envelope of the Standard Webhooks specification.

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use order_engine_core::{ClientOrderId, EventRecord, OrderHead, OrderId, UserId};
use serde::Serialize;
use uuid::Uuid;

use crate::webhooks::endpoint::EndpointId;
use crate::webhooks::kinds::{TEST, kind_of};
use crate::wire::frame::{Frame, frame, frame_type, to_json};
use crate::wire::quotes::Decimals;
use crate::wire::serialize_time;

/// A message for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The name of the event, the same for every attempt and every endpoint: `webhook-id`.
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) event: Option<(OrderId, u64)>,
    pub(crate) body: Bytes,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    r#type: &'a str,
    #[serde(serialize_with = "serialize_time")]
    timestamp: DateTime<Utc>,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData<'a> {
    user_id: &'a UserId,
    client_order_id: Option<&'a ClientOrderId>,
    #[serde(flatten)]
    frame: Frame<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TestData {
    endpoint_id: EndpointId,
    message: &'static str,
}

/// Returns the kind of an event.
pub(crate) fn kind(record: &EventRecord) -> String {
    kind_of(frame_type(record))
}

impl Message {
    /// Returns the message about an event.
    pub(crate) fn of_event(order: &OrderHead, record: &EventRecord) -> Self {
        let kind = kind(record);
        let request = &order.request;
        let data = EventData {
            user_id: &request.user_id,
            client_order_id: request.client_order_id.as_ref(),
            frame: frame(Decimals::of(request), record),
        };
        let body = to_json(&Envelope { r#type: &kind, timestamp: record.at, data });
        let id = format!("evt_{}_{}", order.id.as_uuid().simple(), record.seq);
        Self { id, event: Some((order.id, record.seq)), body: body.into(), kind }
    }

    /// Returns a message by which a user tries an endpoint.
    pub(crate) fn test(endpoint: EndpointId, now: DateTime<Utc>) -> Self {
        let data = TestData { endpoint_id: endpoint, message: "This is a test." };
        let body = to_json(&Envelope { r#type: TEST, timestamp: now, data });
        let id = format!("test_{}", Uuid::new_v4().simple());
        Self { id, event: None, body: body.into(), kind: TEST.to_owned() }
    }
}
