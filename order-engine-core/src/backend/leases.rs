//! The columns of writes under leases, and why such a write is refused.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::backend::integers::{count, encode_epoch, encode_u64};
use crate::domain::codec::ItemRejected;
use crate::ports::order_store::lease::{Fence, Release, ReleaseReason};
use crate::ports::order_store::write::{Append, AppendError, Guard, Then};
use crate::ports::outbox::{DeliveryAck, DeliveryOutcome};

/// The attention of an order that cannot be decoded, as it stands in its row. Every other attention is
/// part of the order's state.
pub const UNDECODABLE: &str = "unreadable";

/// The conditions under which an append is written.
#[derive(Clone, Copy, Debug)]
pub struct GuardColumns {
    /// The revision that the order must have.
    pub expected_seq: i64,
    /// The epoch that the order's lease must have, if a lease must be current at all.
    pub epoch: Option<i64>,
    /// The owner that the lease must have, likewise.
    pub owner: Option<u128>,
    /// Whether a current lease ends.
    pub revokes: bool,
    /// When the order is due again, if the append releases it.
    pub release_in: Option<Duration>,
    /// The latest time for the append.
    pub not_after: Option<DateTime<Utc>>,
}

impl GuardColumns {
    /// Returns the conditions of an append.
    ///
    /// # Errors
    /// If the revision does not fit into 63 bits.
    pub fn new(append: &Append) -> Result<Self, ItemRejected> {
        let fence = match append.guard {
            Guard::Fence(fence) => Some(fence),
            Guard::Revision { .. } => None,
        };
        Ok(Self {
            expected_seq: encode_u64(append.expected_seq)?,
            epoch: fence.map(|Fence { epoch, .. }| encode_epoch(epoch)),
            owner: fence.map(|Fence { owner, .. }| owner),
            revokes: append.guard == (Guard::Revision { revoke: true }),
            release_in: match append.then {
                Then::Keep => None,
                Then::Release { due_in } => Some(due_in),
            },
            not_after: append.not_after,
        })
    }

    /// Returns why an append was not written, given its order's row; none if there is no such row.
    pub fn refusal(&self, current: Option<CurrentRow>) -> AppendError {
        let Some(CurrentRow { seq, epoch, owner }) = current else { return AppendError::NotFound };
        let is_current = self.epoch.is_none_or(|expected| expected == epoch && self.owner == owner);
        if !is_current {
            AppendError::StaleFence
        } else if seq == self.expected_seq && self.not_after.is_some() {
            AppendError::TooLate
        } else {
            AppendError::StaleRevision { actual: count(seq) }
        }
    }
}

/// What an order's row has of what a [`GuardColumns`] compares.
#[derive(Clone, Copy, Debug)]
pub struct CurrentRow {
    /// The revision.
    pub seq: i64,
    /// The epoch of the last lease.
    pub epoch: i64,
    /// The owner of the current lease.
    pub owner: Option<u128>,
}

/// What a release writes into an order's row.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseColumns {
    /// When the order is due again, from now.
    pub due_in: Duration,
    /// How many claims without progress are taken back: one if the worker yielded the order.
    pub yielded: i64,
    /// Why an operator should look at the order from now on.
    pub attention: Option<&'static str>,
}

impl From<&Release> for ReleaseColumns {
    fn from(Release { due_in, reason, .. }: &Release) -> Self {
        Self {
            due_in: *due_in,
            yielded: i64::from(*reason == ReleaseReason::Yielded),
            attention: (*reason == ReleaseReason::Undecodable).then_some(UNDECODABLE),
        }
    }
}

/// What an acknowledgement writes into an outbox entry.
#[derive(Clone, Copy, Debug)]
pub struct AckColumns {
    /// The number of the last event delivered; none after a nack.
    pub delivered_seq: Option<i64>,
    /// When the entry is due again after a nack, from now.
    pub retry_in: Option<Duration>,
}

impl From<&DeliveryAck> for AckColumns {
    fn from(ack: &DeliveryAck) -> Self {
        match ack.outcome {
            // No order has an event beyond 63 bits, so a larger number acknowledges all of them.
            DeliveryOutcome::Ack { seq } => {
                Self { delivered_seq: Some(encode_u64(seq).unwrap_or(i64::MAX)), retry_in: None }
            }
            DeliveryOutcome::Nack { retry_in } => Self { delivered_seq: None, retry_in: Some(retry_in) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: CurrentRow = CurrentRow { seq: 4, epoch: 2, owner: Some(7) };

    fn guard() -> GuardColumns {
        GuardColumns {
            expected_seq: 4,
            epoch: Some(2),
            owner: Some(7),
            revokes: false,
            release_in: None,
            not_after: None,
        }
    }

    #[test]
    fn a_refusal_names_the_first_condition_that_fails() {
        assert_eq!(guard().refusal(None), AppendError::NotFound);
        for stale in [CurrentRow { epoch: 3, ..HELD }, CurrentRow { owner: None, seq: 9, ..HELD }] {
            assert_eq!(guard().refusal(Some(stale)), AppendError::StaleFence);
        }
        let moved = CurrentRow { seq: 5, ..HELD };
        assert_eq!(guard().refusal(Some(moved)), AppendError::StaleRevision { actual: 5 });
        let timed = GuardColumns { not_after: Some(DateTime::UNIX_EPOCH), ..guard() };
        assert_eq!(timed.refusal(Some(HELD)), AppendError::TooLate);
        assert_eq!(timed.refusal(Some(moved)), AppendError::StaleRevision { actual: 5 });
        let unfenced = GuardColumns { epoch: None, owner: None, ..guard() };
        let elsewhere = CurrentRow { epoch: 9, seq: 5, ..HELD };
        assert_eq!(unfenced.refusal(Some(elsewhere)), AppendError::StaleRevision { actual: 5 });
    }
}
