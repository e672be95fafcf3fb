//! Endpoints: what users register, and how far delivery to it has come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use order_engine_core::{FeedCursor, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::webhooks::secret::Secrets;
use crate::webhooks::target::TargetUrl;

/// How the text of an endpoint's id begins.
const PREFIX: &str = "wh_";

/// The name of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointId(Uuid);

/// What a user has registered, and how far delivery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    /// Whose events it gets.
    pub(crate) user: UserId,
    pub(crate) created_at: DateTime<Utc>,
    /// Grows with each change by the user.
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    pub(crate) progress: Progress,
}

/// What the user says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) url: TargetUrl,
    /// The kinds of events; all, if it is empty.
    pub(crate) kinds: Vec<String>,
    pub(crate) description: String,
    pub(crate) secrets: Secrets,
    /// Whether the user wants anything to be sent.
    pub(crate) is_on: bool,
}

/// How far delivery has come. Only who holds the endpoint's lease moves it, and the user who starts it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Everything up to here is delivered, or of a kind that is not wanted.
    #[serde(serialize_with = "serialize_cursor", deserialize_with = "deserialize_cursor")]
    pub(crate) cursor: FeedCursor,
    /// How many rounds have failed since the last one that did not.
    pub(crate) failures: u32,
    /// When the first of them did.
    pub(crate) failing_since: Option<DateTime<Utc>>,
    /// When the next one begins.
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// How often each event was tried that has failed.
    pub(crate) tries: BTreeMap<String, u32>,
    /// The code of the last failure.
    pub(crate) last_error: Option<String>,
    pub(crate) last_success_at: Option<DateTime<Utc>>,
    /// Why nothing is sent any more.
    pub(crate) disabled: Option<Disabled>,
}

/// Why the server has given an endpoint up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disabled {
    pub(crate) reason: Reason,
    pub(crate) at: DateTime<Utc>,
}

/// The reasons, by codes that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// It failed for as long as it may.
    FailedTooLong,
    /// The receiver answered 410.
    Gone,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointStatus {
    /// Events are sent, and the last ones were taken.
    Enabled,
    /// Events are sent, and the last ones were not taken.
    Failing,
    /// The server has given it up.
    Disabled,
    /// Its user wants nothing to be sent.
    Off,
}

impl EndpointStatus {
    pub(crate) const ALL: [Self; 4] = [Self::Enabled, Self::Failing, Self::Disabled, Self::Off];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Failing => "failing",
            Self::Disabled => "disabled",
            Self::Off => "off",
        }
    }
}

impl EndpointId {
    /// Makes a name that no other endpoint has.
    pub(crate) fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.simple())
    }
}

/// A text that is no name of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no name of an endpoint")]
pub(crate) struct InvalidId;

impl FromStr for EndpointId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = text.strip_prefix(PREFIX).filter(|hex| hex.len() == 32).ok_or(InvalidId)?;
        Uuid::try_parse(hex).map(Self).map_err(|_| InvalidId)
    }
}

impl Serialize for EndpointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Endpoint {
    /// Returns whether events are sent to it.
    pub(crate) const fn is_enabled(&self) -> bool {
        matches!(self.status(), EndpointStatus::Enabled | EndpointStatus::Failing)
    }

    /// Returns how it is.
    pub(crate) const fn status(&self) -> EndpointStatus {
        if !self.settings.is_on {
            EndpointStatus::Off
        } else if self.progress.disabled.is_some() {
            EndpointStatus::Disabled
        } else if self.progress.failures > 0 {
            EndpointStatus::Failing
        } else {
            EndpointStatus::Enabled
        }
    }
}

impl Progress {
    /// Begins behind a place of the feed.
    pub(crate) const fn after(cursor: FeedCursor) -> Self {
        Self {
            cursor,
            failures: 0,
            failing_since: None,
            next_attempt_at: None,
            tries: BTreeMap::new(),
            last_error: None,
            last_success_at: None,
            disabled: None,
        }
    }
}

fn serialize_cursor<S: Serializer>(cursor: &FeedCursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}

fn deserialize_cursor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FeedCursor, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_text() {
        let id = EndpointId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        let hex = "0123456789abcdef0123456789abcdef";
        for text in ["", "wh_", hex, &format!("wh_{hex}0"), "wh_0123456789abcdef-0123456789abcdef"] {
            assert_eq!(text.parse::<EndpointId>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn progress_comes_back_from_its_text() {
        let mut progress = Progress::after(FeedCursor::end_of(7));
        progress.disabled = Some(Disabled { reason: Reason::FailedTooLong, at: Utc::now() });
        progress.tries.insert("evt".to_owned(), 3);
        let text = serde_json::to_string(&progress).unwrap();
        assert!(text.contains(r#""reason":"failed-too-long""#), "{text}");
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }
}
