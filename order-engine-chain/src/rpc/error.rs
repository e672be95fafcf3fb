//! Why a call has no result.

use serde_json::Value;

use crate::Source;

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
        /// Whether the chain's crate knows the reason as one that another node, or this one soon, may not have.
        may_pass: bool,
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
    /// The node serves another chain.
    #[error("the node serves the chain {found}, and not {expected}")]
    OtherChain {
        /// The chain as it should be.
        expected: String,
        /// As the node says.
        found: String,
    },
    /// Fewer nodes than the quorum say the same.
    #[error("too few of the nodes agree on {what}")]
    NoQuorum {
        /// On what.
        what: &'static str,
    },
    /// The nodes are behind what they have said before.
    #[error("the nodes are at the final height {height}, and were at {before}")]
    Behind {
        /// The final height that they agree on now.
        height: u64,
        /// The one that they agreed on before.
        before: u64,
    },
    /// There are no nodes to ask.
    #[error("there are no nodes to ask")]
    NoNodes,
}

impl RpcError {
    /// Returns whether another node, or the same one soon, may answer the same call.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::Malformed(_)
            | Self::OtherChain { .. }
            | Self::NoQuorum { .. }
            | Self::Behind { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Refused { may_pass, .. } => *may_pass,
            Self::Client(_) | Self::TooMany { .. } | Self::NoNodes => false,
        }
    }

    /// Returns the error of an answer that is not the expected one.
    pub fn malformed(reason: impl Into<Source>) -> Self {
        Self::Malformed(reason.into())
    }
}
