//! What operators have paused.

use order_engine_core::store::PauseRequest;
use order_engine_core::{Activity, Pause, PauseScope};

use crate::error::Error;
use crate::rows;
use crate::scripts;
use crate::session::Session;

pub(crate) async fn pause(session: &Session, pause: &PauseRequest) -> Result<(), Error> {
    let kept: String = pause.reason.chars().take(PauseRequest::REASON_MAX_CHARS).collect();
    let mut call = session.script(&scripts::PAUSE);
    call.arg(field(pause.activity, &pause.scope)).arg(kept);
    session.write(call).await
}

pub(crate) async fn resume(session: &Session, activity: Activity, scope: &PauseScope) -> Result<bool, Error> {
    let mut delete = redis::cmd("HDEL");
    delete.arg(session.key("pauses")).arg(field(activity, scope));
    session.write(delete).await
}

pub(crate) async fn pauses(session: &Session) -> Result<Vec<Pause>, Error> {
    let mut get = redis::cmd("HGETALL");
    get.arg(session.key("pauses"));
    let stored: Vec<(String, String)> = session.read(get).await?;
    let pauses: Vec<Option<Pause>> =
        stored.into_iter().map(|(field, value)| stored_pause(&field, &value)).collect::<Result<_, _>>()?;
    let mut known: Vec<Pause> = pauses.into_iter().flatten().collect();
    known.sort_by(|one, other| (one.activity, &one.scope).cmp(&(other.activity, &other.scope)));
    Ok(known)
}

/// Returns the field of a pause: its activity, a space, and its scope as JSON.
fn field(activity: Activity, scope: &PauseScope) -> String {
    format!("{activity} {}", scope.to_json())
}

/// Decodes a pause: its value is since when it is paused, a space, and the reason. Returns nothing for one that
/// only a newer program knows.
fn stored_pause(field: &str, value: &str) -> Result<Option<Pause>, Error> {
    let Some((activity, scope)) = field.split_once(' ') else { return Ok(None) };
    let (since_ms, reason) = value.split_once(' ').unwrap_or((value, ""));
    let since = rows::time_of(since_ms, "since")?;
    Ok(Pause::from_stored(activity, scope, reason.to_owned(), since))
}
