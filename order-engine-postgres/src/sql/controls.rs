//! What operators ask of the store: the time, whether it takes writes, what is paused.

use std::sync::Arc;

use super::settings::{CLOCK, DURABLE_IN, STATEMENT_TIME};
use super::text::qualified;

/// The statements for operators.
#[derive(Debug)]
pub(crate) struct ControlsSql {
    pub(crate) now: Arc<str>,
    pub(crate) check: Arc<str>,
    pub(crate) pause: Arc<str>,
    pub(crate) resume: Arc<str>,
    pub(crate) pauses: Arc<str>,
}

impl ControlsSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
            now: text(&format!("SELECT {CLOCK} AS now")),
            check: text(&format!(
                "INSERT INTO @writable (id, checked_at) VALUES (1, {STATEMENT_TIME})
                ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at"
            )),
            pause: text(&format!(
                "INSERT INTO @pauses (activity, scope, reason, since)
                SELECT $1::text, $2::text, $3::text, {CLOCK} WHERE {DURABLE_IN}
                ON CONFLICT (activity, scope) DO UPDATE SET reason = excluded.reason"
            )),
            resume: text(&format!(
                "DELETE FROM @pauses WHERE activity = $1 AND scope = $2 AND {DURABLE_IN} RETURNING activity"
            )),
            pauses: text("SELECT activity, scope, reason, since FROM @pauses"),
        }
    }
}
