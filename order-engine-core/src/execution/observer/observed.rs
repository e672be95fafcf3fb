//! An order under observation.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::event::UnknownReason;
use crate::domain::ids::TxId;
use crate::domain::siblings::Siblings;
use crate::execution::leased_order::LeasedOrder;

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
    /// The transaction that was signed last, and at which height it was first seen to be its account's next.
    pub(super) waits_since: Option<(TxId, u64)>,
    /// Before this no sibling is signed: the last one could not be.
    pub(super) rests_until: Option<DateTime<Utc>>,
    /// With how many others at most the venue may be asked about the transaction, this one included.
    pub(super) batch_max: usize,
    _slots: ObserverSlots,
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

    /// Returns for how many heights the transaction that was signed last has been its account's next one.
    pub(super) fn heights_waited(&mut self, is_first: bool, processed: u64) -> u64 {
        let latest = self.siblings().map(|siblings| siblings.latest().tx.id.clone());
        let Some(latest) = latest.filter(|_| is_first) else {
            self.waits_since = None;
            return 0;
        };
        match &self.waits_since {
            Some((known, since)) if *known == latest => processed.saturating_sub(*since),
            _ => {
                self.waits_since = Some((latest, processed));
                0
            }
        }
    }
}

/// The orders that are still observed after an observation, and how soon each is observed again.
pub(super) type Observed = Vec<(ObservedOrder, Duration)>;
