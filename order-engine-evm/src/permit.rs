//! Permits: signatures with which a token lets a contract take tokens (EIP-2612), without a transaction of their own. Pure.

use alloy_primitives::{Address, B256, Signature, U256, keccak256};
use alloy_sol_types::SolValue as _;

/// The signature of a permit's fields, of which the hash is signed with them.
const FIELDS: &str = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";

/// How much the router may take of a token, as the wallet has signed it.
///
/// It goes with the swap, so that both happen or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permit {
    /// How much, in base units.
    pub value: U256,
    /// How many permits of the wallet the token takes before it.
    pub nonce: U256,
    /// The last time of a block in which it holds, in seconds since 1970.
    pub deadline: U256,
    /// The wallet's signature.
    pub signature: Signature,
}

/// What is signed for a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PermitDraft {
    /// What names the token and its chain, as the token says it.
    pub(crate) domain: B256,
    pub(crate) owner: Address,
    pub(crate) spender: Address,
    pub(crate) value: U256,
    /// How many permits of the wallet the token has taken.
    pub(crate) nonce: U256,
    pub(crate) deadline: U256,
}

impl PermitDraft {
    /// Returns the bytes of which the hash is signed (EIP-712).
    pub(crate) fn message(&self) -> Vec<u8> {
        let Self { owner, spender, value, nonce, deadline, .. } = *self;
        let fields = (keccak256(FIELDS), owner, spender, value, nonce, deadline).abi_encode();
        [&[0x19, 0x01], &self.domain[..], &keccak256(fields)[..]].concat()
    }

    pub(crate) const fn signed(&self, signature: Signature) -> Permit {
        Permit { value: self.value, nonce: self.nonce, deadline: self.deadline, signature }
    }
}

impl Permit {
    /// Returns the three parts of the signature as contracts take them.
    pub(crate) fn parts(&self) -> (u8, B256, B256) {
        let v = 27 + u8::from(self.signature.v());
        (v, self.signature.r().into(), self.signature.s().into())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256};

    use super::*;

    #[test]
    fn the_signed_message_is_that_of_the_standard() {
        assert_eq!(
            keccak256(FIELDS),
            b256!("0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9"),
            "as the standard and the contracts have it"
        );
        let draft = PermitDraft {
            domain: B256::repeat_byte(7),
            owner: address!("0x0000000000000000000000000000000000000001"),
            spender: address!("0x0000000000000000000000000000000000000002"),
            value: U256::from(3),
            nonce: U256::from(4),
            deadline: U256::from(5),
        };
        let message = draft.message();
        assert_eq!((message.len(), &message[..2]), (66, &[0x19, 0x01][..]));
        assert_eq!(message[2..34], [7; 32]);
        assert_ne!(message, PermitDraft { nonce: U256::from(5), ..draft }.message());
    }
}
