//! A chain that a file describes.

use std::path::Path;
use std::sync::Arc;

use order_engine_core::telemetry::chain;
use order_engine_core::{DexRouter, Runtime, Token, Venue};

use super::{ChainInfo, Trading, VENUE_POLL};
use crate::config::Config;
use crate::start_error::StartError;
use crate::tokens::TokenRegistry;

/// The router and the venue of a chain.
type Opened = (Arc<dyn DexRouter>, Arc<dyn Venue>);

/// A configuration of one of the chains' crates.
pub(super) trait ChainConfig: Sized + Sync {
    type Invalid: std::error::Error + Send + Sync + 'static;
    type NotOpen: std::error::Error + Send + Sync + 'static;

    fn read(path: &Path) -> Result<Self, Self::Invalid>;

    /// Returns the chain as clients are told, and its tokens.
    fn told(&self) -> (ChainInfo, Vec<Token>);

    /// Connects to the nodes.
    fn connect(&self) -> impl Future<Output = Result<Opened, Self::NotOpen>> + Send;

    /// Whether nodes that did not answer may do so later.
    fn may_pass(error: &Self::NotOpen) -> bool;
}

/// Opens the chain of a file. Waits for nodes that have not started yet.
pub(super) async fn open<C: ChainConfig>(path: &Path, config: &Config) -> Result<Trading, StartError> {
    let chain_config = C::read(path).map_err(|error| unusable(path, error))?;
    let (told, of_chain) = chain_config.told();
    let tokens = tokens(config, of_chain)?;
    let (router, venue) = loop {
        match chain_config.connect().await {
            Err(error) if C::may_pass(&error) => {
                tracing::warn!(error = %chain(&error), "the nodes do not answer yet");
                tokio::time::sleep(VENUE_POLL).await;
            }
            opened => break opened.map_err(|error| unusable(path, error))?,
        }
    };
    Ok(Trading { router, venue, chain: told, tokens })
}

/// Returns the tokens of the configured file, or else those of the chain.
fn tokens(config: &Config, of_chain: Vec<Token>) -> Result<TokenRegistry, StartError> {
    Ok(match &config.tokens {
        Some(path) => TokenRegistry::read(path)?,
        None => TokenRegistry::new(of_chain)?,
    })
}

fn unusable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> StartError {
    StartError::Chain { path: path.to_owned(), source: Box::new(source) }
}

/// Makes the configuration of a chain's crate one that can be opened here; those of all crates have the same functions.
macro_rules! chain_config {
    ($feature:literal, $crate_name:ident, $config:ident) => {
        #[cfg(feature = $feature)]
        impl ChainConfig for $crate_name::$config {
            type Invalid = $crate_name::ConfigError;
            type NotOpen = $crate_name::OpenError;

            fn read(path: &Path) -> Result<Self, Self::Invalid> {
                Self::read(path)
            }

            fn told(&self) -> (ChainInfo, Vec<Token>) {
                let explorer = self.explorer.as_ref().map(ToString::to_string);
                let info = ChainInfo { name: self.chain.clone(), is_simulated: false, explorer };
                (info, self.tokens.clone())
            }

            async fn connect(&self) -> Result<Opened, Self::NotOpen> {
                let trading = self.open(Runtime::tokio()).await?;
                Ok((trading.router, trading.venue))
            }

            fn may_pass(error: &Self::NotOpen) -> bool {
                error.is_transient()
            }
        }
    };
}

chain_config!("evm", order_engine_evm, EvmConfig);
chain_config!("solana", order_engine_solana, SolanaConfig);
