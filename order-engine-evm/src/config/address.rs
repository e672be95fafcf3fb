//! Addresses in a configuration.

use alloy_primitives::Address;
use order_engine_chain::config::ConfigError;

/// Reads the address of a setting. In mixed case its letters are a checksum (EIP-55), which has to be right.
pub(super) fn address(setting: &'static str, text: &str) -> Result<Address, ConfigError> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let is_mixed =
        digits.chars().any(|c| c.is_ascii_lowercase()) && digits.chars().any(|c| c.is_ascii_uppercase());
    let invalid = |what: &str| ConfigError::invalid(setting, format!("{text:?} {what}"));
    let address: Address = text.parse().map_err(|_| invalid("is no address"))?;
    if is_mixed && Address::parse_checksummed(text, None).is_err() {
        return Err(invalid("has a wrong checksum: a letter or a digit is not what it was"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_address_is_noticed_by_its_checksum() {
        let weth = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2";
        let read = |text: &str| address("x", text);
        assert_eq!(read(weth).unwrap(), read(&weth.to_lowercase()).unwrap());
        assert_eq!(read(weth).unwrap().to_string(), weth);
        let mistyped = read(&weth.replace("b223", "b232")).unwrap_err();
        assert!(mistyped.to_string().contains("checksum"), "{mistyped}");
        assert!(read(&weth[..41]).unwrap_err().to_string().contains("is no address"));
    }
}
