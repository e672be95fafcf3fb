//! What operators have paused.

use async_trait::async_trait;
use order_engine_core::store::PauseRequest;
use order_engine_core::{Activity, Pause, PauseScope};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::error::Error;
use crate::rows::{parse, time_text};
use crate::session::{Operation, Session};
use crate::sql;
use crate::values::Arguments;

pub(crate) struct PauseActivity(pub(crate) PauseRequest);
pub(crate) struct Resume {
    pub(crate) activity: Activity,
    pub(crate) scope: PauseScope,
}

#[async_trait]
impl Operation for PauseActivity {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let Self(PauseRequest { activity, scope, reason, .. }) = self;
        let kept: String = reason.chars().take(PauseRequest::REASON_MAX_CHARS).collect();
        let pause = Arguments::default()
            .with(activity.as_str())
            .with(scope.to_json())
            .with(kept)
            .with(time_text(session.now));
        session.database.execute(sql::PAUSE, pause).await?;
        Ok(())
    }
}

#[async_trait]
impl Operation for Resume {
    type Output = bool;

    async fn run(&self, session: &mut Session<'_>) -> Result<bool, Error> {
        let resume = Arguments::default().with(self.activity.as_str()).with(self.scope.to_json());
        Ok(session.database.execute(sql::RESUME, resume).await? > 0)
    }
}

pub(crate) async fn pauses(pool: &SqlitePool) -> Result<Vec<Pause>, Error> {
    let found = sqlx::query(sql::PAUSES).fetch_all(pool).await?;
    let pauses: Vec<Option<Pause>> = found.iter().map(pause).collect::<Result<_, _>>()?;
    let mut known: Vec<Pause> = pauses.into_iter().flatten().collect();
    known.sort_by(|a, b| (a.activity, &a.scope).cmp(&(b.activity, &b.scope)));
    Ok(known)
}

/// Returns the pause of a row; nothing for one that only a newer program knows.
fn pause(row: &SqliteRow) -> Result<Option<Pause>, Error> {
    let since = parse(row.try_get("since")?, "since")?;
    let (activity, scope) = (row.try_get("activity")?, row.try_get("scope")?);
    Ok(Pause::from_stored(activity, scope, row.try_get("reason")?, since))
}
