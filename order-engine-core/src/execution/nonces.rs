//! The nonces that this process gives out.
//!
//! The store decides: a nonce is an order's once it is committed with the order's transaction. What is kept here is
//! where to begin, so that most transactions are signed once. The transactions of an account are prepared and
//! committed one after the other, because a nonce that is given up must go to the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, VenueName};
use crate::domain::transaction::{AccountNonce, SignedTx};
use crate::planted::planted;
use crate::ports::order_store::write::NonceReservation;
use crate::ports::router::StepError;
use crate::ports::venue::NonceSource;

/// The accounts whose nonces this process has given out.
#[derive(Debug)]
pub(crate) struct Nonces {
    /// How many transactions of an account may be under way.
    in_flight_max: u64,
    accounts: Mutex<BTreeMap<(VenueName, AccountId), Arc<Account>>>,
}

#[derive(Debug, Default)]
struct Account {
    /// Held from the preparation of a transaction to its commit. What is in it is the nonce after the last one
    /// that is known to be reserved.
    next: Arc<Turn<u64>>,
}

/// The turn of one order to get a nonce. Other transactions of the account wait until it is dropped.
#[derive(Debug)]
pub(crate) struct NonceTurn {
    nonces: Arc<Nonces>,
    venue: VenueName,
    given: Mutex<Option<Given>>,
}

/// A nonce that was given to a transaction.
#[derive(Debug)]
struct Given {
    reservation: NonceReservation,
    next: OwnedMutexGuard<u64>,
}

impl Nonces {
    pub(crate) fn new(in_flight_max: u64) -> Arc<Self> {
        Arc::new(Self { in_flight_max, accounts: Mutex::default() })
    }

    fn account(&self, venue: &VenueName, account: &AccountId) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry((venue.clone(), account.clone())).or_default())
    }

    /// Returns a turn to get a nonce of an account on a venue.
    pub(crate) fn turn(self: &Arc<Self>, venue: &VenueName) -> NonceTurn {
        NonceTurn { nonces: Arc::clone(self), venue: venue.clone(), given: Mutex::default() }
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
        if let Some(Given { reservation, mut next }) = self.given().take() {
            *next = reservation.nonce.value + 1;
        }
    }

    /// Ends the turn: the store did not take the nonce, and said which one is free.
    pub(crate) fn refused(&self, free: u64) {
        if let Some(Given { mut next, .. }) = self.given().take() {
            *next = free;
        }
    }
}

#[async_trait]
impl NonceSource for NonceTurn {
    async fn next(&self, account: &AccountId, latest: u64) -> Result<u64, StepError> {
        // Of an order that asks twice, only the last answer counts.
        drop(self.given().take());
        let next = Arc::clone(&self.nonces.account(&self.venue, account).next).lock_owned().await;
        let value = if planted!(NonceGivenTwice) { latest } else { (*next).max(latest) };
        if value - latest >= self.nonces.in_flight_max {
            let message = format!("The account has {} transactions under way", value - latest);
            return Err(StepError::unavailable(Failure::new(FailureCode::ACCOUNT_BUSY, message)));
        }
        let nonce = AccountNonce { account: account.clone(), value };
        let reservation = NonceReservation::new(self.venue.clone(), nonce, latest);
        *self.given() = Some(Given { reservation, next });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::amount::Amount;
    use crate::domain::transaction::Validity;

    fn tx(account: &str, value: u64) -> SignedTx {
        let nonce = AccountNonce { account: account.into(), value };
        SignedTx::new("tx", [], Validity::Nonce(nonce), Amount::ZERO)
    }

    fn ask(turn: &NonceTurn, latest: u64) -> Option<Result<u64, StepError>> {
        turn.next(&"wallet".into(), latest).now_or_never()
    }

    #[test]
    fn one_order_of_an_account_has_its_turn_and_the_next_one_the_next_nonce() {
        let nonces = Nonces::new(16);
        let (one, two, other) =
            (nonces.turn(&"main".into()), nonces.turn(&"main".into()), nonces.turn(&"base".into()));
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
        let turn = Nonces::new(16).turn(&"main".into());
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
        let turn = nonces.turn(&"main".into());
        for expected in [7, 8] {
            assert_eq!(ask(&turn, 7).unwrap().unwrap(), expected);
            turn.reserved();
        }
        assert_eq!(ask(&turn, 7).unwrap().unwrap_err().failure.code, FailureCode::ACCOUNT_BUSY);
        assert_eq!(ask(&turn, 8).unwrap().unwrap(), 9);
    }
}
