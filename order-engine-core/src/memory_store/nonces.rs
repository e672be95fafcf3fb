//! The nonces that orders have reserved.

use std::collections::BTreeMap;

use crate::domain::ids::{AccountId, OrderId, VenueName};
use crate::planted::planted;
use crate::ports::order_store::write::{AppendError, NonceReservation};

/// The reserved nonces, by account of a venue.
#[derive(Default)]
pub(super) struct Nonces {
    accounts: BTreeMap<(VenueName, AccountId), BTreeMap<u64, OrderId>>,
}

impl Nonces {
    /// Reserves a nonce for an order, if it is the account's next one.
    pub(super) fn reserve(
        &mut self,
        reservation: &NonceReservation,
        order: OrderId,
    ) -> Result<(), AppendError> {
        let NonceReservation { venue, nonce, first } = reservation;
        let reserved = self.accounts.entry((venue.clone(), nonce.account.clone())).or_default();
        let gap = reserved.range(first..).zip(*first..).find(|((value, _), expected)| **value != *expected);
        let after_last = || first.saturating_add(reserved.range(first..).count() as u64);
        let free = gap.map_or_else(after_last, |(_, expected)| expected);
        if nonce.value != free && !planted!(NonceGivenTwice) {
            return Err(AppendError::NonceTaken { free });
        }
        reserved.insert(nonce.value, order);
        Ok(())
    }

    /// Forgets the nonces of an order that is deleted.
    pub(super) fn forget(&mut self, order: OrderId) {
        for reserved in self.accounts.values_mut() {
            reserved.retain(|_, owner| *owner != order);
        }
    }
}
