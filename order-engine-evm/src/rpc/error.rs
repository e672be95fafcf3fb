//! Why a call has no result.

use serde_json::Value;

/// A fault of the node itself.
const INTERNAL: i64 = -32_603;
/// A block or a state that the node does not have, or not yet.
const RESOURCE_NOT_FOUND: i64 = -32_001;
/// Too many requests (EIP-1474).
const LIMIT_EXCEEDED: i64 = -32_005;

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
        /// What else the node says about it, the data of a revert for instance.
        data: Option<Box<Value>>,
    },
    /// The answer is not the expected JSON.
    #[error("the answer cannot be read")]
    Malformed(#[source] Source),
    /// The client could not be created.
    #[error("the client cannot be made")]
    Client(#[source] Source),
    /// The node serves another chain.
    #[error("the node serves the chain {found}, and not {expected}")]
    OtherChain {
        /// The chain's id as it should be.
        expected: u64,
        /// As the node says.
        found: u64,
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
    #[error("the cluster has no nodes")]
    NoNodes,
}

impl RpcError {
    /// Returns whether another node, or the same one soon, may answer the same call.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::Malformed(_)
            | Self::OtherChain { .. }
            | Self::NoQuorum { .. }
            | Self::Behind { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Refused { code, message, .. } => {
                matches!(*code, INTERNAL | RESOURCE_NOT_FOUND | LIMIT_EXCEEDED) || lacks_block(message)
            }
            Self::Client(_) | Self::NoNodes => false,
        }
    }

    pub(crate) fn malformed(reason: impl Into<Source>) -> Self {
        Self::Malformed(reason.into())
    }
}

/// Whether a node says that it does not have the block that was asked for. Each kind of node says it in its own words.
fn lacks_block(message: &str) -> bool {
    let message = message.to_lowercase();
    ["header not found", "unknown block", "block not found", "blockoutofrange", "missing trie node"]
        .iter()
        .any(|words| message.contains(words))
}
