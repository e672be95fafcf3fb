//! The direction and the moment of a trade.

use serde::{Deserialize, Serialize};

/// The direction of a trade: which token of a pool goes in, and which comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Token a goes in, token b comes out.
    AToB,
    /// Token b goes in, token a comes out.
    BToA,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// Returns the opposite direction.
    pub const fn reversed(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }

    /// Takes a value of token a and a value of token b, and returns the input's first and the output's
    /// second.
    pub(crate) fn orient<T>(self, a: T, b: T) -> (T, T) {
        match self {
            Self::AToB => (a, b),
            Self::BToA => (b, a),
        }
    }
}

/// A moment on the chain's clock, in seconds since 1970.
///
/// Quotes take it as an argument, because the fee of some pools falls with time, and no quote reads a
/// clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The earliest moment. A pool quoted at it has had no time to lower its fee, so the quote is
    /// conservative.
    pub const EARLIEST: Self = Self(0);

    /// Returns the moment that is `seconds` after the beginning of 1970, UTC.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the seconds since the beginning of 1970, UTC.
    pub const fn unix_seconds(self) -> u64 {
        self.0
    }
}
