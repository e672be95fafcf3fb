//! What can go wrong, and how core is told of it.

use order_engine_core::{CreateError, DecodeError, StoreError, StoreErrorKind};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("PostgreSQL failed: {0}")]
    Sqlx(#[from] sqlx::Error),
    #[error("the database cannot be opened: {0}")]
    Open(#[source] Box<Self>),
    #[error(
        "it was written by a newer version of this software: schema '{schema}' has version {version}, which this program does not know"
    )]
    NewerSchema { schema: String, version: i64 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    NotCreated(#[from] CreateError),
    #[error("no answer in time")]
    TimedOut,
}

/// The class of an SQLSTATE: its first two characters.
const CLASS: usize = 2;
/// Classes of errors that one row brings about: data exceptions, violated constraints, limits, what a
/// trigger of the host's raises.
const ROW_CLASSES: [&str; 4] = ["22", "23", "54", "P0"];
/// Classes that may pass by themselves: connection lost, resources exhausted (a full disk, too many
/// connections), an operator or a failover in between, a system error such as a failed read.
const TRANSIENT_CLASSES: [&str; 5] = ["08", "53", "55", "57", "58"];
/// Classes that come of how the server or the role is set up: no such role or password, no such
/// database or schema.
const SETUP_CLASSES: [&str; 3] = ["28", "3D", "3F"];
/// A write was sent to a server that only reads, such as a former primary.
const READ_ONLY: &str = "25006";
/// The role may not do this.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Two transactions stood in each other's way, and this one was undone.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];
/// Another transaction holds what this one needs, and has not ended in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Error {
    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Open(source) => source.kind(),
            Self::NewerSchema { .. } => StoreErrorKind::Incompatible,
            Self::Sqlx(error) => sqlx_kind(error),
            Self::NotCreated(CreateError::Locked) | Self::TimedOut => StoreErrorKind::Unavailable,
            Self::Decode(_) | Self::NotCreated(_) => StoreErrorKind::Internal,
        }
    }

    /// Whether the failure may be one item's doing, so that the others should be tried without it.
    pub(crate) fn may_be_an_items_doing(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Encode(_)) | Self::Decode(_) => true,
            _ => self.is_locked() || self.sqlstate().is_some_and(|code| is_of(&code, &ROW_CLASSES)),
        }
    }

    /// Whether nothing was written because another transaction stood in the way, which it may not do
    /// a moment later.
    pub(crate) fn is_conflict(&self) -> bool {
        self.sqlstate().is_some_and(|code| CONFLICTS.contains(&code.as_str()))
    }

    /// Whether nothing was written because another transaction holds on to something.
    pub(crate) fn is_locked(&self) -> bool {
        self.sqlstate().is_some_and(|code| code == LOCK_NOT_AVAILABLE)
    }

    fn sqlstate(&self) -> Option<String> {
        sqlstate(self)
    }
}

/// The SQLSTATE of the answer of PostgreSQL's that an error comes of, if it comes of one.
///
/// A host finds out with this whether to repeat its transaction: `40001` and `40P01` ask for it.
pub fn sqlstate(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let answer = causes.find_map(|error| error.downcast_ref::<sqlx::Error>()?.as_database_error());
    Some(answer?.code()?.into_owned())
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

/// Sets apart what only one row suffers from: that it cannot be decoded.
pub(crate) fn undecodable_apart<T>(result: Result<T, Error>) -> Result<Result<T, DecodeError>, Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Decode(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}
