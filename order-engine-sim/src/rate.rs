use std::fmt;
use std::str::FromStr;

/// How often something happens, in millionths. It is read from decimal text and never a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

/// A text or number that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is a decimal number between 0 and 1 with at most 6 digits after the point, or such a percentage"
)]
pub struct InvalidRate;

impl Rate {
    /// It never happens.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many millionths; nothing if that is more than always.
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::ALWAYS.0 { Some(Self(ppm)) } else { None }
    }

    /// So many percent; nothing if that is more than a hundred.
    pub const fn from_percent(percent: u32) -> Option<Self> {
        if percent <= 100 { Some(Self(percent * 10_000)) } else { None }
    }

    /// The rate in millionths.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Whether it never happens.
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    /// Reads "0.05" or "5%".
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (number, digits) = match text.strip_suffix('%') {
            Some(percent) => (percent, 4),
            None => (text, 6),
        };
        let millionths =
            order_engine_core::Amount::parse_human(number, digits).map_err(|_| InvalidRate)?.base_units();
        u32::try_from(millionths).ok().and_then(Self::from_ppm).ok_or(InvalidRate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&order_engine_core::Amount::from(u64::from(self.0)).to_human(6))
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
