//! The errors of a simulator.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The reason why a simulator could not be opened, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The configuration is not valid.
    #[error("the simulator's configuration is wrong: {0}")]
    Config(String),
    /// Another simulator, in this process or another one, holds the ledger.
    #[error("the ledger {} is in use by another simulator", path.display())]
    LedgerInUse {
        /// The path of the ledger.
        path: PathBuf,
    },
    /// A line of the ledger, other than a torn last one, is not a landing.
    #[error("line {line} of the ledger {} is not a landing", path.display())]
    LedgerCorrupt {
        /// The path of the ledger.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// The ledger cannot be read.
    #[error("the ledger {} cannot be read", path.display())]
    LedgerRead {
        /// The path of the ledger.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The ledger could not be written. The disk may lack executions since then, so the chain stops until
    /// the ledger is opened again.
    #[error("the ledger could not be written")]
    LedgerWrite {
        /// The error of the system, shared by all calls that failed with it.
        source: Arc<io::Error>,
    },
}
