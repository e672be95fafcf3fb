//! An order under observation.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use crate::commit::committer::CommitError;
use crate::domain::event::UnknownReason;
use crate::domain::ids::TxId;
use crate::domain::siblings::Siblings;
use crate::domain::transaction::NonceValue;
use crate::execution::context::Context;
use crate::execution::leased_order::LeasedOrder;
use crate::ports::order_store::write::AppendError;
use crate::telemetry;

/// An order whose transaction is observed.
#[derive(Debug)]
pub(super) struct ObservedOrder {
    pub(super) order: LeasedOrder,
    /// When this process last sent the transaction.
    pub(super) last_sent: Option<DateTime<Utc>>,
    /// How many observations in a row brought no news.
    pub(super) quiet_observations: u32,
    /// Whether the venue did not know the transaction at the last observation, and it may still land.
    pub(super) is_absent: bool,
    /// Since when the outcome of the transaction has been in doubt, and why.
    pub(super) doubt: Option<(UnknownReason, DateTime<Utc>)>,
    /// What the account waits for, and at which height that was first seen.
    pub(super) waits_since: Option<(Awaited, u64)>,
    /// Before this no sibling is signed: the last one could not be.
    pub(super) rests_until: Option<DateTime<Utc>>,
    /// With how many others at most the venue may be asked about the transaction, this one included.
    pub(super) batch_max: usize,
    _slots: ObserverSlots,
}

/// What an account with nonces waits for: the transaction that should use its next nonce, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// The account's next number, if it is not that of the order's transactions.
    elsewhere: Option<u64>,
    tx: Option<TxId>,
}

impl Awaited {
    /// Returns what the account of an attempt's transactions waits for while this is its next nonce.
    fn new(siblings: &Siblings, next_nonce: &NonceValue) -> Self {
        let is_elsewhere = |number: &u64| {
            siblings.nonce().is_some_and(|nonce| nonce.value.number().is_some_and(|own| own != *number))
        };
        let elsewhere = next_nonce.number().filter(is_elsewhere);
        let tx = match elsewhere {
            Some(number) => siblings.fillers_of(number).next_back(),
            None => Some(&siblings.latest().tx),
        };
        Self { elsewhere, tx: tx.map(|tx| tx.id.clone()) }
    }
}

/// The slots that an observed order takes.
#[derive(Debug)]
pub(super) struct ObserverSlots {
    pub(super) _any: OwnedSemaphorePermit,
    pub(super) _of_venue: OwnedSemaphorePermit,
}

impl ObservedOrder {
    pub(super) const fn new(
        order: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
        slots: ObserverSlots,
    ) -> Self {
        Self {
            order,
            last_sent,
            quiet_observations: 0,
            is_absent: false,
            doubt: None,
            waits_since: None,
            rests_until: None,
            batch_max: usize::MAX,
            _slots: slots,
        }
    }

    pub(super) fn siblings(&self) -> Option<&Siblings> {
        self.order.order().state.siblings()
    }

    /// Returns for how many heights the account has waited for the same transaction, if this is its next nonce.
    pub(super) fn heights_waited(&mut self, next_nonce: &NonceValue, processed: u64) -> u64 {
        let Some(awaited) = self.siblings().map(|siblings| Awaited::new(siblings, next_nonce)) else {
            return 0;
        };
        match &self.waits_since {
            Some((known, since)) if *known == awaited => processed.saturating_sub(*since),
            _ => {
                self.waits_since = Some((awaited, processed));
                0
            }
        }
    }

    /// Writes the events that are not yet written. If they are refused because the order has moved on, it goes on
    /// from what the store has.
    pub(super) async fn commit(&mut self, context: &Context) -> Written {
        let refusal = match self.order.commit(&context.committer).await {
            Ok(()) => return Written::Done,
            Err(CommitError::Append(AppendError::NonceTaken { .. })) => Written::NonceTaken,
            // A cancel, for instance. The lease is still ours.
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => Written::MovedOn,
            Err(error) => return self.give_up(&error),
        };
        match context.load(self.order.order().id).await {
            Ok(order) => self.order.reset(order),
            Err(error) => return self.give_up(&error),
        }
        refusal
    }

    fn give_up(&self, error: &(dyn std::error::Error + 'static)) -> Written {
        tracing::warn!(order.id = %self.order.order().id, error = %telemetry::chain(error), "an observed order is given up");
        Written::GivenUp
    }
}

/// What came of writing an order's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// They are written.
    Done,
    /// They are not, and never happened: the order has moved on.
    MovedOn,
    /// They are not, and never happened: another order has the nonce that is to be reserved with them.
    NonceTaken,
    /// The order is not observed any further here.
    GivenUp,
}

/// The orders that are still observed after an observation, and how soon each is observed again.
pub(super) type Observed = Vec<(ObservedOrder, Duration)>;
