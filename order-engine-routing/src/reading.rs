//! When a snapshot of a pool was read.

use crate::trade::Moment;

/// When a snapshot of a pool was read: the chain's slot, the number of the write within it, and the chain's time.
///
/// Snapshots only go forward: a set keeps the one with the higher slot, and of one slot the one with the higher
/// write. Of equal ones the later arrival counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// The slot or height of the chain.
    pub slot: u64,
    /// The number of the write within the slot, 0 if the source does not number them.
    pub write: u64,
    /// The chain's time of the slot.
    pub at: Moment,
}

impl Reading {
    /// Returns a reading of a slot at its time.
    pub const fn new(slot: u64, at: Moment) -> Self {
        Self { slot, write: 0, at }
    }

    /// Sets the number of the write within the slot.
    #[must_use]
    pub const fn with_write(self, write: u64) -> Self {
        Self { write, ..self }
    }

    /// Returns whether another reading is newer than this one.
    pub(crate) fn is_older_than(self, other: Self) -> bool {
        (self.slot, self.write) < (other.slot, other.write)
    }
}
