//! `GET /api/time`: the server's clock, by which deadlines that are times are kept.

use axum::Json;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::serialize_time;

/// What the clock says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Time)]
pub(crate) struct TimeBody {
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    time: DateTime<Utc>,
    /// The same in milliseconds since 1970.
    unix_ms: i64,
}

/// Get the time of the server's clock, by which deadlines are kept.
#[utoipa::path(
    get,
    path = "/api/time",
    operation_id = "getTime",
    tag = "Market",
    responses((status = 200, description = "The time.", body = TimeBody)),
)]
pub(crate) async fn time() -> Json<TimeBody> {
    let time = Utc::now();
    Json(TimeBody { time, unix_ms: time.timestamp_millis() })
}
