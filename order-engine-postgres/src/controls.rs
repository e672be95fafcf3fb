//! What operators have paused.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::store::PauseRequest;
use order_engine_core::{Activity, Pause, PauseScope};
use sqlx::{Arguments, Row};

use crate::error::Error;
use crate::rows::readable;
use crate::session::{Operation, Session};

pub(crate) struct SetPause<'a>(pub(crate) &'a PauseRequest);
pub(crate) struct Resume<'a>(pub(crate) Activity, pub(crate) &'a PauseScope);
pub(crate) struct Pauses;

#[async_trait]
impl Operation for SetPause<'_> {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let PauseRequest { activity, scope, reason, .. } = self.0;
        let reason: String = reason.chars().take(PauseRequest::REASON_MAX_CHARS).collect();
        let text = Arc::clone(&session.sql.controls.pause);
        session
            .fetch(&text, |arguments| {
                arguments.add(activity.as_str())?;
                arguments.add(scope.to_json())?;
                arguments.add(readable(&reason))
            })
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Operation for Resume<'_> {
    type Output = bool;

    async fn run(&self, session: &mut Session<'_>) -> Result<bool, Error> {
        let text = Arc::clone(&session.sql.controls.resume);
        let resumed = session
            .fetch(&text, |arguments| {
                arguments.add(self.0.as_str())?;
                arguments.add(self.1.to_json())
            })
            .await?;
        Ok(!resumed.is_empty())
    }
}

#[async_trait]
impl Operation for Pauses {
    type Output = Vec<Pause>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        let text = Arc::clone(&session.sql.controls.pauses);
        let mut pauses = Vec::new();
        for row in session.fetch(&text, |_| Ok(())).await? {
            let (activity, scope) = (row.try_get("activity")?, row.try_get("scope")?);
            let (reason, since) = (row.try_get("reason")?, row.try_get("since")?);
            // A newer program obeys what only it knows.
            pauses.extend(Pause::from_stored(activity, scope, reason, since));
        }
        pauses.sort_by(|a, b| (a.activity, &a.scope).cmp(&(b.activity, &b.scope)));
        Ok(pauses)
    }
}
