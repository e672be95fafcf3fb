//! Why an operation failed, and what core makes of it.

use order_engine_core::store::{AppendError, CreateError};
use order_engine_core::{DecodeError, StoreError, StoreErrorKind};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("PostgreSQL failed")]
    Sqlx(#[from] sqlx::Error),
    #[error("the database cannot be opened")]
    Open(#[source] Box<Self>),
    #[error(
        "it was written by a newer version of this software: schema '{schema}' has version {version}, which this program does not know"
    )]
    NewerSchema { schema: String, version: i64 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    NotCreated(#[from] CreateError),
    #[error(transparent)]
    NotAppended(#[from] AppendError),
    #[error("no answer in time")]
    TimedOut,
}

/// The class of an SQLSTATE: its first two characters.
const CLASS: usize = 2;
/// Classes of errors that one row can cause: data exceptions, violated constraints, limits, and what a
/// trigger of the host raises.
const ROW_CLASSES: [&str; 4] = ["22", "23", "54", "P0"];
/// Classes of errors that may pass by themselves: connection lost, resources exhausted (a full disk, too many
/// connections), object in use, an operator's intervention or a failover, a system error such as a failed
/// read.
const TRANSIENT_CLASSES: [&str; 5] = ["08", "53", "55", "57", "58"];
/// Classes of errors in how the server or the role is set up: no such role or password, no such database or
/// schema.
const SETUP_CLASSES: [&str; 3] = ["28", "3D", "3F"];
/// A write was sent to a server that only reads, such as a former primary.
const READ_ONLY: &str = "25006";
/// The role may not do this.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// PostgreSQL undid this transaction in favour of a concurrent one: a serialization failure or a deadlock.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];
/// Another transaction holds a lock that this one needs, and did not end in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Error {
    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Open(source) => source.kind(),
            Self::NewerSchema { .. } => StoreErrorKind::Incompatible,
            Self::Sqlx(error) => sqlx_kind(error),
            Self::NotCreated(CreateError::Locked) | Self::TimedOut => StoreErrorKind::Unavailable,
            Self::Decode(_) | Self::NotCreated(_) | Self::NotAppended(_) => StoreErrorKind::Internal,
        }
    }

    /// Returns whether one item may have caused the failure, so that the others should be tried without it.
    pub(crate) fn may_come_of_one_item(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Encode(_)) | Self::Decode(_) | Self::NotAppended(_) => true,
            _ => self.is_locked() || self.sqlstate().is_some_and(|code| is_of(&code, &ROW_CLASSES)),
        }
    }

    /// Returns whether PostgreSQL undid the transaction in favour of a concurrent one. Another try may succeed.
    pub(crate) fn is_conflict(&self) -> bool {
        self.sqlstate().is_some_and(|code| CONFLICTS.contains(&code.as_str()))
    }

    /// Returns whether nothing was written because another transaction holds a lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.sqlstate().is_some_and(|code| code == LOCK_NOT_AVAILABLE)
    }

    /// Returns whether the connection can be used again once the transaction is rolled back.
    pub(crate) fn spares_connection(&self) -> bool {
        self.is_locked() || matches!(self, Self::NotAppended(_))
    }

    fn sqlstate(&self) -> Option<String> {
        sqlstate(self)
    }
}

/// Returns the SQLSTATE of an error that comes from PostgreSQL; none for any other error.
///
/// A host decides by it whether to repeat its transaction, as after `40001` and `40P01`.
pub fn sqlstate(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let cause = causes.find_map(|error| error.downcast_ref::<sqlx::Error>()?.as_database_error());
    Some(cause?.code()?.into_owned())
}

fn is_of(code: &str, classes: &[&str]) -> bool {
    code.get(..CLASS).is_some_and(|class| classes.contains(&class))
}

fn sqlx_kind(error: &sqlx::Error) -> StoreErrorKind {
    let Some(code) = sqlstate(error) else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => StoreErrorKind::Unavailable,
            sqlx::Error::Configuration(_) => StoreErrorKind::Misconfigured,
            _ => StoreErrorKind::Internal,
        };
    };
    match code.as_str() {
        READ_ONLY => StoreErrorKind::Unavailable,
        INSUFFICIENT_PRIVILEGE => StoreErrorKind::Misconfigured,
        code if CONFLICTS.contains(&code) || is_of(code, &TRANSIENT_CLASSES) => StoreErrorKind::Unavailable,
        code if is_of(code, &SETUP_CLASSES) => StoreErrorKind::Misconfigured,
        _ => StoreErrorKind::Internal,
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::of(error.kind(), error)
    }
}
