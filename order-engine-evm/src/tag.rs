//! What ties a transaction to its order: the order's id, 16 bytes behind the calldata.
//!
//! Contracts of Solidity read their arguments from the front, and ignore what follows.

use alloy_primitives::Bytes;
use order_engine_core::OrderId;

/// Returns calldata with the tag of an order behind it.
pub(crate) fn tagged(input: &[u8], order: OrderId) -> Bytes {
    [input, order.as_uuid().as_bytes().as_slice()].concat().into()
}

/// Returns whether calldata ends with the tag of an order.
pub(crate) fn carries(input: &[u8], order: OrderId) -> bool {
    input.ends_with(order.as_uuid().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_back() {
        let (order, other) = (OrderId::from_bytes([7; 16]), OrderId::from_bytes([8; 16]));
        let input = tagged(&[1, 2, 3], order);
        assert_eq!(input.len(), 3 + 16);
        assert!(carries(&input, order));
        assert!(!carries(&input, other));
        assert!(!carries(&[7; 15], order), "it is shorter than a tag");
    }
}
