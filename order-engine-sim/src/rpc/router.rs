//! A router behind JSON-RPC.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{Candidate, DexRouter, Failure, FailureCode, QuoteRequest, StepError};
use order_engine_routing::{Pool, PoolSet, PoolSource, Router};

use crate::router::router_config;
use crate::rpc::client::{RpcClient, RpcError};

/// The age from which pools are fetched again. A slot of the chain is longer.
const MAX_AGE: Duration = Duration::from_millis(200);

/// A router over the pools of a node, at most 200 ms old.
#[derive(Debug)]
pub struct RpcRouter {
    pools: Arc<NodePools>,
    router: Router,
}

/// The pools of a node, as they were last fetched.
#[derive(Debug)]
pub(crate) struct NodePools {
    client: RpcClient,
    known: Mutex<(Arc<PoolSet>, DateTime<Utc>)>,
    /// Held during a fetch, so that concurrent callers share one answer.
    fetching: tokio::sync::Mutex<()>,
}

impl RpcRouter {
    /// Returns a router over the node of this client.
    pub fn new(client: &RpcClient) -> Self {
        let known = Mutex::new((Arc::new(PoolSet::default()), DateTime::<Utc>::MIN_UTC));
        let pools =
            Arc::new(NodePools { client: client.clone(), known, fetching: tokio::sync::Mutex::default() });
        let clock = Arc::clone(&client.runtime().clock);
        let router = Router::new(Arc::clone(&pools) as Arc<dyn PoolSource>, clock);
        Self { router: router.with_config(router_config()), pools }
    }

    /// Fetches the pools now, so that the first order knows the exchanges.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn refresh(&self) -> Result<(), RpcError> {
        self.pools.refresh().await
    }

    pub(crate) fn pools(&self) -> Arc<NodePools> {
        Arc::clone(&self.pools)
    }
}

impl NodePools {
    /// Fetches the pools, unless they are younger than [`MAX_AGE`].
    pub(crate) fn refresh(&self) -> Pin<Box<dyn Future<Output = Result<(), RpcError>> + Send + '_>> {
        // Boxed in this crate, so that the callers' crates do not compile the decoding of pools again.
        Box::pin(self.fetch())
    }

    async fn fetch(&self) -> Result<(), RpcError> {
        let _fetching = self.fetching.lock().await;
        let fetched_at = self.client.runtime().now();
        if self.known().1 + MAX_AGE > fetched_at {
            return Ok(());
        }
        let pools: Vec<Pool> = self.client.query("simPools", serde_json::Value::Null).await?;
        *self.known() = (Arc::new(PoolSet::new(pools)), fetched_at);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, (Arc<PoolSet>, DateTime<Utc>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolSource for NodePools {
    fn snapshot(&self) -> Arc<PoolSet> {
        Arc::clone(&self.known().0)
    }
}

#[async_trait]
impl DexRouter for RpcRouter {
    fn dexes(&self) -> Vec<String> {
        self.router.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        // Without an answer there is no quote, because old pools would give wrong prices.
        self.refresh().await.map_err(|error| {
            let failure = Failure::new(FailureCode::QUOTE_UNAVAILABLE, error.to_string());
            StepError::unavailable(failure).with_source(error)
        })?;
        self.router.quote(request).await
    }
}
