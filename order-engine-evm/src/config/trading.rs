//! The router and the venue that a configuration describes.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use alloy_primitives::Address;
use order_engine_core::telemetry::chain;
use order_engine_core::{Clock, Runtime, Token};
use order_engine_routing::{Router, RouterConfig, SearchLimits};
use serde_json::json;

use crate::abi::Decimals;
use crate::config::{EvmConfig, OpenError};
use crate::contract::{call, returned};
use crate::pools::{PoolDirectory, ReadReport, SwapRouter};
use crate::revert;
use crate::rpc::{Cluster, RpcError};
use crate::venue::EvmVenue;

/// How long an allowance may take to become final: blocks of Ethereum are final after a quarter of an hour.
const ALLOWANCE_PATIENCE: Duration = Duration::from_mins(30);

/// What an engine needs for trading on a chain of the EVM.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvmTrading {
    /// Finds routes over the pools.
    pub router: Arc<Router>,
    /// Builds, signs, sends and observes transactions.
    pub venue: Arc<EvmVenue>,
    /// The pools. They are kept fresh until the router, the venue and this are dropped.
    pub pools: Arc<PoolDirectory>,
}

impl EvmTrading {
    /// Connects, checks the tokens, reads the pools, makes the allowances final, and keeps the pools fresh.
    pub(super) async fn open(config: &EvmConfig, runtime: &Runtime) -> Result<Self, OpenError> {
        let signer = config.signer()?;
        let cluster = Arc::new(Cluster::new(config.cluster.clone(), runtime.clone())?);
        for token in &config.tokens {
            check_decimals(&cluster, token).await?;
        }
        let pools =
            PoolDirectory::new(cluster.clone(), config.deployment.clone(), config.pools.iter().copied());
        let pools = Arc::new(pools.with_reach_ticks(config.reach_ticks));
        let unread = warn_of_unread(&pools.read().await?, &BTreeSet::new());
        let limits = match config.deployment.router {
            SwapRouter::SwapRouter02(_) => SearchLimits::default(),
            // It trades one path, so whatever is split could not be executed.
            SwapRouter::V2(_) => SearchLimits::single_pools(),
        };
        let router = Router::new(Arc::clone(&pools) as _, Arc::clone(&runtime.clock))
            .with_config(RouterConfig::default().with_limits(limits));
        let venue = EvmVenue::new(cluster, signer, Arc::clone(&pools) as _, config.venue.clone());
        for goal in &config.allowances {
            let made = venue.ensure_allowance(*goal, ALLOWANCE_PATIENCE).await;
            made.map_err(|source| OpenError::Allowance { token: goal.token, source })?;
        }
        let (clock, interval) = (Arc::clone(&runtime.clock), config.pools_interval);
        let watching = keep_fresh(Arc::downgrade(&pools), unread, clock, interval);
        runtime.spawner.spawn("pools", Box::pin(watching));
        Ok(Self { router: Arc::new(router), venue: Arc::new(venue), pools })
    }
}

/// Checks that a token's contract has the decimals of the configuration.
async fn check_decimals(cluster: &Cluster, token: &Token) -> Result<(), OpenError> {
    let symbol = || token.symbol.clone();
    let no_token = || OpenError::NoToken { symbol: symbol() };
    let address: Address = token.mint.parse().map_err(|_| no_token())?;
    let (method, params) = call(address, &Decimals::decimalsCall {}, &json!("latest"));
    let told = match cluster.query::<alloy_primitives::Bytes>(method, params).await {
        Err(error) if revert::revert_data(&error).is_some() => return Err(no_token()),
        told => told?,
    };
    let found = returned::<Decimals::decimalsCall>(&told).map_err(|_| no_token())?;
    if found == token.decimals {
        return Ok(());
    }
    Err(OpenError::OtherDecimals { symbol: symbol(), found, expected: token.decimals })
}

/// Reads the pools again and again for as long as somebody else has them.
async fn keep_fresh(
    pools: Weak<PoolDirectory>,
    mut unread: BTreeSet<Address>,
    clock: Arc<dyn Clock>,
    interval: Duration,
) {
    let mut failed = false;
    loop {
        clock.sleep(interval).await;
        let Some(pools) = pools.upgrade() else { return };
        match pools.read().await {
            Ok(report) => {
                unread = warn_of_unread(&report, &unread);
                failed = false;
            }
            Err(error) => {
                if !failed {
                    warn_of_silence(&error);
                }
                failed = true;
            }
        }
    }
}

/// Logs which pools cannot be read, once each, and returns them.
fn warn_of_unread(report: &ReadReport, known: &BTreeSet<Address>) -> BTreeSet<Address> {
    for unread in report.unread.iter().filter(|unread| !known.contains(&unread.pool)) {
        tracing::warn!(pool = %unread.pool, error = %chain(&unread.error), "a pool cannot be traded");
    }
    report.unread.iter().map(|unread| unread.pool).collect()
}

fn warn_of_silence(error: &RpcError) {
    tracing::warn!(error = %chain(error), "the pools cannot be read, and grow old until they can");
}
