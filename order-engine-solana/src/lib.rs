#![doc = include_str!("../README.md")]

mod account;
mod agreement;
#[cfg(feature = "config")]
mod config;
mod draft;
mod fees;
mod fill;
mod history;
pub mod instructions;
mod jupiter;
mod keys;
mod landing;
mod lookup_table;
mod nonce;
mod nonce_accounts;
mod pools;
mod program_error;
pub mod programs;
mod rpc;
mod search;
mod swap_builder;
mod venue;
mod venue_error;

pub use account::{Account, LayoutError};
#[cfg(feature = "config")]
pub use config::{ConfigError, OpenError, SolanaConfig, SolanaTrading};
pub use draft::{
    Draft, DraftError, Lifetime, Signed, TRANSACTION_ACCOUNTS_MAX, TRANSACTION_BYTES_MAX, Unsigned,
};
pub use fees::{ComputeBudget, FeePolicy, LAMPORTS_PER_SIGNATURE};
pub use jupiter::{JupiterOptions, JupiterRouter};
pub use keys::{KeyError, KeypairSigner, RemoteSigner, RemoteSignerOptions, SignError, WalletSigner};
pub use lookup_table::decode_lookup_table;
pub use nonce::{DurableNonce, NONCE_ACCOUNT_BYTES, create_nonce_account};
pub use nonce_accounts::{NonceAccountError, create_nonce_accounts, nonce_account_addresses};
pub use pools::{
    DirectoryHealth, PoolDirectory, PoolError, PoolListError, PoolStatus, ReadReport, UnreadPool,
    WatchOptions, read_pool_list,
};
pub use program_error::{
    ACCOUNT_FROZEN, ACCOUNT_MISSING, COMPUTE_EXCEEDED, NO_LIQUIDITY, POOL_NOT_OPEN, POOL_PAUSED,
};
pub use rpc::{AccountsAtSlot, Cluster, ClusterOptions, RpcError};
pub use solana_hash::Hash;
pub use solana_instruction::{AccountMeta, Instruction};
pub use solana_message::AddressLookupTableAccount;
pub use solana_pubkey::Pubkey;
pub use solana_signature::Signature;
pub use swap_builder::{Swap, SwapBuilder, SwapRequest};
pub use venue::{SolanaVenue, SolanaVenueOptions};
