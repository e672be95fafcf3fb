#![doc = include_str!("../README.md")]

mod abi;
mod agreement;
#[cfg(feature = "config")]
mod config;
mod contract;
mod draft;
mod fees;
mod fill;
mod history;
mod keys;
mod landing;
mod nonce_use;
mod permit;
mod pools;
mod revert;
mod rpc;
mod search;
mod swap_builder;
mod tag;
mod venue;
mod venue_error;

pub use alloy_primitives::{Address, B256, Bytes, Signature, U256};
#[cfg(feature = "config")]
pub use config::{ConfigError, EvmConfig, EvmTrading, OpenError};
pub use draft::hash_of;
pub use fees::{FeePolicy, GasFees, REPLACEMENT_PERCENT_MIN};
pub use keys::{KeyError, LocalSigner, RemoteSigner, RemoteSignerOptions, SignError, WalletSigner};
pub use order_engine_chain::NodesOptions;
pub use permit::Permit;
pub use pools::{Deployment, PoolDirectory, PoolError, ReadReport, SwapRouter, UnreadPool};
pub use revert::{ALLOWANCE_MISSING, NO_LIQUIDITY, OUT_OF_GAS, TOKEN_NOT_SUPPORTED, TRANSFER_REFUSED};
pub use rpc::{Cluster, ClusterOptions, Finality, RpcError};
pub use swap_builder::{SwapBuilder, SwapCall, SwapRequest};
pub use venue::{AllowanceGoal, EvmVenue, EvmVenueOptions, FEE_TOO_HIGH, PermitPolicy};
