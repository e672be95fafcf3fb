//! Which of the due orders a claim takes first.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How soon an order's turn comes when more orders are due than workers can take.
///
/// A level is worth a time: a high order is claimed as if it had become due ten minutes earlier, a low one as
/// if ten minutes later. So a high order overtakes what has waited for less than that, and nothing starves.
/// Where workers are free, no order waits for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Priority {
    /// Behind what became due in the ten minutes after it.
    Low,
    /// In the order of becoming due.
    #[default]
    Normal,
    /// Ahead of what became due in the ten minutes before it.
    High,
}

/// What one level is worth.
const LEVEL: Duration = Duration::from_mins(10);

impl Priority {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Returns the fixed text of the level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// Returns how much earlier than its due time the turn of an order comes.
    pub const fn head_start(self) -> Duration {
        match self {
            Self::High => LEVEL,
            Self::Normal | Self::Low => Duration::ZERO,
        }
    }

    /// Returns how long after its acceptance the turn of an order comes at the earliest.
    pub const fn handicap(self) -> Duration {
        match self {
            Self::Low => LEVEL,
            Self::Normal | Self::High => Duration::ZERO,
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
    pub(crate) const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
