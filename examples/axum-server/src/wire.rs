//! The wire formats: request bodies, documents, frames and problems. Nothing here does I/O.

pub(crate) mod catalogue;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod literal;
pub(crate) mod name;
pub(crate) mod order_form;
pub(crate) mod problem;
pub(crate) mod quotes;
pub(crate) mod schema;
pub(crate) mod status;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Returns a time as every document and frame shows it: RFC 3339, UTC, milliseconds.
pub(crate) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serialises a time with [`timestamp`].
pub(crate) fn serialize_time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&timestamp(*at))
}

/// Serialises an optional time with [`timestamp`].
// serde calls this with a reference to the field, whatever its type.
#[allow(clippy::ref_option)]
pub(crate) fn serialize_optional_time<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize_time(at, serializer),
        None => serializer.serialize_none(),
    }
}
