//! What operators have paused.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::ids::{UserId, VenueName};
use crate::ports::order_store::error::StoreError;

/// Keeps what is paused, for all processes on the store.
///
/// # Contract
/// - A pause lasts until it is resumed: it survives what an order survives, and is the same for all processes.
/// - Calls end in bounded time, may be dropped, and fail as those of an [`OrderStore`](crate::OrderStore) do.
#[async_trait]
pub trait Controls: fmt::Debug + Send + Sync + 'static {
    /// Pauses an activity within a scope. What is paused already gets the new reason and keeps its time.
    async fn pause(&self, pause: &PauseRequest) -> Result<(), StoreError>;

    /// Ends a pause. Returns whether there was one.
    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError>;

    /// Returns what is paused, in the order of activities and scopes.
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError>;
}

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activity {
    /// Accepting new orders: they are refused.
    Accepting,
    /// Asking for routes: orders wait before it.
    Routing,
    /// Signing and sending transactions: orders wait before it. What was sent goes on being observed.
    Sending,
}

impl Activity {
    /// All activities, in the order of an order's life.
    pub const ALL: [Self; 3] = [Self::Accepting, Self::Routing, Self::Sending];

    /// Returns the fixed text of the activity.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Routing => "routing",
            Self::Sending => "sending",
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// For which orders an activity is paused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "value")]
#[non_exhaustive]
pub enum PauseScope {
    /// For all orders.
    All,
    /// For routes over the venue with this name. Accepting orders is paused by it where the engine has no other
    /// venue.
    Venue(VenueName),
    /// For orders that sell one token for another, by the tokens' addresses.
    Pair {
        /// The token that is sold.
        input: String,
        /// The token that is bought.
        output: String,
    },
    /// For the orders of a user.
    User(UserId),
}

impl PauseScope {
    /// Returns the scope as stores keep it: a JSON text, the same for the same scope.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the scope that a store has kept; nothing for one that only a newer program knows.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// What to pause, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PauseRequest {
    /// What is paused.
    pub activity: Activity,
    /// For which orders.
    pub scope: PauseScope,
    /// Why, for people. At most [`PauseRequest::REASON_MAX_CHARS`] characters are kept.
    pub reason: String,
}

impl PauseRequest {
    /// How many characters of a reason are kept.
    pub const REASON_MAX_CHARS: usize = 500;

    /// Returns a request to pause an activity within a scope, for a reason.
    pub fn new(activity: Activity, scope: PauseScope, reason: impl Into<String>) -> Self {
        Self { activity, scope, reason: reason.into() }
    }
}

/// What is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// What is paused.
    pub activity: Activity,
    /// For which orders.
    pub scope: PauseScope,
    /// Why.
    pub reason: String,
    /// Since when, on the store's clock.
    pub since: DateTime<Utc>,
}

impl Pause {
    /// Puts a pause together from what a store keeps: the texts of [`Activity::as_str`] and
    /// [`PauseScope::to_json`]. Returns nothing for what only a newer program knows.
    pub fn from_stored(activity: &str, scope: &str, reason: String, since: DateTime<Utc>) -> Option<Self> {
        let activity = Activity::ALL.into_iter().find(|known| known.as_str() == activity)?;
        Some(Self { activity, scope: PauseScope::from_json(scope)?, reason, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_comes_back_from_its_text() {
        let scopes = [
            (PauseScope::All, r#"{"kind":"all"}"#),
            (PauseScope::Venue("sim".into()), r#"{"kind":"venue","value":"sim"}"#),
            (
                PauseScope::Pair { input: "a".into(), output: "b".into() },
                r#"{"kind":"pair","value":{"input":"a","output":"b"}}"#,
            ),
            (PauseScope::User("alice".into()), r#"{"kind":"user","value":"alice"}"#),
        ];
        for (scope, json) in scopes {
            assert_eq!(scope.to_json(), json);
            assert_eq!(PauseScope::from_json(json), Some(scope));
        }
        assert_eq!(PauseScope::from_json(r#"{"kind":"galaxy"}"#), None);
    }
}
