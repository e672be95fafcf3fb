//! Why an operation failed, and what core makes of it.

use std::path::PathBuf;
use std::sync::Arc;

use order_engine_core::store::{AppendError, CreateError};
use order_engine_core::{DecodeError, ItemRejected, StoreError, StoreErrorKind};
use sqlx::migrate::MigrateError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("SQLite failed")]
    Sqlx(#[from] sqlx::Error),
    #[error("the database cannot be opened at '{path}'")]
    Open { path: PathBuf, source: Box<Self> },
    #[error("its folder cannot be created")]
    Folder(#[source] std::io::Error),
    #[error(
        "'{path}' is not the file any more that was opened, so what is written may be lost; put it back, or restart"
    )]
    Moved { path: PathBuf, source: Option<std::io::Error> },
    #[error("the writing thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error(
        "it was written by a newer version of this software: it has schema version {0}, which this program does not know"
    )]
    NewerSchema(i64),
    #[error("it has another schema than this program")]
    OtherSchema(#[source] MigrateError),
    #[error("a connection has {pragma} = {found}, but {wanted} was set")]
    Pragma { pragma: &'static str, wanted: String, found: String },
    #[error(
        "the host's connection has {pragma} = {found}, so its commits may not be on the disk; set it to {wanted} before the transaction"
    )]
    HostPragma { pragma: &'static str, wanted: &'static str, found: String },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    #[error(transparent)]
    NotCreated(#[from] CreateError),
    #[error(transparent)]
    NotAppended(#[from] AppendError),
    #[error("no answer in time")]
    TimedOut,
    #[error("the store is closed")]
    Closed,
    /// The failure of a transaction that several callers shared.
    #[error(transparent)]
    Shared(#[from] Arc<Self>),
}

/// SQLite's primary result codes of failures that may pass by themselves: 5 busy, 6 locked, 8 read-only
/// file system, 10 I/O, 13 full, 14 cannot open.
const TRANSIENT_CODES: [i32; 6] = [5, 6, 8, 10, 13, 14];
/// Those of failures that do not pass when they come on opening: 3 no permission, 8 read-only, 14 cannot
/// open.
const UNUSABLE_CODES: [i32; 3] = [3, 8, 14];
/// Those of failures that one row can cause: 18 too big, 19 constraint, 20 mismatch.
const ROW_CODES: [i32; 3] = [18, 19, 20];
/// Another connection has the file.
const BUSY: i32 = 5;
/// The file is no database.
const NOT_A_DATABASE: i32 = 26;
/// The bits of an extended result code that hold the primary one.
const PRIMARY_CODE: i32 = 0xff;

impl Error {
    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Open { source, .. } => match source.sqlite_code() {
                Some(code) if UNUSABLE_CODES.contains(&code) => StoreErrorKind::Misconfigured,
                _ => source.kind(),
            },
            Self::Folder(_) | Self::Pragma { .. } | Self::HostPragma { .. } => StoreErrorKind::Misconfigured,
            Self::NewerSchema(_) | Self::OtherSchema(_) => StoreErrorKind::Incompatible,
            Self::Sqlite(_) => code_kind(self.sqlite_code()),
            Self::Sqlx(error) => sqlx_kind(error),
            Self::NotCreated(CreateError::Locked)
            | Self::Moved { .. }
            | Self::Thread(_)
            | Self::TimedOut
            | Self::Closed => StoreErrorKind::Unavailable,
            Self::Decode(_) | Self::Rejected(_) | Self::NotCreated(_) | Self::NotAppended(_) => {
                StoreErrorKind::Internal
            }
            Self::Shared(error) => error.kind(),
        }
    }

    /// Returns whether one item may have caused the failure, so that the others should be tried without it.
    pub(crate) fn may_come_of_one_item(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Encode(_)) | Self::Decode(_) | Self::Rejected(_) => true,
            _ => self.sqlite_code().is_some_and(|code| ROW_CODES.contains(&code)),
        }
    }

    /// Returns whether another connection has the file.
    pub(crate) fn is_busy(&self) -> bool {
        self.sqlite_code() == Some(BUSY)
    }

    /// Returns SQLite's primary result code.
    fn sqlite_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code & PRIMARY_CODE),
            Self::Sqlx(error) => sqlite_code(error),
            Self::Shared(error) => error.sqlite_code(),
            _ => None,
        }
    }
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & PRIMARY_CODE)
}

fn sqlx_kind(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        error => code_kind(sqlite_code(error)),
    }
}

fn code_kind(code: Option<i32>) -> StoreErrorKind {
    match code {
        Some(NOT_A_DATABASE) => StoreErrorKind::Incompatible,
        Some(code) if TRANSIENT_CODES.contains(&code) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Internal,
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::Sqlx(error),
            MigrateError::VersionMissing(version) => Self::NewerSchema(version),
            other => Self::OtherSchema(other),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::of(error.kind(), error)
    }
}
