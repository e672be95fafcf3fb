//! Amounts of a token, in base units, and their human form.

use std::fmt;
use std::str::FromStr;

use ruint::UintTryFrom;
use ruint::aliases::{U256, U512};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of one token in its base units (lamports for SOL, wei for ether).
///
/// It is an integer everywhere: no decision of the engine passes through a float. In JSON it is a
/// decimal string, because JSON numbers lose precision above 2⁵³ in many readers.
///
/// ```
/// use order_engine_core::{Amount, AmountError};
///
/// let (sol, usdc) = (9, 6); // Their decimals.
/// let sold = Amount::parse_human("1.5", sol)?;
/// assert_eq!(sold, Amount::new(1_500_000_000));
/// assert_eq!(sold.to_human(sol), "1.5");
///
/// // The least that an order accepts of 225 quoted USDC, with half a percent of slippage.
/// let quoted = Amount::parse_human("225", usdc)?;
/// assert_eq!(quoted.less_slippage(50).to_human(usdc), "223.875");
///
/// // Nothing is rounded.
/// assert_eq!(Amount::parse_human("0.1234567", usdc), Err(AmountError::TooPrecise { decimals: 6 }));
/// # Ok::<(), AmountError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// The text is not a plain decimal number.
    #[error("not a decimal number")]
    NotANumber,
    /// The number has more digits after the point than the token has decimals.
    #[error("more than {decimals} digits after the decimal point")]
    TooPrecise {
        /// The decimals of the token.
        decimals: u8,
    },
    /// The number does not fit into 128 bits of base units.
    #[error("too large")]
    TooLarge,
}

impl Amount {
    /// No tokens at all.
    pub const ZERO: Self = Self(0);
    /// The largest amount that can be represented.
    pub const MAX: Self = Self(u128::MAX);

    /// Returns an amount of this many base units.
    pub const fn new(base_units: u128) -> Self {
        Self(base_units)
    }

    /// Returns the number of base units.
    pub const fn base_units(self) -> u128 {
        self.0
    }

    /// Whether this is no tokens at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Parses human units ("1.5") of a token with this many decimals.
    ///
    /// The text may carry a decimal exponent, as JSON numbers do ("1.5e-3").
    ///
    /// # Errors
    /// If the text is no number, is more precise than the token, or does not fit.
    pub fn parse_human(text: &str, decimals: u8) -> Result<Self, AmountError> {
        let (mantissa, exponent) = split_exponent(text)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let has_point = mantissa.contains('.');
        if whole.is_empty() || (has_point && fraction.is_empty()) {
            return Err(AmountError::NotANumber);
        }
        if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let fraction_digits = i64::try_from(fraction.len()).map_err(|_| AmountError::TooLarge)?;
        scale(digits, i64::from(decimals) - fraction_digits + exponent, decimals)
    }

    /// Formats the amount in human units of a token with this many decimals, without trailing zeros.
    pub fn to_human(self, decimals: u8) -> String {
        format_scaled(U256::from(self.0), decimals)
    }

    /// Returns the sum, or nothing if it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Returns the difference, or nothing if it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Returns the least acceptable output: `⌊self · (10 000 − bps) / 10 000⌋`.
    ///
    /// A tolerance of 10 000 bps or more accepts any output.
    pub fn less_slippage(self, slippage_bps: u16) -> Self {
        let keep = 10_000_u32.saturating_sub(u32::from(slippage_bps));
        let product = U256::from(self.0) * U256::from(keep);
        Self((product / U256::from(10_000_u32)).to::<u128>())
    }
}

/// Splits "1.5e-3" into its digits and its exponent; a bare number has exponent 0.
fn split_exponent(text: &str) -> Result<(&str, i64), AmountError> {
    match text.split_once(['e', 'E']) {
        None => Ok((text, 0)),
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            // Six digits are far beyond anything representable and keep the arithmetic small.
            if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(AmountError::NotANumber);
            }
            let exponent = exponent.parse().map_err(|_| AmountError::NotANumber)?;
            Ok((mantissa, exponent))
        }
    }
}

/// Returns the value of `digits · 10^shift`, which must be whole.
fn scale(digits: &str, shift: i64, decimals: u8) -> Result<Amount, AmountError> {
    let mut value = digits.to_owned();
    if shift >= 0 {
        // 39 digits hold every u128; a longer text cannot fit.
        let zeros = usize::try_from(shift).unwrap_or(usize::MAX);
        if value.len().saturating_add(zeros) > 39 {
            return Err(AmountError::TooLarge);
        }
        value.extend(std::iter::repeat_n('0', zeros));
    } else {
        let excess = usize::try_from(-shift).unwrap_or(usize::MAX);
        let kept = value.len().saturating_sub(excess);
        if value[kept..].bytes().any(|b| b != b'0') || excess > value.len() {
            return Err(AmountError::TooPrecise { decimals });
        }
        value.truncate(kept);
    }
    if value.is_empty() {
        return Ok(Amount::ZERO);
    }
    value.parse().map(Amount).map_err(|_| AmountError::TooLarge)
}

/// Writes `value / 10^decimals` without trailing zeros.
fn format_scaled(value: U256, decimals: u8) -> String {
    // Nearly all values are narrow, and narrow ones are written much faster.
    let mut text = u128::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string());
    let decimals = usize::from(decimals);
    let missing = (decimals + 1).saturating_sub(text.len());
    text.insert_str(0, &"0".repeat(missing));
    let point = text.len() - decimals;
    let fraction = text[point..].trim_end_matches('0').len();
    text.truncate(point + fraction);
    if fraction > 0 {
        text.insert(point, '.');
    }
    text
}

/// The digits after the decimal point that [`price`] keeps.
const PRICE_SCALE: u8 = 18;

/// Returns the price of a swap in human units of the output token for one human unit of the input token,
/// as a decimal text cut (never rounded up) after 18 digits.
///
/// Nothing if the input is zero, or if the ratio of the decimals is beyond 256-bit arithmetic.
pub fn price(input: (Amount, u8), output: (Amount, u8)) -> Option<String> {
    let ((amount_in, decimals_in), (amount_out, decimals_out)) = (input, output);
    ratio((U512::from(amount_out.0), decimals_in), (U512::from(amount_in.0), decimals_out))
}

/// `numerator · 10^a / (denominator · 10^b)` as a decimal text cut after 18 digits, or nothing if
/// there is no such number or it does not fit into 256 bits.
pub(crate) fn ratio((numerator, a): (U512, u8), (denominator, b): (U512, u8)) -> Option<String> {
    let shift = i32::from(a) + i32::from(PRICE_SCALE) - i32::from(b);
    let quotient = match narrow_ratio(numerator, denominator, shift) {
        Some(quotient) => U256::from(quotient),
        None => wide_ratio(numerator, denominator, shift)?,
    };
    Some(format_scaled(quotient, PRICE_SCALE))
}

/// `⌊numerator · 10^shift / denominator⌋`, or nothing if 128 bits are too few for it.
fn narrow_ratio(numerator: U512, denominator: U512, shift: i32) -> Option<u128> {
    let numerator = u128::try_from(numerator).ok()?;
    let denominator = u128::try_from(denominator).ok()?;
    let power = 10_u128.checked_pow(shift.unsigned_abs())?;
    if shift < 0 {
        numerator.checked_div(denominator.checked_mul(power)?)
    } else {
        numerator.checked_mul(power)?.checked_div(denominator)
    }
}

/// The same, or nothing if 512 bits are too few for it.
fn wide_ratio(numerator: U512, denominator: U512, shift: i32) -> Option<U256> {
    let power = U512::from(10_u8).checked_pow(U512::from(shift.unsigned_abs()))?;
    let quotient = if shift < 0 {
        numerator.checked_div(denominator.checked_mul(power)?)?
    } else {
        numerator.checked_mul(power)?.checked_div(denominator)?
    };
    U256::uint_try_from(quotient).ok()
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads base units.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        text.parse().map(Self).map_err(|_| AmountError::TooLarge)
    }
}

impl From<u64> for Amount {
    fn from(base_units: u64) -> Self {
        Self(u128::from(base_units))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_human_units_from_their_literal_text() {
        for (text, decimals, expected) in [
            ("1", 9, Ok(1_000_000_000)),
            ("0.1", 9, Ok(100_000_000)),
            ("0.000000001", 9, Ok(1)),
            ("1.50", 1, Ok(15)),
            ("1e3", 0, Ok(1_000)),
            ("1.5e-3", 6, Ok(1_500)),
            ("100e-2", 0, Ok(1)),
            ("0", 9, Ok(0)),
            ("0e999999", 9, Ok(0)),
            ("340282366920938463463374607431768211455", 0, Ok(u128::MAX)),
            ("340282366920938463463374607431768211456", 0, Err(AmountError::TooLarge)),
            ("1e999999", 9, Err(AmountError::TooLarge)),
            ("0.0000000001", 9, Err(AmountError::TooPrecise { decimals: 9 })),
            ("1e-999999", 9, Err(AmountError::TooPrecise { decimals: 9 })),
            ("", 9, Err(AmountError::NotANumber)),
            (".5", 9, Err(AmountError::NotANumber)),
            ("5.", 9, Err(AmountError::NotANumber)),
            ("-1", 9, Err(AmountError::NotANumber)),
            ("+1", 9, Err(AmountError::NotANumber)),
            ("1_000", 9, Err(AmountError::NotANumber)),
            ("1e", 9, Err(AmountError::NotANumber)),
            ("1e+-2", 9, Err(AmountError::NotANumber)),
            ("٣", 9, Err(AmountError::NotANumber)),
            ("NaN", 9, Err(AmountError::NotANumber)),
        ] {
            assert_eq!(Amount::parse_human(text, decimals), expected.map(Amount::new), "{text:?}");
        }
    }

    #[test]
    fn price_is_output_per_input_in_human_units() {
        // 2 SOL (9 decimals) for 301.5 USDC (6 decimals).
        let price = price((Amount::new(2_000_000_000), 9), (Amount::new(301_500_000), 6));
        assert_eq!(price.as_deref(), Some("150.75"));
        assert_eq!(super::price((Amount::ZERO, 9), (Amount::new(1), 6)), None);
        assert_eq!(
            super::price((Amount::new(3), 0), (Amount::new(1), 0)).as_deref(),
            Some("0.333333333333333333")
        );
    }

    #[test]
    fn a_price_beyond_narrow_arithmetic_is_a_price_all_the_same() {
        let most = Amount::MAX;
        assert_eq!(super::price((most, 0), (most, 0)).as_deref(), Some("1"));
        assert_eq!(super::price((Amount::new(1), 0), (most, 0)), Some(most.to_string()));
        assert_eq!(super::price((most, 38), (Amount::new(1), 0)).as_deref(), Some("0.293873587705571876"));
        assert_eq!(super::price((Amount::new(1), 255), (most, 0)), None);
        assert_eq!(super::price((most, 0), (Amount::new(1), 255)), None);
    }

    #[test]
    fn slippage_rounds_down_and_saturates() {
        assert_eq!(Amount::new(999).less_slippage(50), Amount::new(994));
        assert_eq!(Amount::MAX.less_slippage(0), Amount::MAX);
        assert_eq!(Amount::MAX.less_slippage(10_000), Amount::ZERO);
    }

    proptest! {
        #[test]
        fn narrow_arithmetic_gives_what_wide_arithmetic_gives(
            numerator in any::<u64>(), denominator in any::<u64>(), shift in -20_i32..=20,
        ) {
            let (numerator, denominator) = (U512::from(numerator), U512::from(denominator));
            let narrow = narrow_ratio(numerator, denominator, shift);
            prop_assume!(narrow.is_some());
            prop_assert_eq!(narrow.map(U256::from), wide_ratio(numerator, denominator, shift));
        }

        #[test]
        fn human_form_reads_back(units in any::<u128>(), decimals in 0_u8..=24) {
            let amount = Amount::new(units);
            prop_assert_eq!(Amount::parse_human(&amount.to_human(decimals), decimals), Ok(amount));
        }

        #[test]
        fn json_form_reads_back(units in any::<u128>()) {
            let json = serde_json::to_string(&Amount::new(units)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), Amount::new(units));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}", decimals in any::<u8>()) {
            let _ = Amount::parse_human(&text, decimals);
        }
    }
}
