//! What the server trades on: the simulator in this process, one behind a URL, or a chain that a file describes.

#[cfg(any(feature = "evm", feature = "solana"))]
mod chain;

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::telemetry::chain;
use order_engine_core::{DexRouter, Runtime, Venue};
use order_engine_sim::rpc::{RpcClient, RpcError, RpcOptions, RpcRouter, RpcVenue};
use order_engine_sim::{NonceConfig, NonceKind, SimConfig, Simulator};
use serde::Serialize;
use utoipa::ToSchema;

#[cfg(any(feature = "evm", feature = "solana"))]
use crate::chain_file::ChainFile;
use crate::config::{Config, Role, TxBound};
use crate::start_error::StartError;
use crate::tokens::TokenRegistry;

/// How often a venue that has not started yet is asked again.
const VENUE_POLL: Duration = Duration::from_secs(1);

/// The chain that the server trades on, as clients are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Chain)]
#[non_exhaustive]
pub struct ChainInfo {
    /// Its name.
    pub name: String,
    /// Whether it is a simulation, on which nothing has a value.
    pub is_simulated: bool,
    /// The URL of a transaction at an explorer, with `{tx}` in the place of its id.
    pub explorer: Option<String>,
}

impl Default for ChainInfo {
    /// Returns the simulated chain.
    fn default() -> Self {
        Self { name: "a simulated chain".to_owned(), is_simulated: true, explorer: None }
    }
}

/// What an engine needs for trading, and the tokens that it can trade.
pub(crate) struct Trading {
    pub(crate) router: Arc<dyn DexRouter>,
    pub(crate) venue: Arc<dyn Venue>,
    pub(crate) chain: ChainInfo,
    pub(crate) tokens: TokenRegistry,
}

/// Opens what the configuration names. Waits for nodes that have not started yet.
pub(crate) async fn open(config: &Config) -> Result<Trading, StartError> {
    match (&config.venue, &config.venue_url) {
        #[cfg(feature = "evm")]
        (Some(ChainFile::Evm(path)), _) => chain::open::<order_engine_evm::EvmConfig>(path, config).await,
        #[cfg(feature = "solana")]
        (Some(ChainFile::Solana(path)), _) => {
            chain::open::<order_engine_solana::SolanaConfig>(path, config).await
        }
        (None, Some(url)) => {
            let tokens = tokens(config)?;
            let (router, venue) = remote(url.as_str(), venue_bound(config)).await?;
            Ok(Trading { router, venue, chain: ChainInfo::default(), tokens })
        }
        (None, None) => {
            let tokens = tokens(config)?;
            let simulator = Simulator::open(sim_config(config, &tokens), Runtime::tokio()).await?;
            let (router, venue) = (simulator.router(), simulator.venue());
            Ok(Trading { router, venue, chain: ChainInfo::default(), tokens })
        }
        #[cfg(not(any(feature = "evm", feature = "solana")))]
        (Some(chain), _) => match *chain {},
    }
}

/// Returns the tokens of the configured file, or else those of the simulator.
fn tokens(config: &Config) -> Result<TokenRegistry, StartError> {
    Ok(match &config.tokens {
        Some(path) => TokenRegistry::read(path)?,
        None => TokenRegistry::default(),
    })
}

/// Returns what bounds the venue's transactions, if that is known or makes no difference: only a worker sends some.
fn venue_bound(config: &Config) -> Option<TxBound> {
    config.venue_validity.or_else(|| (config.role == Role::Api).then_some(TxBound::Height))
}

/// Returns the router and the venue behind a URL. The engine has to know what bounds the venue's transactions; if the
/// configuration does not say that, the venue is asked, and waited for.
async fn remote(url: &str, bound: Option<TxBound>) -> Result<(Arc<dyn DexRouter>, Arc<dyn Venue>), RpcError> {
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio())?;
    let router = RpcRouter::new(&client);
    let venue = match bound {
        Some(TxBound::Height) => RpcVenue::new(client, &router),
        Some(TxBound::Nonce) => RpcVenue::new(client, &router).with_nonces(NonceKind::Numbers),
        None => connect(client, &router).await?,
    };
    if let Err(error) = router.refresh().await {
        tracing::warn!(error = %chain(&error), "the pools are not known yet");
    }
    Ok((Arc::new(router), Arc::new(venue)))
}

/// Asks a node for its kind until it answers.
async fn connect(client: RpcClient, router: &RpcRouter) -> Result<RpcVenue, RpcError> {
    loop {
        match RpcVenue::connect(client.clone(), router).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain(&error), "the venue does not answer yet");
                tokio::time::sleep(VENUE_POLL).await;
            }
            connected => return connected,
        }
    }
}

fn sim_config(config: &Config, tokens: &TokenRegistry) -> SimConfig {
    SimConfig {
        seed: config.sim_seed,
        step_delay: Duration::from_millis(config.sim_delay_ms),
        fail_rate: config.sim_fail_rate,
        ledger: config.ledger(),
        tokens: tokens.tokens().to_vec(),
        nonces: (config.sim_validity == TxBound::Nonce)
            .then_some(NonceConfig { accounts: config.sim_accounts, ..NonceConfig::default() }),
        ..SimConfig::default()
    }
}
