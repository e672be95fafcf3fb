//! `POST /api/operator/purge`: deletes orders that ended long ago.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::act::{Act, Asked, Kind};
use crate::app::AppState;
use crate::wire::fields::ValueError;
use crate::wire::literal::Literal;
use crate::wire::problem::Problem;

/// How long ago an order must have ended: a day at least, so that nobody deletes what is being looked into, and a
/// hundred years at most.
const OLDER_THAN_S: RangeInclusive<u64> = 86_400..=3_153_600_000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Purge {
    older_than_s: u64,
}

#[derive(Debug, Serialize)]
struct PurgedBody {
    deleted: u64,
}

impl Act for Purge {
    const NAME: &'static str = "purge";
    const KIND: Kind = Kind::Change;

    async fn read(_: &AppState, mut asked: Asked) -> Result<Self, Problem> {
        let fields = &mut asked.fields;
        if !fields.has("olderThanS") {
            fields.reject("olderThanS", "required", "The field is required.");
        }
        let older_than_s = fields.read("olderThanS", |value| {
            let whole = Literal::from_json(value).and_then(|literal| literal.whole());
            whole.filter(|seconds| OLDER_THAN_S.contains(seconds)).ok_or_else(|| {
                let message = format!(
                    "Must be a whole number of seconds, {} to {}.",
                    OLDER_THAN_S.start(),
                    OLDER_THAN_S.end()
                );
                ValueError::new("out-of-range", message)
            })
        });
        asked.finish()?;
        // A missing number has an error, so there is none missing here.
        Ok(Self { older_than_s: older_than_s.ok_or_else(|| Problem::invalid(Vec::new()))? })
    }

    /// It takes as long as there are orders to walk, and goes on if the client does not wait. One at a time is enough.
    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let Ok(_turn) = app.purging.try_lock() else {
            let detail = "Orders are being deleted already.";
            return Err(Problem::new(StatusCode::CONFLICT, "purge-running", detail));
        };
        let deleted = app.engine.purge(Duration::from_secs(self.older_than_s)).await?;
        Ok(Json(PurgedBody { deleted }).into_response())
    }
}
