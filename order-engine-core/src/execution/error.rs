//! Why an execution ends before its order does.

use crate::commit::committer::CommitError;
use crate::domain::codec::ItemRejected;
use crate::domain::state::transition::IllegalTransition;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::write::AppendError;
use crate::resilience::supervisor::Panicked;

/// Why a worker could not go on with an order.
///
/// Nothing is lost by any of them: the order stays where its last committed event left it, and
/// another claim goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// Another worker holds the order now, or the lease could not be renewed in time.
    #[error("the lease was lost")]
    LeaseLost,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The store can never take what happened.
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    /// The router or the venue panicked. It counts against the order.
    #[error("{0} panicked")]
    Panicked(&'static str),
    /// A defect: the engine came to an event that the state does not allow.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The engine shuts down.
    #[error("the engine shuts down")]
    Closed,
}

/// What interrupts a step.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// A write without a lease, a cancel for instance, changed the order; it must be read again.
    RevisionChanged,
    /// The router or the venue panicked.
    Panicked(Panicked),
    /// The deadline passed before a transaction was committed.
    TooLate,
    /// Another order has the nonce of the transaction, and this one is free.
    NonceTaken {
        free: u64,
    },
    Failed(ExecuteError),
}

impl From<CommitError> for Interrupt {
    fn from(error: CommitError) -> Self {
        Self::Failed(match error {
            CommitError::Append(AppendError::StaleRevision { .. }) => return Self::RevisionChanged,
            CommitError::Append(AppendError::TooLate) => return Self::TooLate,
            CommitError::Append(AppendError::NonceTaken { free }) => return Self::NonceTaken { free },
            CommitError::Append(AppendError::Rejected(rejected)) | CommitError::Rejected(rejected) => {
                rejected.into()
            }
            CommitError::Append(_) => ExecuteError::LeaseLost,
            CommitError::Store(error) => ExecuteError::Store(error),
            CommitError::Closed => ExecuteError::Closed,
        })
    }
}

impl From<IllegalTransition> for Interrupt {
    fn from(illegal: IllegalTransition) -> Self {
        Self::Failed(illegal.into())
    }
}

impl From<Panicked> for Interrupt {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(panicked)
    }
}
