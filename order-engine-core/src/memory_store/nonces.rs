//! The nonces that orders have reserved.

use std::collections::BTreeMap;

use crate::domain::ids::{OrderId, VenueName};
use crate::planted::planted;
use crate::ports::order_store::write::{AppendError, NonceReservation, SequenceNumber};

/// The reserved nonces, by venue and sequence.
#[derive(Default)]
pub(super) struct Nonces {
    sequences: BTreeMap<(VenueName, String), BTreeMap<u64, OrderId>>,
}

impl Nonces {
    /// Reserves a nonce for an order, if it is the account's next one.
    pub(super) fn reserve(
        &mut self,
        reservation: &NonceReservation,
        order: OrderId,
    ) -> Result<(), AppendError> {
        let SequenceNumber { sequence, value, first } = reservation.as_number();
        let reserved = self.sequences.entry((reservation.venue.clone(), sequence.into_owned())).or_default();
        let gap = reserved.range(first..).zip(first..).find(|((value, _), expected)| **value != *expected);
        let after_last = || first.saturating_add(reserved.range(first..).count() as u64);
        let free = gap.map_or_else(after_last, |(_, expected)| expected);
        if value != free && !planted!(NonceGivenTwice) {
            return Err(AppendError::NonceTaken { free });
        }
        reserved.insert(value, order);
        Ok(())
    }

    /// Forgets the nonces of an order that is deleted.
    pub(super) fn forget(&mut self, order: OrderId) {
        for reserved in self.sequences.values_mut() {
            reserved.retain(|_, owner| *owner != order);
        }
    }
}
