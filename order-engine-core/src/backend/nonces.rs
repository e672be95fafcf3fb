//! Reservations of nonces, checked.

use std::borrow::Cow;

use crate::backend::columns::without_nul;
use crate::domain::codec::ItemRejected;
use crate::ports::order_store::write::{NonceReservation, SequenceNumber};

/// The least nonce that is not stored: the greatest number of 63 bits, so that the one after each
/// stored nonce fits as well.
const END: u64 = i64::MAX as u64;
/// A nonce that is never free.
const NO_NONCE: i64 = -1;

/// A reservation, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationColumns<'a> {
    /// The venue that the account is on.
    pub venue: &'a str,
    /// The account; for an opaque value a name that stands for the account and the value.
    pub account: Cow<'a, str>,
    /// The nonce to reserve. One that cannot be stored becomes a number that is never free, and is refused
    /// with the one that is.
    pub value: i64,
    /// The lowest number that may be free.
    pub first: i64,
}

impl<'a> ReservationColumns<'a> {
    /// Returns the columns of a reservation.
    ///
    /// # Errors
    /// If no nonce from the first one on can be stored, or a name contains a NUL character, which databases
    /// cut off or refuse.
    pub fn new(reservation: &'a NonceReservation) -> Result<Self, ItemRejected> {
        let SequenceNumber { sequence, value, first } = reservation.as_number();
        let message = || format!("nonces from {first} on do not fit into 63 bits");
        without_nul(&sequence)?;
        Ok(Self {
            venue: without_nul(reservation.venue.as_str())?,
            account: sequence,
            value: stored(value).unwrap_or(NO_NONCE),
            first: stored(first).ok_or_else(|| ItemRejected { message: message() })?,
        })
    }
}

fn stored(nonce: u64) -> Option<i64> {
    i64::try_from(nonce).ok().filter(|_| nonce < END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::transaction::AccountNonce;

    fn reservation(account: &str, value: u64, first: u64) -> NonceReservation {
        NonceReservation::new("main".into(), AccountNonce::new(account, value), first)
    }

    #[test]
    fn what_does_not_fit_is_rejected_or_never_free() {
        let last = END - 1;
        let fits = reservation("a", last, last);
        let columns = ReservationColumns::new(&fits).unwrap();
        assert_eq!((columns.venue, &*columns.account), ("main", "a"));
        assert_eq!((columns.value, columns.first), (i64::MAX - 1, i64::MAX - 1));
        for value in [END, u64::MAX] {
            assert_eq!(ReservationColumns::new(&reservation("a", value, 7)).unwrap().value, NO_NONCE);
            let error = ReservationColumns::new(&reservation("a", value, value)).unwrap_err();
            assert!(error.message.contains("63 bits"), "{error:?}");
        }
        assert!(ReservationColumns::new(&reservation("a\0b", 0, 0)).is_err());
    }
}
