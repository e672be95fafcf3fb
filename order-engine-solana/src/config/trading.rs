//! The router and the venue that a configuration describes.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_routing::Router;

use crate::config::SolanaConfig;
use crate::keys::WalletSigner;
use crate::pools::{PoolDirectory, ReadReport};
use crate::rpc::{Cluster, RpcError};
use crate::venue::SolanaVenue;

/// What an engine needs for trading on Solana.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SolanaTrading {
    /// Finds routes over the pools.
    pub router: Arc<Router>,
    /// Builds, signs, sends and observes transactions.
    pub venue: Arc<SolanaVenue>,
    /// The pools. They are read again and again until this value and its clones are dropped.
    pub pools: Arc<PoolDirectory>,
    interval: Duration,
    runtime: Runtime,
}

impl SolanaTrading {
    pub(super) fn new(
        config: &SolanaConfig,
        (cluster, signer): (Arc<Cluster>, Arc<dyn WalletSigner>),
        runtime: Runtime,
    ) -> Self {
        let pools = Arc::new(PoolDirectory::new(Arc::clone(&cluster), config.pools.iter().copied()));
        let router = Router::new(Arc::clone(&pools) as _, Arc::clone(&runtime.clock));
        let venue = SolanaVenue::new(cluster, signer, Arc::clone(&pools) as _, config.venue.clone());
        let (router, venue) = (Arc::new(router), Arc::new(venue));
        Self { router, venue, pools, interval: config.pool_interval, runtime }
    }

    /// Reads all pools, and logs those that cannot be read.
    pub(super) async fn read_pools(&self) -> Result<(), RpcError> {
        let report = self.pools.read().await?;
        log_unread(&report);
        Ok(())
    }

    /// Reads all pools again and again, as long as somebody else has the directory.
    pub(super) fn keep_reading_pools(&self) {
        let (pools, interval, clock) =
            (Arc::downgrade(&self.pools), self.interval, Arc::clone(&self.runtime.clock));
        let mut unread_before = Vec::new();
        let reading = async move {
            loop {
                clock.sleep(interval).await;
                let Some(pools) = pools.upgrade() else { return };
                match pools.read().await {
                    Ok(report) => {
                        let unread: Vec<_> = report.unread.iter().map(|unread| unread.pool).collect();
                        // Only what changes is news.
                        if unread != unread_before {
                            log_unread(&report);
                        }
                        unread_before = unread;
                    }
                    Err(error) => tracing::warn!(error = %chain(&error), "the pools cannot be read"),
                }
            }
        };
        self.runtime.spawner.spawn("pools", Box::pin(reading));
    }
}

fn log_unread(report: &ReadReport) {
    for unread in &report.unread {
        tracing::warn!(pool = %unread.pool, error = %chain(&unread.error), "a pool cannot be traded");
    }
}
