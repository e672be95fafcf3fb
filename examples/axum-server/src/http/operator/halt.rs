//! The kill switch: it stops accepting and sending, for everything, in every process on the store.

use axum::Json;
use axum::response::{IntoResponse, Response};
use order_engine_core::{Activity, PauseScope};
use serde::Serialize;

use super::act::{Act, Asked, Kind};
use super::pauses::{listed, read_reason};
use crate::app::AppState;
use crate::store_watch::Part;
use crate::wire::problem::Problem;

/// What is stopped, in the order in which it is: sending first, because it moves money. It ends in the same order, so
/// that no order is accepted before it can be executed.
const STOPPED: [Activity; 2] = [Activity::Sending, Activity::Accepting];

/// `POST /api/operator/halt`.
#[derive(Debug, Serialize)]
pub(crate) struct Halt {
    reason: String,
}

/// `POST /api/operator/halt/end`.
#[derive(Debug, Serialize)]
pub(crate) struct EndHalt {}

impl Act for Halt {
    const NAME: &'static str = "halt";
    const KIND: Kind = Kind::Stop;

    async fn read(_: &AppState, mut asked: Asked) -> Result<Self, Problem> {
        let reason = read_reason(&mut asked.fields);
        asked.finish()?;
        // A missing reason has an error, so there is none missing here.
        Ok(Self { reason: reason.ok_or_else(|| Problem::invalid(Vec::new()))? })
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        for activity in STOPPED {
            let pause = app.engine.pause(activity, PauseScope::All, self.reason.as_str());
            app.store_watch.in_time(Part::Writes, pause).await?;
        }
        Ok(Json(listed(app).await?).into_response())
    }
}

impl Act for EndHalt {
    const NAME: &'static str = "end-halt";
    const KIND: Kind = Kind::Change;

    async fn read(_: &AppState, asked: Asked) -> Result<Self, Problem> {
        asked.finish()?;
        Ok(Self {})
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        for activity in STOPPED {
            let resume = app.engine.resume(activity, &PauseScope::All);
            app.store_watch.in_time(Part::Writes, resume).await?;
        }
        Ok(Json(listed(app).await?).into_response())
    }
}
