//! What a host trades on, from a file: the chain, its nodes, a wallet, tokens, pools and fees.
//!
//! The README shows a file with all its settings.

mod file;
#[cfg(test)]
mod tests;
mod trading;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use order_engine_chain::config::Explorer;
use order_engine_core::{Runtime, Token};
use serde_json::json;
use solana_pubkey::Pubkey;

use crate::config::file::{File, Wallet};
use crate::keys::{KeyError, KeypairSigner, RemoteSigner, WalletSigner};
use crate::nonce_accounts::NonceAccountError;
use crate::pools::{PoolListError, WatchOptions, read_pool_list};
use crate::rpc::{Cluster, ClusterOptions, RpcError};
use crate::venue::SolanaVenueOptions;

pub use crate::config::trading::SolanaTrading;
pub use order_engine_chain::config::ConfigError;

/// The content of a file that says how to trade on a cluster of Solana.
///
/// `Debug` shows neither the URLs of nodes nor anything of the wallet.
#[derive(Clone)]
#[non_exhaustive]
pub struct SolanaConfig {
    /// What the chain is called, for people.
    pub chain: String,
    /// The hash of the first block, by which the chain is known. Trading on another chain is refused.
    pub genesis_hash: Option<String>,
    /// The URL of a transaction at an explorer, with `{tx}` in the place of its id.
    pub explorer: Option<Explorer>,
    /// The nodes.
    pub nodes: ClusterOptions,
    /// The tokens that can be traded.
    pub tokens: Vec<Token>,
    /// The pools.
    pub pools: Vec<Pubkey>,
    /// Whether a quorum of nodes has to tell the same of a pool before it is quoted. If not, one node is believed.
    pub pools_need_agreement: bool,
    /// How the pools are kept fresh.
    pub watch: WatchOptions,
    /// How many nonce accounts the wallet has; those that are not there are made when trading is opened. Without any,
    /// transactions expire with a recent blockhash.
    pub nonce_accounts: usize,
    /// The options of the venue.
    pub venue: SolanaVenueOptions,
    wallet: Wallet,
    folder: PathBuf,
}

impl fmt::Debug for SolanaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolanaConfig")
            .field("chain", &self.chain)
            .field("nodes", &self.nodes)
            .field("tokens", &self.tokens)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

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
    /// The wallet's nonce accounts cannot be used or made.
    #[error("the nonce accounts cannot be used")]
    NonceAccounts(#[from] NonceAccountError),
    /// The lookup tables cannot be read.
    #[error("the lookup tables cannot be read")]
    Tables(#[source] RpcError),
    /// The nodes are of another chain than the configuration says.
    #[error("the first block of the nodes' chain is {found}, and not {expected}")]
    OtherChain {
        /// The hash that the nodes tell.
        found: String,
        /// The hash that the configuration has.
        expected: String,
    },
}

impl OpenError {
    /// Whether the nodes may answer later.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Nodes(error) | Self::NonceAccounts(NonceAccountError::Rpc(error)) | Self::Tables(error) => {
                error.is_transient()
            }
            _ => false,
        }
    }
}

impl SolanaConfig {
    /// Reads a configuration from a file. Other files that it names are found from its own folder.
    ///
    /// # Errors
    /// If the file, or one that it names, cannot be read, or a setting is missing, unknown or has a value that it
    /// cannot have.
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
        let pools = pools(&file.pools.addresses, file.pools.file.as_deref(), &folder)?;
        if file.tokens.len() < 2 {
            return Err(ConfigError::invalid("tokens", "there must be at least two"));
        }
        for token in &file.tokens {
            address("tokens.mint", &token.mint)?;
        }
        let tokens =
            file.tokens.into_iter().map(|token| Token::new(token.mint, token.symbol, token.decimals));
        Ok(Self {
            chain: file.chain,
            genesis_hash: file.genesis_hash,
            explorer: file.explorer,
            watch: file.nodes.watch(file.pools.interval_ms)?,
            nodes: file.nodes.options(&folder)?,
            tokens: tokens.collect(),
            pools,
            pools_need_agreement: file.pools.agreement,
            nonce_accounts: file.venue.nonce_accounts,
            venue: file.venue.options(&file.fees)?,
            wallet: file.wallet,
            folder,
        })
    }

    /// Returns the URL of a transaction at the explorer, if there is one.
    pub fn explorer_url(&self, tx_id: &str) -> Option<String> {
        self.explorer.as_ref().map(|explorer| explorer.url(tx_id))
    }

    /// Returns the signer of the wallet.
    ///
    /// # Errors
    /// If the key cannot be read or is none.
    pub fn signer(&self) -> Result<Arc<dyn WalletSigner>, KeyError> {
        Ok(match &self.wallet {
            Wallet::KeypairFile(path) => Arc::new(KeypairSigner::from_file(self.folder.join(path))?),
            Wallet::Environment(variable) => Arc::new(KeypairSigner::from_env(variable)?),
            Wallet::Remote(table) => Arc::new(RemoteSigner::new(table.options(&self.folder)?)?),
        })
    }

    /// Connects to the nodes, and reads the pools once.
    ///
    /// # Errors
    /// If the wallet cannot be used, no node answers, or the nodes are of another chain.
    pub async fn open(&self, runtime: Runtime) -> Result<SolanaTrading, OpenError> {
        let signer = self.signer()?;
        let cluster = Arc::new(Cluster::new(self.nodes.clone(), runtime.clone())?);
        if let Some(expected) = &self.genesis_hash {
            let found: String = cluster.query("getGenesisHash", json!([])).await?;
            if found != *expected {
                return Err(OpenError::OtherChain { found, expected: expected.clone() });
            }
        }
        let trading = SolanaTrading::open(self, (cluster, signer), &runtime).await?;
        trading.watch_pools(self.watch.clone(), &runtime);
        Ok(trading)
    }
}

fn address(setting: &'static str, text: &str) -> Result<Pubkey, ConfigError> {
    text.parse().map_err(|_| ConfigError::invalid(setting, format!("{text:?} is no address")))
}

/// Returns the listed pools and those of the file.
fn pools(listed: &[String], file: Option<&Path>, folder: &Path) -> Result<Vec<Pubkey>, ConfigError> {
    let mut pools: BTreeSet<Pubkey> =
        listed.iter().map(|text| address("pools.addresses", text)).collect::<Result<_, _>>()?;
    if let Some(file) = file {
        let path = folder.join(file);
        let unusable =
            |error: PoolListError| ConfigError::OtherFile { path: path.clone(), source: error.into() };
        pools.extend(read_pool_list(&path).map_err(unusable)?);
    }
    if pools.is_empty() {
        return Err(ConfigError::invalid("pools", "there must be at least one"));
    }
    Ok(pools.into_iter().collect())
}
