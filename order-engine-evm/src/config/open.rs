//! Why trading cannot begin.

use alloy_primitives::Address;
use order_engine_core::{FailureClass, StepError};

use crate::keys::KeyError;
use crate::rpc::RpcError;

/// Why trading cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The wallet's key cannot be used.
    #[error("the wallet cannot be used")]
    Key(#[from] KeyError),
    /// The nodes cannot be asked. If it [is transient](Self::is_transient), they may answer later.
    #[error("the nodes cannot be asked")]
    Nodes(#[from] RpcError),
    /// There is no token at the address of one.
    #[error("{symbol} is no token at this address")]
    NoToken {
        /// The token, as the configuration calls it.
        symbol: String,
    },
    /// A token has other decimals than the configuration says: amounts would be wrong by powers of ten.
    #[error("{symbol} has {found} decimals, and not {expected}")]
    OtherDecimals {
        /// The token, as the configuration calls it.
        symbol: String,
        /// The decimals of the contract.
        found: u8,
        /// The decimals of the configuration.
        expected: u8,
    },
    /// The router is not allowed to take what the configuration says. If the error [is transient](Self::is_transient), it may be later.
    #[error("the allowance of {token} is not there")]
    Allowance {
        /// The token's address.
        token: Address,
        /// Why not.
        source: StepError,
    },
}

impl OpenError {
    /// Whether the nodes may answer later. Nodes of another chain are no matter of time.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Nodes(RpcError::OtherChain { .. }) => false,
            Self::Nodes(error) => error.is_transient(),
            Self::Allowance { source, .. } => !matches!(source.class, FailureClass::Permanent),
            _ => false,
        }
    }
}
