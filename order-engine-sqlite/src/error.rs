//! What can go wrong, and how core is told of it.

use std::sync::Arc;

use order_engine_core::{Refused, StoreError, StoreErrorKind, Undecodable};
use sqlx::migrate::MigrateError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("SQLite failed: {0}")]
    Sqlx(#[from] sqlx::Error),
    #[error("{0}")]
    Migrate(#[from] MigrateError),
    #[error("a connection has {pragma} = {found}, but {wanted} was set")]
    Pragma { pragma: &'static str, wanted: String, found: String },
    #[error("the folder of the database cannot be created: {0}")]
    Folder(#[source] std::io::Error),
    #[error("the writing thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no answer in time")]
    TimedOut,
    #[error("the store is closed")]
    Closed,
    /// The failure of a transaction that several callers shared.
    #[error(transparent)]
    Shared(#[from] Arc<Self>),
}

impl Error {
    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Sqlx(error) => sqlx_kind(error),
            Self::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                sqlx_kind(error)
            }
            Self::Migrate(_) => StoreErrorKind::Incompatible,
            Self::Pragma { .. } => StoreErrorKind::Misconfigured,
            Self::Undecodable(_) | Self::Refused(_) => StoreErrorKind::Internal,
            Self::Shared(error) => error.kind(),
            Self::Folder(_) | Self::Thread(_) | Self::TimedOut | Self::Closed => StoreErrorKind::Unavailable,
        }
    }

    /// Whether the failure may be one item's fault, so that the others should be tried without it.
    pub(crate) fn may_be_an_items_fault(&self) -> bool {
        self.kind() == StoreErrorKind::Internal
    }
}

/// SQLite's primary result codes that may pass by themselves: 5 busy, 6 locked, 8 read-only file
/// system, 10 I/O, 13 full, 14 cannot open.
const TRANSIENT_CODES: [i32; 6] = [5, 6, 8, 10, 13, 14];

fn sqlx_kind(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Database(database) => {
            // The low byte of an extended result code is the primary one.
            let primary = database.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
            match primary {
                Some(code) if TRANSIENT_CODES.contains(&code) => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Internal,
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Internal,
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let message = match &error {
            Error::Migrate(MigrateError::VersionMissing(version)) => format!(
                "the database was written by a newer version of this software: it has schema version {version}, \
                 which this program does not know"
            ),
            Error::Migrate(MigrateError::VersionMismatch(version)) => {
                format!("the database has another schema than this program: version {version} differs")
            }
            other => other.to_string(),
        };
        Self::new(error.kind(), message).with_source(error)
    }
}
