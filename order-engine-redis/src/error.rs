//! What can go wrong, and which kind of store error it is.

use std::sync::Arc;

use order_engine_core::{DecodeError, ItemRejected, StoreError, StoreErrorKind};
use redis::{ErrorKind, ParsingError, RedisError, ServerErrorKind};

use crate::options::RedisOptions;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("the server at '{address}' cannot be used")]
    Open { address: String, source: Box<Self> },
    #[error("the server is set up wrongly: {0}")]
    Misconfigured(String),
    #[error(
        "it was written by a newer version of this software: its keys have schema version {0}, which this program does not know"
    )]
    NewerSchema(String),
    #[error("the server is a read-only replica")]
    Replica,
    /// The last try to connect failed. The calls that wait for it share its error.
    #[error("not connected")]
    NotConnected(#[source] Arc<Self>),
    #[error("a reply has another form than this program expects")]
    Parsing(#[from] ParsingError),
    #[error("a script gave a reply that this program does not know: {0}")]
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
    /// Returns the kind of store error that this is.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Redis(error) => redis_kind(error),
            Self::Open { source, .. } => source.kind(),
            Self::NotConnected(source) => source.kind(),
            Self::Misconfigured(_) => StoreErrorKind::Misconfigured,
            Self::NewerSchema(_) => StoreErrorKind::Incompatible,
            Self::Parsing(_) | Self::Reply(_) | Self::Decode(_) | Self::Rejected(_) => {
                StoreErrorKind::Internal
            }
            Self::Replica | Self::TimedOut => StoreErrorKind::Unavailable,
        }
    }

    /// Returns this failure to open the server that the options name.
    pub(crate) fn at(self, options: &RedisOptions) -> Self {
        Self::Open { address: options.address(), source: Box::new(self) }
    }

    /// Returns whether the connection must be replaced: it is broken or in doubt, or leads to a server that
    /// does not take writes any more.
    pub(crate) fn needs_another_connection(&self) -> bool {
        match self {
            Self::Redis(error) => {
                let leads_astray = matches!(
                    error.kind(),
                    ErrorKind::Io
                        | ErrorKind::Parse
                        | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
                );
                leads_astray || error.is_unrecoverable_error()
            }
            Self::Replica | Self::TimedOut => true,
            _ => false,
        }
    }
}

fn redis_kind(error: &RedisError) -> StoreErrorKind {
    use ServerErrorKind as Server;
    match error.kind() {
        // A reply that cannot be parsed is not of Redis' protocol: this connection is broken, another one need
        // not be.
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
            // This error has no code.
            _ if error.detail().is_some_and(|detail| detail.starts_with("max number of clients")) => {
                StoreErrorKind::Unavailable
            }
            _ => StoreErrorKind::Internal,
        },
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::of(error.kind(), error)
    }
}
