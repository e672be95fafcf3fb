//! How far a store uses its connections.

/// The connections of a store to its database, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolUse {
    /// How many are in use, or being opened for a use.
    pub used: usize,
    /// How many wait for one.
    pub idle: usize,
    /// How many there may be.
    pub max: usize,
}

impl PoolUse {
    /// Returns the use of a pool.
    pub const fn new(used: usize, idle: usize, max: usize) -> Self {
        Self { used, idle, max }
    }
}
