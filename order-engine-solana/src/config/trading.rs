//! The router and the venue that a configuration describes.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_routing::{Footprint, Router, RouterConfig, SearchLimits};

use crate::config::{OpenError, SolanaConfig};
use crate::keys::WalletSigner;
use crate::nonce_accounts::create_nonce_accounts;
use crate::pools::{PoolDirectory, WatchOptions};
use crate::rpc::{Cluster, RpcError};
use crate::venue::SolanaVenue;

/// How often it is looked whether the pools are still in use.
const UNUSED_POLL: Duration = Duration::from_secs(1);

/// What an engine needs for trading on Solana.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SolanaTrading {
    /// Finds routes over the pools.
    pub router: Arc<Router>,
    /// Builds, signs, sends and observes transactions.
    pub venue: Arc<SolanaVenue>,
    /// The pools. They are kept fresh until the router, the venue and this are dropped.
    pub pools: Arc<PoolDirectory>,
}

/// What the advance of a nonce account takes of a transaction: the account, the recent hashes, and the instruction.
const ADVANCE: Footprint = Footprint { compute_units: 200, arrays: 0, accounts: 2, bytes: 2 * 32 + 10 };

impl SolanaTrading {
    /// Connects, reads the pools once, and makes a router that knows what fits into a transaction.
    pub(super) async fn open(
        config: &SolanaConfig,
        (cluster, signer): (Arc<Cluster>, Arc<dyn WalletSigner>),
        runtime: &Runtime,
    ) -> Result<Self, OpenError> {
        let mut pools = PoolDirectory::new(Arc::clone(&cluster), config.pools.iter().copied());
        if config.pools_need_agreement {
            pools = pools.with_agreement();
        }
        let pools = Arc::new(pools);
        let price = config.venue.fees.floor_micro_lamports;
        let nonces = create_nonce_accounts(&cluster, &*signer, config.nonce_accounts, price).await?;
        let options = config.venue.clone().with_nonce_accounts(nonces);
        let venue = SolanaVenue::new(cluster, signer, Arc::clone(&pools) as _, options);
        read_pools(&pools).await?;
        pools.set_lookup_tables(venue.lookup_tables().await.map_err(OpenError::Tables)?);
        let mut limits = pools.transaction_limits();
        if config.nonce_accounts > 0 {
            limits.base = limits.base.plus(ADVANCE);
        }
        let limits = SearchLimits::default().with_transaction(limits);
        let router = Router::new(Arc::clone(&pools) as _, Arc::clone(&runtime.clock))
            .with_config(RouterConfig::default().with_limits(limits));
        Ok(Self { router: Arc::new(router), venue: Arc::new(venue), pools })
    }

    /// Keeps the pools fresh for as long as somebody else has the directory.
    pub(super) fn watch_pools(&self, options: WatchOptions, runtime: &Runtime) {
        let (pools, clock) = (Arc::clone(&self.pools), Arc::clone(&runtime.clock));
        let watching = async move {
            tokio::select! {
                never = pools.watch(options) => match never {},
                () = async { while Arc::strong_count(&pools) > 1 { clock.sleep(UNUSED_POLL).await } } => {}
            }
        };
        runtime.spawner.spawn("pools", Box::pin(watching));
    }
}

/// Reads all pools, and logs those that cannot be read.
async fn read_pools(pools: &PoolDirectory) -> Result<(), RpcError> {
    for unread in &pools.read().await?.unread {
        tracing::warn!(pool = %unread.pool, error = %chain(&unread.error), "a pool cannot be traded");
    }
    Ok(())
}
