//! The doors of the simulator: a venue and a router.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{
    Candidate, ChainView, DexRouter, Failure, FailureCode, Leg, Observation, PrepareRequest, QuoteRequest,
    SignedTx, StepError, SubmitReport, TxId, Validity, Venue, VenueError,
};
use order_engine_routing::{PoolSet, PoolSource, Router};

use crate::chain::{Sent, simulate};
use crate::simulator::Inner;
use crate::tx::{Message, Swap};

/// The venue of a simulated chain.
#[derive(Debug)]
pub(crate) struct SimVenue {
    sim: Arc<Inner>,
}

impl SimVenue {
    pub(crate) const fn new(sim: Arc<Inner>) -> Self {
        Self { sim }
    }
}

#[async_trait]
impl Venue for SimVenue {
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.sim.step().await;
        let now_ms = self.sim.now_ms();
        let nonce = self.sim.runtime.entropy.next_u128();
        let chain = self.sim.chain();
        let pools = chain.pools(now_ms);
        let message = Message {
            order_id: request.order.id,
            recent_height: chain.height(now_ms),
            nonce,
            min_amount_out: request.min_amount_out,
            legs: request.route.legs.iter().map(|leg| swap(&pools, leg)).collect::<Result<_, _>>()?,
        };
        let output = simulate(&pools, &message.legs).map_err(|error| requote(error.to_string()))?;
        if output < message.min_amount_out {
            let minimum = message.min_amount_out;
            let words =
                format!("The swap would pay {output} base units now, less than the minimum of {minimum}");
            return Err(requote(words));
        }
        let refused = |error| StepError::permanent(Failure::new(FailureCode::REJECTED, format!("{error}")));
        let (id, bytes) = chain.sign(&message).map_err(refused)?;
        let validity = Validity::UntilHeight(message.last_valid_height());
        Ok(SignedTx { id, bytes, validity, min_amount_out: message.min_amount_out })
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.sim.step().await;
        let sent = self.sim.chain().send(&tx.bytes, self.sim.now_ms());
        // Without a delay it has landed by now, and nothing is told before that is on the disk.
        drop(self.sim.chain());
        if let Err(error) = self.sim.ledger.flush().await {
            return SubmitReport::Ambiguous { message: error.to_string() };
        }
        match sent {
            Sent::Accepted => SubmitReport::Accepted,
            Sent::AlreadyKnown => SubmitReport::AlreadyKnown,
            Sent::Refused(reason) => SubmitReport::DefinitelyNotAccepted { message: reason.to_owned() },
        }
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        Ok(self.sim.chain().view(self.sim.now_ms()))
    }

    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
        let observations = {
            let chain = self.sim.chain();
            let now_ms = self.sim.now_ms();
            tx_ids.iter().map(|id| chain.observe(id, now_ms)).collect()
        };
        self.sim.ledger.flush().await.map_err(|error| VenueError::new(error.to_string()))?;
        Ok(observations)
    }
}

fn requote(message: String) -> StepError {
    StepError::requote(Failure::new(FailureCode::SLIPPAGE, message))
}

/// A route's leg as a swap. A pool that is gone means that the route is out of date.
fn swap(pools: &PoolSet, leg: &Leg) -> Result<Swap, StepError> {
    let pool = pools.pools().iter().find(|pool| pool.id == leg.pool);
    let pool = pool.ok_or_else(|| requote(format!("there is no pool {:?} any more", leg.pool)))?;
    Ok(Swap { pool: leg.pool.clone(), sells_a: pool.token_a == leg.input_mint, amount_in: leg.amount_in })
}

/// The quotes of the simulated exchanges.
#[derive(Debug)]
pub(crate) struct SimRouter {
    sim: Arc<Inner>,
    router: Router,
}

impl SimRouter {
    pub(crate) fn new(sim: Arc<Inner>) -> Self {
        let source: Arc<dyn PoolSource> = Arc::<Inner>::clone(&sim);
        Self { sim, router: Router::new(source) }
    }
}

#[async_trait]
impl DexRouter for SimRouter {
    fn dexes(&self) -> Vec<String> {
        self.router.dexes()
    }

    /// Both exchanges are asked at the same time, so a quote takes one step.
    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        self.sim.step().await;
        self.router.quote(request).await
    }
}
