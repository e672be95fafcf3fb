//! A router over the pools of a node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{Candidate, DexRouter, Failure, FailureCode, QuoteRequest, StepError};
use order_engine_routing::{Pool, PoolSet, PoolSource, Router};

use crate::rpc::client::{RpcClient, RpcError};

/// How old pools may be before they are asked for again. A slot of the chain takes longer.
const MAX_AGE: Duration = Duration::from_millis(200);

/// Routes over the pools of a node, as they were a moment ago.
#[derive(Debug)]
pub struct RpcRouter {
    pools: Arc<NodePools>,
    router: Router,
}

/// The pools that were asked for last.
#[derive(Debug)]
pub(crate) struct NodePools {
    client: RpcClient,
    known: Mutex<(Arc<PoolSet>, DateTime<Utc>)>,
    /// One asks, and everybody else waits for the answer.
    asking: tokio::sync::Mutex<()>,
}

impl RpcRouter {
    /// A router over the node of this client.
    pub fn new(client: &RpcClient) -> Self {
        let known = Mutex::new((Arc::new(PoolSet::default()), DateTime::<Utc>::MIN_UTC));
        let pools =
            Arc::new(NodePools { client: client.clone(), known, asking: tokio::sync::Mutex::default() });
        let clock = Arc::clone(&client.runtime().clock);
        let router = Router::new(Arc::clone(&pools) as Arc<dyn PoolSource>, clock);
        Self { router: router.with_config(crate::router::config()), pools }
    }

    /// Asks for the pools now, so that the first order knows its exchanges.
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
    /// Asks for the pools, unless they were asked for a moment ago.
    pub(crate) async fn refresh(&self) -> Result<(), RpcError> {
        let _asking = self.asking.lock().await;
        let asked_at = self.client.runtime().now();
        if self.known().1 + MAX_AGE > asked_at {
            return Ok(());
        }
        let pools: Vec<Pool> = self.client.ask("simPools", serde_json::Value::Null).await?;
        *self.known() = (Arc::new(PoolSet::new(pools)), asked_at);
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
        // An old price is no quote: without an answer there is none.
        self.refresh().await.map_err(|error| {
            StepError::unavailable(Failure::new(FailureCode::QUOTE_UNAVAILABLE, error.to_string()))
        })?;
        self.router.quote(request).await
    }
}
