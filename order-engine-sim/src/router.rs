//! A router over the simulated pools.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{Amount, Candidate, DexRouter, QuoteRequest, StepError};
use order_engine_routing::{LegCost, PoolSet, PoolSource, Router, RouterConfig};

use crate::chain::SimChain;
use crate::pace::Pace;
use crate::tokens::NATIVE_MINT;

/// The chain's cost for a leg, in lamports: a share of Solana's priority fee on a busy day. It keeps the
/// router from splitting small orders for a fraction of a cent.
const LEG_COST_LAMPORTS: u128 = 50_000;

/// A router over the pools at the time when the exchanges answer.
#[derive(Debug)]
pub(crate) struct SimRouter {
    router: Router,
    pace: Pace,
}

impl SimRouter {
    pub(crate) fn new(chain: Arc<SimChain>, pace: Pace) -> Self {
        Self { router: Router::new(chain, Arc::clone(&pace.clock)).with_config(router_config()), pace }
    }
}

/// Returns the configuration of every router on a simulated chain.
pub(crate) fn router_config() -> RouterConfig {
    let leg_cost = LegCost { mint: NATIVE_MINT.to_owned(), amount: Amount::new(LEG_COST_LAMPORTS) };
    RouterConfig::default().with_leg_cost(leg_cost)
}

#[async_trait]
impl DexRouter for SimRouter {
    fn dexes(&self) -> Vec<String> {
        self.router.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        // The exchanges answer concurrently, so all of them together take one step.
        self.pace.step().await;
        self.router.quote(request).await
    }
}

impl PoolSource for SimChain {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.pools()
    }
}
