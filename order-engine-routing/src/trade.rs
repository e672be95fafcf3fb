//! Which way a trade goes, and when.

use serde::{Deserialize, Serialize};

/// Which token of a pool goes in, and which comes out.
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

    /// The direction of the trade back.
    pub const fn reversed(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }

    /// Orders what belongs to token a and to token b as what belongs to the input and to the output.
    pub(crate) fn orient<T>(self, a: T, b: T) -> (T, T) {
        match self {
            Self::AToB => (a, b),
            Self::BToA => (b, a),
        }
    }
}

/// A moment on the chain's clock, in seconds since 1970.
///
/// Quotes take it as an argument, because the fee of some pools falls as time passes; no quote reads
/// a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The earliest moment. A pool quoted at it has had no time to lower its fee, so the quote is on
    /// the safe side.
    pub const EARLIEST: Self = Self(0);

    /// The moment so many seconds after the beginning of 1970.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the beginning of 1970.
    pub const fn unix_seconds(self) -> u64 {
        self.0
    }
}
