//! `GET /api/time`: the server's clock, by which deadlines that are times are kept.

use axum::Json;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::wire::serialize_time;

/// What the clock says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TimeBody {
    #[serde(serialize_with = "serialize_time")]
    time: DateTime<Utc>,
    /// The same in milliseconds since 1970.
    unix_ms: i64,
}

pub(crate) async fn time() -> Json<TimeBody> {
    let time = Utc::now();
    Json(TimeBody { time, unix_ms: time.timestamp_millis() })
}
