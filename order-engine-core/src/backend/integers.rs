//! Between core's unsigned numbers and the signed ones of databases.

use crate::domain::codec::{DecodeError, ItemRejected};

/// An epoch that no row has.
const NO_EPOCH: i64 = -1;

/// Returns a number as databases hold it.
///
/// # Errors
/// If it does not fit into 63 bits.
pub fn encode_u64(value: u64) -> Result<i64, ItemRejected> {
    i64::try_from(value).map_err(|_| ItemRejected { message: format!("{value} does not fit into 63 bits") })
}

/// Returns an epoch as databases hold it. No lease was ever given under an epoch beyond 63 bits; such an
/// epoch becomes one that no row has either.
pub fn encode_epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(NO_EPOCH)
}

/// Returns the number that a column holds.
///
/// # Errors
/// If it is negative.
pub fn decode_u64(value: i64, column: &str) -> Result<u64, DecodeError> {
    u64::try_from(value).map_err(|_| DecodeError { message: format!("{column} is negative: {value}") })
}

/// Returns the small number that a column holds.
pub(super) fn decode_small<T: TryFrom<i64>>(value: i64, column: &str) -> Result<T, DecodeError> {
    T::try_from(value).map_err(|_| DecodeError { message: format!("{column} is out of range: {value}") })
}

/// Returns what a database has counted, which is never negative.
pub fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Returns what a database has counted, cut to 32 bits.
pub fn count_u32(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_rejected_or_matches_no_row() {
        assert_eq!(encode_u64(7), Ok(7));
        assert!(encode_u64(u64::MAX).unwrap_err().message.contains("63 bits"));
        assert_eq!((encode_epoch(7), encode_epoch(u64::MAX)), (7, -1));
        assert_eq!(decode_u64(7, "seq"), Ok(7));
        assert_eq!(decode_u64(-7, "seq").unwrap_err().message, "seq is negative: -7");
        assert!(decode_small::<u8>(256, "progress").is_err());
    }
}
