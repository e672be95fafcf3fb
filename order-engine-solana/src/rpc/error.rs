//! Why a call has no result.

use serde_json::Value;

/// A node that is behind the slot that was asked for, or lags behind the cluster.
const NODE_BEHIND: i64 = -32_005;
/// A node that has not come to the least slot that was asked for.
const MIN_SLOT_NOT_REACHED: i64 = -32_016;
/// A fault of the node itself.
const INTERNAL: i64 = -32_603;

/// The error behind an [`RpcError`].
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call has no result. No message has the URL of a node, which may contain a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The node did not answer in time, or the connection broke. The call may have had its effect.
    #[error("the node did not answer")]
    Transport(#[source] Source),
    /// The node, or a proxy before it, answered with an HTTP status other than 200.
    #[error("the node answered with status {status}")]
    Status {
        /// The status.
        status: u16,
        /// How many seconds the node asks to be left alone.
        retry_after_s: Option<u64>,
    },
    /// The node refused the call.
    #[error("the node refused: {message} ({code})")]
    Refused {
        /// The code of JSON-RPC, or of the node.
        code: i64,
        /// The reason, in words.
        message: String,
        /// What else the node says about it.
        data: Option<Box<Value>>,
    },
    /// The answer is not the expected JSON.
    #[error("the answer cannot be read")]
    Malformed(#[source] Source),
    /// The client could not be created.
    #[error("the client cannot be made")]
    Client(#[source] Source),
    /// More was asked for than a node answers at once.
    #[error("no more than {most} can be asked for at once")]
    TooMany {
        /// The most.
        most: usize,
    },
    /// There are no nodes to ask.
    #[error("the cluster has no nodes")]
    NoNodes,
}

impl RpcError {
    /// Returns whether another node, or the same one soon, may answer the same call.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Malformed(_) => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Refused { code, .. } => matches!(*code, NODE_BEHIND | MIN_SLOT_NOT_REACHED | INTERNAL),
            Self::Client(_) | Self::TooMany { .. } | Self::NoNodes => false,
        }
    }

    pub(crate) fn malformed(reason: impl Into<Source>) -> Self {
        Self::Malformed(reason.into())
    }
}
