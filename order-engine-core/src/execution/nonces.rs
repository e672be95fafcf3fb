//! The nonces that this process gives out.
//!
//! The store decides: a nonce is an order's once it is committed with the order's transaction. What is kept here is
//! where to begin, so that most transactions are signed once. The transactions of an account with numbers are prepared and
//! committed one after the other, because a number that is given up must go to the next one. An opaque value is one
//! transaction's alone, so the others take other accounts, or wait in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, OrderId, VenueName};
use crate::domain::transaction::{AccountNonce, NonceValue, SignedTx};
use crate::planted::planted;
use crate::ports::order_store::write::NonceReservation;
use crate::ports::router::StepError;
use crate::ports::venue::NonceSource;

/// An account of a venue.
type VenueAccount = (VenueName, AccountId);

/// The accounts whose nonces this process has given out.
#[derive(Debug)]
pub(crate) struct Nonces {
    /// How many transactions of an account may be under way.
    in_flight_max: u64,
    /// Held from the preparation of a transaction to its commit. What is in it is the number after the last one
    /// that is known to be reserved.
    numbers: Mutex<BTreeMap<VenueAccount, Arc<Turn<u64>>>>,
    /// The last opaque value of each account that is known to be given out.
    values: Mutex<BTreeMap<VenueAccount, NonceValue>>,
}

/// The turn of one order to get a nonce. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct NonceTurn {
    nonces: Arc<Nonces>,
    venue: VenueName,
    order: OrderId,
    given: Mutex<Option<Given>>,
}

/// A nonce that was given to a transaction.
#[derive(Debug)]
struct Given {
    reservation: NonceReservation,
    hold: Hold,
}

/// What keeps a nonce from others until it is reserved or given up.
#[derive(Debug)]
enum Hold {
    /// Other transactions of the account wait.
    Next(OwnedMutexGuard<u64>),
    /// Other transactions take other values.
    Value(HeldValue),
}

/// An opaque value that others may have again when this is dropped.
#[derive(Debug)]
struct HeldValue {
    nonces: Arc<Nonces>,
    account: VenueAccount,
    value: NonceValue,
    is_kept: bool,
}

impl Nonces {
    pub(crate) fn new(in_flight_max: u64) -> Arc<Self> {
        Arc::new(Self { in_flight_max, numbers: Mutex::default(), values: Mutex::default() })
    }

    fn numbers_of(&self, venue: &VenueName, account: &AccountId) -> Arc<Turn<u64>> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(numbers.entry((venue.clone(), account.clone())).or_default())
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<VenueAccount, NonceValue>> {
        // Nothing panics while the lock is held.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an account's value, unless it is known to be another transaction's, or to be left behind.
    fn take(self: &Arc<Self>, venue: &VenueName, nonce: &AccountNonce) -> Option<HeldValue> {
        let account = (venue.clone(), nonce.account.clone());
        let mut values = self.values();
        let is_free = |known: &NonceValue| nonce.value.is_after(known) || planted!(NonceGivenTwice);
        if !values.get(&account).is_none_or(is_free) {
            return None;
        }
        values.insert(account.clone(), nonce.value.clone());
        Some(HeldValue { nonces: Arc::clone(self), account, value: nonce.value.clone(), is_kept: false })
    }

    /// Returns an order's turn to get a nonce on a venue.
    pub(crate) fn turn(self: &Arc<Self>, venue: &VenueName, order: OrderId) -> NonceTurn {
        NonceTurn { nonces: Arc::clone(self), venue: venue.clone(), order, given: Mutex::default() }
    }
}

impl Drop for HeldValue {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let mut values = self.nonces.values();
        if values.get(&self.account) == Some(&self.value) {
            values.remove(&self.account);
        }
    }
}

impl Given {
    /// Ends the hold of a nonce that is reserved for this order or another one. `next` is the account's next number.
    fn end(self, next: u64) {
        match self.hold {
            Hold::Next(mut known) => *known = next,
            Hold::Value(mut held) => held.is_kept = true,
        }
    }
}

impl NonceTurn {
    fn given(&self) -> MutexGuard<'_, Option<Given>> {
        // Nothing in here panics while the lock is held.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what has to be reserved with a transaction: nothing for one without a nonce.
    ///
    /// # Errors
    /// If its nonce is not the one that was given.
    pub(crate) fn reservation(&self, tx: &SignedTx) -> Result<Option<NonceReservation>, StepError> {
        let Some(nonce) = tx.validity.nonce() else { return Ok(None) };
        let given = self.given().as_ref().map(|given| given.reservation.clone());
        match given.filter(|reservation| reservation.nonce == *nonce) {
            Some(reservation) => Ok(Some(reservation)),
            None => {
                let message = "The venue signed with a nonce that it was not given";
                Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)))
            }
        }
    }

    /// Ends the turn: the nonce is reserved.
    pub(crate) fn reserved(&self) {
        if let Some(given) = self.given().take() {
            let next = given.reservation.nonce.value.number().map_or(0, |number| number + 1);
            given.end(next);
        }
    }

    /// Ends the turn: the store did not take the nonce, and said which number is free.
    pub(crate) fn refused(&self, free: u64) {
        if let Some(given) = self.given().take() {
            given.end(free);
        }
    }

    /// Where to begin to look for an account: orders begin at different ones, so that processes seldom choose the same.
    fn first_choice(&self, accounts: usize) -> usize {
        let random = self.order.as_uuid().as_u128() % accounts.max(1) as u128;
        usize::try_from(random).unwrap_or_default()
    }
}

#[async_trait]
impl NonceSource for NonceTurn {
    async fn next(&self, account: &AccountId, latest: u64) -> Result<u64, StepError> {
        // Of an order that asks twice, only the last answer counts.
        drop(self.given().take());
        let next = self.nonces.numbers_of(&self.venue, account).lock_owned().await;
        let value = if planted!(NonceGivenTwice) { latest } else { (*next).max(latest) };
        if value - latest >= self.nonces.in_flight_max {
            let message = format!("The account has {} transactions under way", value - latest);
            return Err(StepError::unavailable(Failure::new(FailureCode::ACCOUNT_BUSY, message)));
        }
        let nonce = AccountNonce::new(account.clone(), value);
        let reservation = NonceReservation::new(self.venue.clone(), nonce, latest);
        *self.given() = Some(Given { reservation, hold: Hold::Next(next) });
        Ok(value)
    }

    async fn choose(&self, mut nonces: Vec<AccountNonce>) -> Result<AccountNonce, StepError> {
        drop(self.given().take());
        let first = self.first_choice(nonces.len());
        nonces.rotate_left(first);
        let taken = nonces.iter().find_map(|nonce| Some((nonce, self.nonces.take(&self.venue, nonce)?)));
        let Some((nonce, held)) = taken else {
            let message = format!("All {} accounts of the venue are in use", nonces.len());
            return Err(StepError::unavailable(Failure::new(FailureCode::ACCOUNT_BUSY, message)));
        };
        let reservation = NonceReservation::new(self.venue.clone(), nonce.clone(), 0);
        *self.given() = Some(Given { reservation, hold: Hold::Value(held) });
        Ok(nonce.clone())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::amount::Amount;
    use crate::domain::failure::FailureClass;
    use crate::domain::transaction::Validity;

    fn tx(account: &str, value: impl Into<NonceValue>) -> SignedTx {
        SignedTx::new("tx", [], Validity::Nonce(AccountNonce::new(account, value)), Amount::ZERO)
    }

    fn ask(turn: &NonceTurn, latest: u64) -> Option<Result<u64, StepError>> {
        turn.next(&"wallet".into(), latest).now_or_never()
    }

    #[test]
    fn one_order_of_an_account_has_its_turn_and_the_next_one_the_next_nonce() {
        let nonces = Nonces::new(16);
        let (one, two, other) = (
            nonces.turn(&"main".into(), OrderId::default()),
            nonces.turn(&"main".into(), OrderId::default()),
            nonces.turn(&"base".into(), OrderId::default()),
        );
        assert_eq!(ask(&one, 7).unwrap().unwrap(), 7);
        assert!(ask(&two, 7).is_none(), "it waits");
        assert_eq!(ask(&other, 1).unwrap().unwrap(), 1, "an account of another venue is another account");
        assert_eq!(one.reservation(&tx("wallet", 7)).unwrap().unwrap().first, 7);
        one.reserved();
        assert_eq!(ask(&two, 7).unwrap().unwrap(), 8);
        drop(two);
        assert_eq!(ask(&one, 7).unwrap().unwrap(), 8, "one that is given up goes to the next");
        one.refused(11);
        assert_eq!(ask(&one, 7).unwrap().unwrap(), 11);
        assert_eq!(ask(&one, 12).unwrap().unwrap(), 12, "somebody else used some");
    }

    #[test]
    fn a_nonce_that_was_not_given_is_refused() {
        let turn = Nonces::new(16).turn(&"main".into(), OrderId::default());
        assert!(turn.reservation(&tx("wallet", 7)).is_err());
        ask(&turn, 7);
        assert!(turn.reservation(&tx("wallet", 8)).is_err());
        assert!(turn.reservation(&tx("another", 7)).is_err());
        let by_height = SignedTx::new("tx", [], Validity::UntilHeight(1), Amount::ZERO);
        assert!(turn.reservation(&by_height).unwrap().is_none());
    }

    #[test]
    fn an_account_has_only_so_many_transactions_under_way() {
        let nonces = Nonces::new(2);
        let turn = nonces.turn(&"main".into(), OrderId::default());
        for expected in [7, 8] {
            assert_eq!(ask(&turn, 7).unwrap().unwrap(), expected);
            turn.reserved();
        }
        assert_eq!(ask(&turn, 7).unwrap().unwrap_err().failure.code, FailureCode::ACCOUNT_BUSY);
        assert_eq!(ask(&turn, 8).unwrap().unwrap(), 9);
    }

    fn opaque(account: &str, text: &str, read_at: u64) -> AccountNonce {
        AccountNonce::new(account, NonceValue::opaque(text, read_at))
    }

    fn choose(turn: &NonceTurn, nonces: &[AccountNonce]) -> Result<AccountNonce, StepError> {
        turn.choose(nonces.to_vec()).now_or_never().expect("nobody waits")
    }

    #[test]
    fn an_opaque_value_is_one_transactions_and_the_next_one_takes_another_account() {
        let nonces = Nonces::new(16);
        let main = "main".into();
        let turn = || nonces.turn(&main, OrderId::default());
        let (one, two, three) = (turn(), turn(), turn());
        let values = [opaque("a", "x", 5), opaque("b", "y", 5)];
        assert_eq!(choose(&one, &values).unwrap(), values[0]);
        assert_eq!(choose(&two, &values).unwrap(), values[1]);
        let busy = choose(&three, &values).unwrap_err();
        assert_eq!((busy.failure.code, busy.class), (FailureCode::ACCOUNT_BUSY, FailureClass::Unavailable));
        let elsewhere = nonces.turn(&"base".into(), OrderId::default());
        assert_eq!(choose(&elsewhere, &values).unwrap(), values[0], "another venue has other accounts");
        assert_eq!(
            one.reservation(&tx("a", values[0].value.clone())).unwrap().unwrap().nonce,
            values[0],
            "what was given is reserved"
        );
        assert!(one.reservation(&tx("a", NonceValue::opaque("z", 5))).is_err());
        drop(two);
        assert_eq!(choose(&three, &values).unwrap(), values[1], "one that is given up is free");
    }

    #[test]
    fn a_reserved_or_refused_value_is_not_given_again_and_a_later_one_is() {
        for end in [NonceTurn::reserved, |turn: &NonceTurn| turn.refused(1)] {
            let nonces = Nonces::new(16);
            let turn = nonces.turn(&"main".into(), OrderId::default());
            choose(&turn, &[opaque("a", "x", 5)]).unwrap();
            end(&turn);
            let turn = nonces.turn(&"main".into(), OrderId::default());
            assert!(choose(&turn, &[opaque("a", "x", 9)]).is_err());
            assert!(choose(&turn, &[opaque("a", "w", 4)]).is_err(), "the node lags");
            assert_eq!(choose(&turn, &[opaque("a", "z", 9)]).unwrap(), opaque("a", "z", 9));
        }
    }

    #[test]
    fn orders_begin_at_different_accounts() {
        let values: Vec<AccountNonce> = (0..8).map(|n| opaque(&format!("account-{n}"), "x", 5)).collect();
        let chosen: std::collections::BTreeSet<AccountNonce> = (0..64)
            .map(|number| {
                let turn = Nonces::new(16).turn(&"main".into(), OrderId::from_bytes([number; 16]));
                choose(&turn, &values).unwrap()
            })
            .collect();
        assert!(chosen.len() > 4, "{chosen:?}");
    }
}
