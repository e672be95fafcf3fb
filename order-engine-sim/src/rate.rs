//! The frequency of random events.

use std::fmt;
use std::str::FromStr;

use order_engine_core::Amount;

/// The frequency of an event, in millionths. It is parsed from decimal text and is never a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

/// The error of a text that is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is a decimal number between 0 and 1 with at most 6 digits after the point, or such a percentage"
)]
pub struct InvalidRate;

impl Rate {
    /// The rate of an event that never happens.
    pub const NEVER: Self = Self(0);
    /// The rate of an event that always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// Returns a rate in millionths, or `None` if it is above one.
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::ALWAYS.0 { Some(Self(ppm)) } else { None }
    }

    /// Returns a rate in percent, or `None` if it is above a hundred.
    pub const fn from_percent(percent: u32) -> Option<Self> {
        if percent <= 100 { Some(Self(percent * 10_000)) } else { None }
    }

    /// Returns the rate in millionths.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Returns whether the event never happens.
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    /// Parses a number like "0.05" or a percentage like "5%".
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (number, digits) = match text.strip_suffix('%') {
            Some(percent) => (percent, 4),
            None => (text, 6),
        };
        let millionths = Amount::parse_human(number, digits).map_err(|_| InvalidRate)?.base_units();
        u32::try_from(millionths).ok().and_then(Self::from_ppm).ok_or(InvalidRate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Amount::from(u64::from(self.0)).to_human(6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fractions_and_percentages() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.05", Some(50_000)),
            ("5%", Some(50_000)),
            ("0.5%", Some(5_000)),
            ("1", Some(1_000_000)),
            ("100%", Some(1_000_000)),
            ("0.000001", Some(1)),
            ("1.000001", None),
            ("101%", None),
            ("0.0000001", None),
            ("-0.1", None),
            ("NaN", None),
            ("", None),
            ("%", None),
        ] {
            assert_eq!(text.parse::<Rate>().ok().map(Rate::ppm), expected, "{text:?}");
        }
        assert_eq!(Rate::from_percent(5).unwrap().to_string(), "0.05");
        assert_eq!(Rate::from_percent(101), None);
    }
}
