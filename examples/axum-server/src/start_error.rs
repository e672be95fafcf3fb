//! Why the server cannot start.

use std::path::PathBuf;

use order_engine_core::{BuildError, StoreError};
use order_engine_sim::SimError;
use order_engine_sim::rpc::RpcError;

use crate::config::InvalidRole;
use crate::tokens::TokenRegistryError;
use crate::webhooks::service::InvalidWebhooks;

/// Why a host cannot start, as one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The token file has no valid registry.
    #[error(transparent)]
    Tokens(#[from] TokenRegistryError),
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The store may lose its last writes, and the operator has not accepted that.
    #[error(
        "the store may lose its last orders if its machine fails, and a lost order may be executed again; \
         configure the store to lose nothing, or use --accept-bounded-loss"
    )]
    BoundedLoss,
    /// The fan-out cannot be used.
    #[error("cannot join the fan-out")]
    Fanout(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration does not fit the role.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// The venue's node refuses to be called.
    #[error("cannot call the venue")]
    Venue(#[from] RpcError),
    /// The chain of a file cannot be traded on.
    #[error("cannot trade as {} says", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There can be no webhooks.
    #[error(transparent)]
    Webhooks(#[from] InvalidWebhooks),
    /// The simulator cannot be opened.
    #[error("cannot start the simulator")]
    Sim(#[from] SimError),
    /// The engine cannot be built.
    #[error("cannot start the engine")]
    Engine(#[from] BuildError),
}
