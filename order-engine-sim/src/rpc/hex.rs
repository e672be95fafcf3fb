//! Numbers and bytes as nodes of the EVM write them.

#[cfg(any(feature = "rpc-client", test))]
use std::fmt::Write as _;

/// Returns a number in hexadecimal, without leading zeros.
#[cfg(any(feature = "rpc-server", test))]
pub(crate) fn quantity(number: u128) -> String {
    format!("{number:#x}")
}

/// Returns the number that a text is, or `None` if it is not one.
#[cfg(any(feature = "rpc-client", test))]
pub(crate) fn read_quantity(text: &str) -> Option<u128> {
    u128::from_str_radix(digits(text)?, 16).ok()
}

/// Returns bytes in hexadecimal.
#[cfg(any(feature = "rpc-client", test))]
pub(crate) fn data(bytes: &[u8]) -> String {
    let mut text = "0x".to_owned();
    for byte in bytes {
        // A write to a string succeeds.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns the bytes that a text is, or `None` if it is not hexadecimal.
#[cfg(any(feature = "rpc-server", test))]
pub(crate) fn read_data(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits(text)?.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// Returns the digits of a text. A sign is none.
fn digits(text: &str) -> Option<&str> {
    text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_are_read_back() {
        for number in [0, 1, 0x41, u128::MAX] {
            assert_eq!(read_quantity(&quantity(number)), Some(number));
        }
        assert_eq!((quantity(0), quantity(1_024)), ("0x0".to_owned(), "0x400".to_owned()));
        assert_eq!(data(&[0, 15, 255]), "0x000fff");
        assert_eq!(read_data("0x000fff"), Some(vec![0, 15, 255]));
        for text in ["", "0x", "10", "0xg", "0x+1"] {
            assert_eq!(read_quantity(text), None, "{text:?}");
        }
        for text in ["", "000f", "0x0", "0x0g", "0x+1"] {
            assert_eq!(read_data(text), None, "{text:?}");
        }
    }
}
