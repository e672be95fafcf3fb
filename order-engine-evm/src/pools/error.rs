//! Why there is no snapshot of a pool.

use alloy_primitives::Address;
use order_engine_routing::InvalidPool;

/// Why there is no snapshot of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There is no contract at the address, or it is no pool of two tokens.
    #[error("{0} is no pool of two tokens")]
    NoPool(Address),
    /// The pool is not one that the deployment's factories have made.
    #[error("{0} is of another exchange")]
    ForeignFactory(Address),
    /// The contract does not answer as a pool does.
    #[error("the pool cannot be read: {0}")]
    Unreadable(String),
    /// The numbers of the pool make no curve: it is empty, for instance.
    #[error("the pool has no valid curve")]
    Invalid(#[source] InvalidPool),
}

impl From<InvalidPool> for PoolError {
    fn from(error: InvalidPool) -> Self {
        Self::Invalid(error)
    }
}
