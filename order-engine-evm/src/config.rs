//! What a host trades on, from a file: the chain, its nodes, a wallet, tokens, an exchange's contracts, pools and fees.
//!
//! The README shows a file with all its settings.

mod address;
mod file;
mod open;
#[cfg(test)]
mod tests;
mod trading;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use order_engine_chain::config::Explorer;
use order_engine_chain::{read_secret_file, read_secret_variable};
use order_engine_core::{Runtime, Token};

use crate::config::file::{File, Password, Wallet};
use crate::keys::{KeyError, LocalSigner, RemoteSigner, WalletSigner};
use crate::pools::Deployment;
use crate::rpc::ClusterOptions;
use crate::venue::{AllowanceGoal, EvmVenueOptions};

pub use crate::config::open::OpenError;
pub use crate::config::trading::EvmTrading;
pub use order_engine_chain::config::ConfigError;

/// The content of a file that says how to trade on a chain of the EVM.
///
/// `Debug` shows neither the URLs of nodes nor anything of the wallet.
#[derive(Clone)]
#[non_exhaustive]
pub struct EvmConfig {
    /// What the chain is called, for people.
    pub chain: String,
    /// The URL of a transaction at an explorer, with `{tx}` in the place of its hash.
    pub explorer: Option<Explorer>,
    /// The nodes, the chain's id, and which of its blocks are final.
    pub cluster: ClusterOptions,
    /// The tokens that can be traded, by the addresses of their contracts. Trading with other decimals than a contract's is refused.
    pub tokens: Vec<Token>,
    /// What the router is allowed to take of tokens before trading begins.
    pub allowances: Vec<AllowanceGoal>,
    /// The contracts of the exchange.
    pub deployment: Deployment,
    /// The pools.
    pub pools: Vec<Address>,
    /// How often all pools are read.
    pub pools_interval: Duration,
    /// How far from the price ticks are read, in ticks of a hundredth of a percent.
    pub reach_ticks: u16,
    /// The options of the venue.
    pub venue: EvmVenueOptions,
    wallet: Wallet,
    folder: PathBuf,
}

impl fmt::Debug for EvmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmConfig")
            .field("chain", &self.chain)
            .field("cluster", &self.cluster)
            .field("tokens", &self.tokens)
            .field("deployment", &self.deployment)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

impl EvmConfig {
    /// Reads a configuration from a file. Other files that it names are found from its own folder.
    ///
    /// # Errors
    /// If the file cannot be read, or a setting is missing, unknown or has a value that it cannot have.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = order_engine_chain::config::read(path)?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Self::parse(&text, folder)
    }

    /// Reads a configuration from a text. Files that it names are found from this folder.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, folder: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let folder = folder.into();
        let file: File = order_engine_chain::config::parse(text)?;
        let nodes = file.nodes.options(&folder)?;
        Ok(Self {
            chain: file.chain,
            explorer: file.explorer,
            cluster: ClusterOptions::with_nodes(nodes, file.chain_id.get())
                .with_finality(file.finality.into()),
            allowances: file::allowances(&file.tokens)?,
            tokens: file::tokens(file.tokens)?,
            deployment: file.deployment.contracts()?,
            pools_interval: Duration::from_millis(file.pools.interval_ms.get()),
            reach_ticks: file.pools.reach_ticks,
            pools: file.pools.addresses()?,
            venue: file.venue.options(&file.fees)?,
            wallet: file.wallet,
            folder,
        })
    }

    /// Returns the URL of a transaction at the explorer, if there is one.
    pub fn explorer_url(&self, tx_id: &str) -> Option<String> {
        self.explorer.as_ref().map(|explorer| explorer.url(tx_id))
    }

    /// Returns the signer of the wallet. An encrypted key file takes about a second of processor time.
    ///
    /// # Errors
    /// If the key cannot be read or is none.
    pub fn signer(&self) -> Result<Arc<dyn WalletSigner>, KeyError> {
        Ok(match &self.wallet {
            Wallet::Keystore { file, password } => {
                let password = match password {
                    Password::File(path) => read_secret_file(self.folder.join(path))?,
                    Password::Environment(variable) => read_secret_variable(variable)?,
                };
                // Editors end a file with a new line.
                let password = password.trim_end_matches(['\r', '\n']);
                Arc::new(LocalSigner::from_keystore(self.folder.join(file), password)?)
            }
            Wallet::Environment(variable) => Arc::new(LocalSigner::from_env(variable)?),
            Wallet::Remote(table) => Arc::new(RemoteSigner::new(table.options(&self.folder)?)?),
        })
    }

    /// Connects to the nodes, checks the tokens, makes the [allowances](Self::allowances) final, reads the pools once, and keeps them
    /// fresh from then on.
    ///
    /// # Errors
    /// If the wallet cannot be used, no node answers, the nodes are of another chain, a token has other decimals, or an allowance is
    /// not final within half an hour.
    pub async fn open(&self, runtime: Runtime) -> Result<EvmTrading, OpenError> {
        EvmTrading::open(self, &runtime).await
    }
}
