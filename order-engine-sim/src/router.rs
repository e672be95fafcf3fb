//! The router over the simulated pools.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{Candidate, DexRouter, QuoteRequest, StepError};
use order_engine_routing::{PoolSet, PoolSource, Router};

use crate::chain::SimChain;
use crate::pace::Pace;

/// Routes over the pools as they are when the exchanges answer.
#[derive(Debug)]
pub(crate) struct SimRouter {
    router: Router,
    pace: Pace,
}

impl SimRouter {
    pub(crate) fn new(chain: Arc<SimChain>, pace: Pace) -> Self {
        Self { router: Router::new(chain), pace }
    }
}

#[async_trait]
impl DexRouter for SimRouter {
    fn dexes(&self) -> Vec<String> {
        self.router.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        // The exchanges are asked at once, so all of them together take one step.
        self.pace.step().await;
        self.router.quote(request).await
    }
}

impl PoolSource for SimChain {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.pools()
    }
}
