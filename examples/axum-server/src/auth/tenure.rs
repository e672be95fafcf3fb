//! For how long a credential holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, Either, Pending, pending};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::auth::key_file::ApiKey;

/// The API keys of the file, by their ids.
pub(crate) type KeyTable = Arc<HashMap<String, ApiKey>>;

/// How long to wait for a time at most before the clock is read again: it may be set meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// For how long a credential holds: until a time, and while its key is not revoked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenure {
    until: Option<DateTime<Utc>>,
    key: Option<KeyWatch>,
}

#[derive(Clone, Debug)]
struct KeyWatch {
    id: Arc<str>,
    table: watch::Receiver<KeyTable>,
}

impl Tenure {
    /// Returns the tenure of a token.
    pub(crate) const fn until(until: DateTime<Utc>) -> Self {
        Self { until: Some(until), key: None }
    }

    /// Returns the tenure of an API key.
    pub(crate) fn of_key(key: &ApiKey, table: watch::Receiver<KeyTable>) -> Self {
        Self { until: key.expires_at, key: Some(KeyWatch { id: key.id.as_str().into(), table }) }
    }

    /// Returns until when it holds at most, if there is such a time.
    pub(crate) const fn end(&self) -> Option<DateTime<Utc>> {
        self.until
    }

    /// Returns the id of its API key, if it has one.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| &*key.id)
    }

    fn holds_at(&self, now: DateTime<Utc>) -> bool {
        let is_valid = |key: &KeyWatch| {
            let table = key.table.borrow();
            table.get(&*key.id).is_some_and(|key| key.is_valid_at(now))
        };
        self.until.is_none_or(|until| now < until) && self.key.as_ref().is_none_or(is_valid)
    }

    /// Waits until the credential does not hold any more. What holds for ever takes no memory of its stream.
    pub(crate) fn ended(self) -> Either<Pending<()>, BoxFuture<'static, ()>> {
        if self.until.is_none() && self.key.is_none() {
            return Either::Left(pending());
        }
        Either::Right(Box::pin(self.end_comes()))
    }

    async fn end_comes(mut self) {
        loop {
            let now = Utc::now();
            if let Some(key) = &mut self.key {
                key.table.mark_unchanged();
            }
            if !self.holds_at(now) {
                return;
            }
            let wait = self.until.map(|until| (until - now).to_std().unwrap_or_default().min(WAIT_MAX));
            tokio::select! {
                () = wait_for(wait) => {}
                () = changed(self.key.as_mut()) => {}
            }
        }
    }
}

async fn wait_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// Waits until the keys change.
async fn changed(key: Option<&mut KeyWatch>) {
    let Some(key) = key else { return pending().await };
    // An error means that nothing watches the file any more.
    if key.table.changed().await.is_err() {
        pending::<()>().await;
    }
}
