//! When a transaction that is not included is replaced by a sibling.

use crate::domain::amount::Amount;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::transaction::{AccountNonce, AccountView};
use crate::planted::planted;
use crate::setters::setters;

/// After how many times the heights of a bump a nonce is taken as used by nobody.
const GAP_PATIENCE: u64 = 4;

/// When a transaction that the chain does not include is sent again for a higher fee, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeeBumpPolicy {
    /// After how many heights without inclusion.
    pub after_heights: u64,
    /// The next fee in percent of the last one; most chains want 110 at least.
    pub fee_percent: u32,
    /// How often for one attempt. After that the transaction waits, and calls for an operator.
    pub max_bumps: usize,
    /// The most that the chain may take for one transaction, in base units of the chain's own token. No cap
    /// unless set.
    pub max_fee: Option<Amount>,
}

impl Default for FeeBumpPolicy {
    /// After three heights, by a quarter, five times at most.
    fn default() -> Self {
        Self { after_heights: 3, fee_percent: 125, max_bumps: 5, max_fee: None }
    }
}

setters! {
    impl FeeBumpPolicy {
        with_after_heights sets after_heights: u64;
        with_fee_percent sets fee_percent: u32;
        with_max_bumps sets max_bumps: usize;
        with_max_fee sets max_fee: Option<Amount>;
    }
}

/// What is known about an attempt's transactions when it is decided whether to replace them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    pub(crate) siblings: &'a Siblings,
    pub(crate) account: &'a AccountView,
    /// For how many heights the account has waited for the transaction that is to land next.
    pub(crate) heights: u64,
    /// Whether the order is to end instead of being executed.
    pub(crate) is_to_end: bool,
}

/// A transaction that is signed in addition to the original one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// A sibling, which takes its place.
    Sibling(Purpose),
    /// A filler, which uses up this nonce of its account, and so makes way for it.
    Filler(u64),
}

impl Addition {
    /// Whether it executes the order.
    pub(crate) const fn is_swap(self) -> bool {
        matches!(self, Self::Sibling(purpose) if purpose.is_swap())
    }
}

/// What a transaction that is not included needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing but patience.
    Nothing,
    /// A further transaction.
    Addition(Addition),
    /// An operator: the policy allows no higher fee.
    Operator,
}

const fn sibling(purpose: Purpose) -> Need {
    Need::Addition(Addition::Sibling(purpose))
}

impl FeeBumpPolicy {
    /// Returns what an attempt's transactions need now.
    pub(crate) fn need(&self, waiting: &Waiting<'_>) -> Need {
        let Waiting { siblings, account, heights, is_to_end } = waiting;
        let is_unused = |nonce: &&AccountNonce| !account.latest.is_after(&nonce.value);
        let Some(nonce) = siblings.nonce().filter(|nonce| is_unused(nonce) || planted!(BumpAfterDeath))
        else {
            // Somebody used the nonce: the verdict will say who.
            return Need::Nothing;
        };
        let latest = siblings.latest();
        if *is_to_end && latest.purpose.is_swap() {
            return sibling(Purpose::Cancel);
        }
        // Behind another transaction of the account a higher fee does not help.
        if let (Some(next), Some(own)) = (account.latest.number(), nonce.value.number())
            && next < own
        {
            return self.need_of_gap(siblings, next, *heights);
        }
        if *heights < self.after_heights {
            return Need::Nothing;
        }
        if siblings.replacements() >= self.max_bumps || self.is_too_dear(latest.tx.max_fee) {
            return Need::Operator;
        }
        sibling(if latest.purpose.is_swap() { Purpose::FeeBump } else { Purpose::Cancel })
    }

    /// Returns what transactions need whose account's next nonce is before their own. It may belong to an order of
    /// another process, which is given the time to bump it.
    fn need_of_gap(&self, siblings: &Siblings, next_nonce: u64, heights: u64) -> Need {
        let mut fillers = siblings.fillers_of(next_nonce).rev();
        let last = fillers.next();
        let patience = if last.is_some() { 1 } else { GAP_PATIENCE };
        if heights < self.after_heights.saturating_mul(patience) || planted!(GapIsLeft) {
            return Need::Nothing;
        }
        if last.is_some_and(|last| fillers.count() >= self.max_bumps || self.is_too_dear(last.max_fee)) {
            return Need::Operator;
        }
        Need::Addition(Addition::Filler(next_nonce))
    }

    /// Whether the fee after this one is beyond the cap.
    fn is_too_dear(&self, fee: Option<Amount>) -> bool {
        let (Some(cap), Some(fee)) = (self.max_fee, fee) else { return false };
        let percent = u128::from(self.fee_percent);
        fee.base_units().saturating_mul(percent).div_ceil(100) > cap.base_units()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::transaction::{NonceValue, SignedTx, Validity};

    fn tx(id: &str, fee: u128) -> Arc<SignedTx> {
        tx_of(id, 7, fee)
    }

    fn tx_of(id: &str, value: u64, fee: u128) -> Arc<SignedTx> {
        let nonce = AccountNonce::new("wallet", value);
        let tx = SignedTx::new(id, [], Validity::Nonce(nonce), Amount::new(1));
        Arc::new(tx.with_max_fee(Amount::new(fee)))
    }

    const fn filler(nonce: u64) -> Need {
        Need::Addition(Addition::Filler(nonce))
    }

    fn need(policy: &FeeBumpPolicy, siblings: &Siblings, latest: u64, heights: u64, is_to_end: bool) -> Need {
        let account = AccountView::new(latest, 0, 0);
        policy.need(&Waiting { siblings, account: &account, heights, is_to_end })
    }

    #[test]
    fn the_first_of_an_account_is_bumped_after_some_heights_and_so_often() {
        let policy = FeeBumpPolicy::default().with_max_bumps(2);
        let mut siblings = Siblings::new(tx("a", 100));
        for id in ["b", "c"] {
            assert_eq!(need(&policy, &siblings, 7, 2, false), Need::Nothing);
            assert_eq!(need(&policy, &siblings, 6, 11, false), Need::Nothing, "another one is in front");
            assert_eq!(need(&policy, &siblings, 8, 9, false), Need::Nothing, "the nonce is used");
            assert_eq!(need(&policy, &siblings, 7, 3, false), sibling(Purpose::FeeBump));
            siblings = siblings.and(Purpose::FeeBump, tx(id, 100)).unwrap();
        }
        assert_eq!(need(&policy, &siblings, 7, 3, false), Need::Operator);
        assert_eq!(need(&policy, &siblings, 7, 0, true), sibling(Purpose::Cancel), "an end has no cap");
    }

    #[test]
    fn a_cap_of_the_fee_is_not_passed() {
        let policy = FeeBumpPolicy::default().with_max_fee(Some(Amount::new(156)));
        let siblings = Siblings::new(tx("a", 125));
        assert_eq!(need(&policy, &siblings, 7, 3, false), Need::Operator, "a quarter more is 157");
        let siblings = Siblings::new(tx("a", 124));
        assert_eq!(need(&policy, &siblings, 7, 3, false), sibling(Purpose::FeeBump));
    }

    #[test]
    fn an_order_that_is_to_end_is_cancelled_at_once_and_its_cancel_is_bumped() {
        let policy = FeeBumpPolicy::default();
        let siblings = Siblings::new(tx("a", 1));
        assert_eq!(need(&policy, &siblings, 3, 0, true), sibling(Purpose::Cancel), "also behind others");
        let siblings = siblings.and(Purpose::Cancel, tx("b", 1)).unwrap();
        assert_eq!(need(&policy, &siblings, 7, 2, true), Need::Nothing);
        assert_eq!(need(&policy, &siblings, 7, 3, true), sibling(Purpose::Cancel));
    }

    #[test]
    fn a_nonce_in_front_that_nobody_uses_is_filled_and_the_filler_is_bumped() {
        let policy = FeeBumpPolicy::default().with_max_bumps(1).with_max_fee(Some(Amount::new(200)));
        let mut siblings = Siblings::new(tx("a", 1));
        assert_eq!(need(&policy, &siblings, 5, 12, false), filler(5));
        siblings = siblings.and_filler(tx_of("b", 5, 1)).unwrap();
        assert_eq!(need(&policy, &siblings, 6, 11, false), Need::Nothing, "the next gap has its own time");
        assert_eq!(need(&policy, &siblings, 6, 12, false), filler(6));
        assert_eq!(need(&policy, &siblings, 5, 2, false), Need::Nothing);
        assert_eq!(need(&policy, &siblings, 5, 3, false), filler(5));
        let dear = siblings.and_filler(tx_of("c", 6, 190)).unwrap();
        assert_eq!(need(&policy, &dear, 6, 3, false), Need::Operator, "the next fee is beyond the cap");
        siblings = siblings.and_filler(tx_of("c", 5, 1)).unwrap();
        assert_eq!(need(&policy, &siblings, 5, 3, false), Need::Operator);
        assert_eq!(need(&policy, &siblings, 5, 0, true), sibling(Purpose::Cancel));
    }

    #[test]
    fn an_opaque_value_has_nothing_in_front_of_it_and_is_bumped_until_it_is_used() {
        let policy = FeeBumpPolicy::default();
        let nonce = AccountNonce::new("wallet", NonceValue::opaque("x", 9));
        let siblings =
            Siblings::new(Arc::new(SignedTx::new("a", [], Validity::Nonce(nonce), Amount::new(1))));
        let need = |text: &str, read_at, is_to_end| {
            let value = NonceValue::opaque(text, read_at);
            let account = AccountView::new(value.clone(), value, read_at);
            policy.need(&Waiting { siblings: &siblings, account: &account, heights: 3, is_to_end })
        };
        assert_eq!(need("x", 10, false), sibling(Purpose::FeeBump));
        assert_eq!(need("w", 8, false), sibling(Purpose::FeeBump), "the node lags");
        assert_eq!(need("x", 10, true), sibling(Purpose::Cancel));
        assert_eq!(need("y", 10, true), Need::Nothing, "it is used");
        assert_eq!(siblings.and_filler(tx("b", 1)), None);
    }

    #[test]
    fn a_filler_comes_before_its_siblings() {
        let siblings = Siblings::new(tx("a", 1));
        assert_eq!(siblings.and_filler(tx_of("b", 7, 1)), None, "it would be a sibling");
        assert_eq!(siblings.and_filler(tx_of("b", 8, 1)), None);
        let elsewhere = AccountNonce::new("another", 3);
        let elsewhere = Arc::new(SignedTx::new("b", [], Validity::Nonce(elsewhere), Amount::new(1)));
        assert_eq!(siblings.and_filler(elsewhere), None);
        let by_height = Arc::new(SignedTx::new("b", [], Validity::UntilHeight(9), Amount::new(1)));
        assert_eq!(siblings.and_filler(Arc::clone(&by_height)), None);
        assert_eq!(Siblings::new(by_height).and_filler(tx_of("b", 3, 1)), None);
        let filled = siblings.and_filler(tx_of("b", 3, 1)).unwrap();
        assert_eq!(filled.and_filler(tx_of("b", 3, 1)), None, "it is the same one");
        assert_eq!((filled.len(), filled.fillers().len()), (1, 1));
    }

    #[test]
    fn only_the_chain_makes_siblings() {
        let by_height = |id: &str| Arc::new(SignedTx::new(id, [], Validity::UntilHeight(9), Amount::new(1)));
        assert_eq!(Siblings::new(by_height("a")).and(Purpose::Cancel, by_height("b")), None);
        let other = AccountNonce::new("wallet", 8);
        let other = Arc::new(SignedTx::new("b", [], Validity::Nonce(other), Amount::new(1)));
        let siblings = Siblings::new(tx("a", 1));
        assert_eq!(siblings.and(Purpose::FeeBump, other), None);
        assert_eq!(siblings.and(Purpose::FeeBump, tx("a", 1)), None, "it is the same one");
        for no_sibling in [Purpose::Original, Purpose::Filler] {
            assert_eq!(siblings.and(no_sibling, tx("b", 1)), None);
        }
        let poorer = Arc::new(SignedTx { min_amount_out: Amount::ZERO, ..(*tx("b", 1)).clone() });
        assert_eq!(siblings.and(Purpose::FeeBump, poorer), None, "it promises less");
        let cancelled = siblings.and(Purpose::Cancel, tx("b", 1)).unwrap();
        assert_eq!(cancelled.and(Purpose::FeeBump, tx("c", 1)), None);
        assert!(cancelled.and(Purpose::Cancel, tx("c", 1)).is_some());
        assert_eq!(cancelled.latest_swap().tx.id, "a".into());
    }
}
