//! What became of one request, as the log of an endpoint has it.

use chrono::{DateTime, Utc};
use order_engine_core::OrderId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::wire::serialize_time;

/// One request to a receiver, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(crate) struct Attempt {
    /// The event, under the name that the receiver gets: `webhook-id`.
    pub(crate) event_id: String,
    /// The kind of the event.
    pub(crate) r#type: String,
    /// The order of the event; a test has none.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub(crate) order_id: Option<OrderId>,
    /// The number of the event in its order.
    pub(crate) seq: Option<u64>,
    pub(crate) trigger: Trigger,
    /// How often the event was tried by itself, with this time; 1 for what a user asks for.
    #[serde(rename = "attempt")]
    pub(crate) tries: u32,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: DateTime<Utc>,
    /// The status that the receiver answered.
    pub(crate) status: Option<u16>,
    /// A stable code, if it failed: the event is delivered if there is none.
    pub(crate) error: Option<String>,
    pub(crate) duration_ms: u64,
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Trigger {
    /// The event happened.
    Event,
    /// The user asked for the event again.
    Redelivery,
    /// The user tries the endpoint.
    Test,
}

impl Attempt {
    pub(crate) const fn is_delivered(&self) -> bool {
        self.error.is_none()
    }
}
