//! What can go wrong, and how core is told of it.

use order_engine_core::{DecodeError, ItemRejected, StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    #[error("the server at '{address}' cannot be used: {source}")]
    Open { address: String, source: Box<Self> },
    #[error("the server is set up wrongly: {0}")]
    Misconfigured(String),
    #[error(
        "it was written by a newer version of this software: its keys have layout {0}, which this program does not know"
    )]
    NewerLayout(String),
    #[error("the server is a read-only replica")]
    Replica,
    #[error("not connected: {message}")]
    NotConnected { message: String, kind: StoreErrorKind },
    #[error("a script gave an answer that this program does not understand: {0}")]
    Reply(String),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Rejected(#[from] ItemRejected),
    #[error("no answer in time")]
    TimedOut,
}

/// The codes of errors that may pass by themselves: no memory left, no disk to write to, busy with a
/// script, too few replicas, and a fail-over in progress.
const TRANSIENT_CODES: [&str; 6] = ["OOM", "MISCONF", "BUSY", "NOREPLICAS", "UNBLOCKED", "NOTREADY"];
/// The codes of refused credentials.
const CREDENTIAL_CODES: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOPERM"];

impl Error {
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Redis(error) => redis_kind(error),
            Self::Open { source, .. } => source.kind(),
            Self::Misconfigured(_) => StoreErrorKind::Misconfigured,
            Self::NewerLayout(_) => StoreErrorKind::Incompatible,
            Self::NotConnected { kind, .. } => *kind,
            Self::Reply(_) | Self::Decode(_) | Self::Rejected(_) => StoreErrorKind::Internal,
            Self::Replica | Self::TimedOut => StoreErrorKind::Unavailable,
        }
    }
}

fn redis_kind(error: &RedisError) -> StoreErrorKind {
    use ServerErrorKind as Server;
    match error.kind() {
        // What cannot be parsed is no Redis protocol: the stream is broken, and another one may not be.
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::Server(
            Server::BusyLoading
            | Server::MasterDown
            | Server::ReadOnly
            | Server::TryAgain
            | Server::ClusterDown
            | Server::NoScript,
        ) => StoreErrorKind::Unavailable,
        ErrorKind::Server(Server::NoPerm | Server::Moved | Server::Ask | Server::CrossSlot)
        | ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig => StoreErrorKind::Misconfigured,
        _ => match error.code() {
            Some(code) if TRANSIENT_CODES.contains(&code) => StoreErrorKind::Unavailable,
            Some(code) if CREDENTIAL_CODES.contains(&code) => StoreErrorKind::Misconfigured,
            // A server with too many clients says so in words only.
            _ if error.detail().is_some_and(|detail| detail.starts_with("max number of clients")) => {
                StoreErrorKind::Unavailable
            }
            _ => StoreErrorKind::Internal,
        },
    }
}

/// Whether another connection is needed: this one is broken or in doubt, or leads to a server that is no
/// longer the one to write to.
pub(crate) fn needs_another_connection(error: &RedisError) -> bool {
    let leads_astray = matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    );
    leads_astray || error.is_unrecoverable_error()
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}
