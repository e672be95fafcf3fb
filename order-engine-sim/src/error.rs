use std::io;
use std::path::PathBuf;

/// Why a simulator could not be opened, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The configuration makes no sense.
    #[error("the simulator's configuration is wrong: {0}")]
    Config(String),
    /// Another simulator, of this process or another one, holds the ledger.
    #[error("the ledger {} is in use by another simulator", path.display())]
    LedgerInUse {
        /// The ledger.
        path: PathBuf,
    },
    /// A line of the ledger, other than a torn last one, is no execution.
    #[error("line {line} of the ledger {} is not an execution: {reason}", path.display())]
    LedgerCorrupt {
        /// The ledger.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger cannot be read.
    #[error("the ledger {} cannot be read: {source}", path.display())]
    LedgerRead {
        /// The ledger.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The ledger could not be written. What the chain executed since is unknown to the disk, so
    /// the chain stands still until the ledger is opened again.
    #[error("the ledger could not be written: {reason}")]
    LedgerWrite {
        /// What the system says.
        reason: String,
    },
}
