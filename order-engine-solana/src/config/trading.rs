//! The router and the venue that a configuration describes.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_routing::Router;

use crate::config::SolanaConfig;
use crate::keys::WalletSigner;
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

impl SolanaTrading {
    pub(super) fn new(
        config: &SolanaConfig,
        (cluster, signer): (Arc<Cluster>, Arc<dyn WalletSigner>),
        runtime: &Runtime,
    ) -> Self {
        let mut pools = PoolDirectory::new(Arc::clone(&cluster), config.pools.iter().copied());
        if config.pools_need_agreement {
            pools = pools.with_agreement();
        }
        let pools = Arc::new(pools);
        let router = Router::new(Arc::clone(&pools) as _, Arc::clone(&runtime.clock));
        let venue = SolanaVenue::new(cluster, signer, Arc::clone(&pools) as _, config.venue.clone());
        Self { router: Arc::new(router), venue: Arc::new(venue), pools }
    }

    /// Reads all pools, and logs those that cannot be read.
    pub(super) async fn read_pools(&self) -> Result<(), RpcError> {
        for unread in &self.pools.read().await?.unread {
            tracing::warn!(pool = %unread.pool, error = %chain(&unread.error), "a pool cannot be traded");
        }
        Ok(())
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
