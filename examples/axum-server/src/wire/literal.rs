//! Numbers by their literal text, so that no amount is ever a float.

use order_engine_core::{Amount, AmountError};
use serde_json::value::RawValue;

/// The literal text of a JSON number, or the content of a JSON string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal(String);

impl Literal {
    /// Returns the text of a JSON number or a JSON string, or `None` for any other value.
    pub(crate) fn from_json(value: &RawValue) -> Option<Self> {
        let text = value.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(Self),
            b'-' | b'0'..=b'9' => Some(Self(text.to_owned())),
            _ => None,
        }
    }

    /// Returns the number times `10^decimals`, which must be whole.
    pub(crate) fn scaled(&self, decimals: u8) -> Result<Amount, AmountError> {
        Amount::parse_human(&self.0, decimals)
    }

    /// Returns whether the text is a number below zero, which gets another message than a text that is no
    /// number.
    pub(crate) fn is_negative(&self) -> bool {
        let is_number = |text| !matches!(Amount::parse_human(text, 0), Err(AmountError::NotANumber));
        self.0.strip_prefix('-').is_some_and(is_number)
    }

    /// Returns the number if it is whole and fits into the type.
    pub(crate) fn whole<N: TryFrom<u128>>(&self) -> Option<N> {
        N::try_from(self.scaled(0).ok()?.base_units()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(json: &str) -> Option<Literal> {
        Literal::from_json(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn numbers_and_strings_keep_their_digits() {
        for json in ["0.1", "\"0.1\"", "1e-1", "0.10"] {
            assert_eq!(literal(json).unwrap().scaled(9), Ok(Amount::new(100_000_000)), "{json}");
        }
        // As a 64-bit float this is 9007199254740992.
        assert_eq!(literal("9007199254740993").unwrap().scaled(0), Ok(Amount::new(9_007_199_254_740_993)));
    }

    #[test]
    fn other_values_are_not_numbers() {
        for json in ["true", "null", "[1]", "{\"a\":1}"] {
            assert_eq!(literal(json), None, "{json}");
        }
        assert!(literal("\"abc\"").unwrap().scaled(9).is_err());
    }

    #[test]
    fn negative_numbers_are_distinguished_from_other_texts() {
        assert!(literal("-1.5").unwrap().is_negative());
        assert!(!literal("\"-abc\"").unwrap().is_negative());
        assert!(!literal("1").unwrap().is_negative());
    }

    #[test]
    fn whole_numbers_must_be_whole_and_fit() {
        assert_eq!(literal("50.0").unwrap().whole::<u16>(), Some(50));
        assert_eq!(literal("50.5").unwrap().whole::<u16>(), None);
        assert_eq!(literal("70000").unwrap().whole::<u16>(), None);
    }
}
