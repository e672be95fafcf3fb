//! Signatures in base 58.
//!
//! The id of every transaction is encoded twice, at its signing and at its submission. Encoders for any
//! length divide byte by byte, which would be most of the cost of a simulated swap. This one, for 32 bytes,
//! needs nine divisions per four bytes.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The number of digits in a group: as many as fit 32 bits.
const GROUP: usize = 5;
/// The number of values of a group.
const BASE: u64 = 58_u64.pow(5);
/// The number of groups in 256 bits.
const GROUPS: usize = 9;

/// Returns 32 bytes in base 58. Every leading zero byte becomes a `1`.
pub(crate) fn encode(bytes: &[u8; 32]) -> String {
    // The least significant group first.
    let mut groups = [0_u64; GROUPS];
    for word in bytes.chunks_exact(4) {
        let mut carry = word.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        for group in &mut groups {
            carry += *group << 32;
            *group = carry % BASE;
            carry /= BASE;
        }
    }
    let mut digits = [0; GROUP * GROUPS];
    for (group, digits) in groups.iter().rev().zip(digits.chunks_exact_mut(GROUP)) {
        let mut rest = *group;
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(rest % 58) as usize];
            rest /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let leading = digits.iter().take_while(|digit| **digit == ALPHABET[0]).count();
    digits[leading - zeros.min(leading)..].iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_the_common_encoder(mut bytes: [u8; 32], zeros in 0..=32_usize) {
            prop_assert_eq!(encode(&bytes), bs58::encode(bytes).into_string());
            bytes[..zeros].fill(0);
            prop_assert_eq!(encode(&bytes), bs58::encode(bytes).into_string());
        }
    }
}
