//! Secrets of wallets, and signers in other processes.

mod error;
mod remote;
mod secret;

pub use error::{KeyError, SignError};
pub use remote::{RemoteSignerOptions, SignerClient};
pub use secret::{read_secret_file, read_secret_variable};
