//! The router over the simulated pools.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{Amount, Candidate, DexRouter, QuoteRequest, StepError};
use order_engine_routing::{LegCost, PoolSet, PoolSource, Router, RouterConfig};

use crate::chain::SimChain;
use crate::pace::Pace;
use crate::tokens::NATIVE_MINT;

/// What the chain takes for a leg, in lamports: a share of a priority fee as on a busy day of
/// Solana's. It keeps small orders from being split for a fraction of a cent.
const LEG_COST_LAMPORTS: u128 = 50_000;

/// Routes over the pools as they are when the exchanges answer.
#[derive(Debug)]
pub(crate) struct SimRouter {
    router: Router,
    pace: Pace,
}

impl SimRouter {
    pub(crate) fn new(chain: Arc<SimChain>, pace: Pace) -> Self {
        Self { router: Router::new(chain, Arc::clone(&pace.clock)).with_config(config()), pace }
    }
}

/// How to route on a simulated chain, wherever its pools come from.
pub(crate) fn config() -> RouterConfig {
    let leg_cost = LegCost { mint: NATIVE_MINT.to_owned(), amount: Amount::new(LEG_COST_LAMPORTS) };
    RouterConfig::default().with_leg_cost(leg_cost)
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
