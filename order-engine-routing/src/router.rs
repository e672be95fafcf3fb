//! The router: the best pool of each exchange.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{
    Amount, Candidate, CandidateOutcome, DexRouter, Failure, FailureCode, Leg, QuoteRequest, Route, StepError,
};

use crate::pool::{Pool, QuoteError};
use crate::source::{PoolSet, PoolSource};
use crate::trade::Moment;

/// Proposes the best pool of each exchange.
#[derive(Debug)]
pub struct Router {
    source: Arc<dyn PoolSource>,
}

impl Router {
    /// A router over these pools.
    pub const fn new(source: Arc<dyn PoolSource>) -> Self {
        Self { source }
    }
}

#[async_trait]
impl DexRouter for Router {
    fn dexes(&self) -> Vec<String> {
        self.source.snapshot().dexes().into_iter().map(str::to_owned).collect()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let snapshot = self.source.snapshot();
        Ok(snapshot.dexes().into_iter().map(|dex| candidate(&snapshot, dex, request)).collect())
    }
}

/// The best pool of an exchange, or why it has none.
fn candidate(pools: &PoolSet, dex: &str, request: &QuoteRequest) -> Candidate {
    let (input, output) = (request.input.mint.as_str(), request.output.mint.as_str());
    let mut best: Option<(Amount, &Pool)> = None;
    let mut rejected: Option<(QuoteError, &Pool)> = None;
    for pool in pools.pools().iter().filter(|pool| pool.dex == dex && pool.trades(input, output)) {
        let quote = pool
            .direction(input)
            .and_then(|direction| pool.amount_out(direction, request.amount, Moment::EARLIEST));
        match quote {
            Ok(out) if best.is_none_or(|(most, rival)| out > most || (out == most && pool.id < rival.id)) => {
                best = Some((out, pool));
            }
            Ok(_) => {}
            Err(error) => rejected = Some((error, pool)),
        }
    }
    match (best, rejected) {
        (Some((amount_out, pool)), _) => quoted(pool, amount_out, request),
        (None, Some((error, pool))) => unavailable(dex, &pool.id, format!("{}: {error}", pool.id)),
        (None, None) => unavailable(dex, dex, "it does not trade this pair".to_owned()),
    }
}

fn quoted(pool: &Pool, amount_out: Amount, request: &QuoteRequest) -> Candidate {
    let leg = Leg {
        dex: pool.dex.clone(),
        pool: pool.id.clone(),
        input_mint: request.input.mint.clone(),
        output_mint: request.output.mint.clone(),
        amount_in: request.amount,
        amount_out,
    };
    let route = Route { dex: pool.dex.clone(), legs: vec![leg], amount_in: request.amount, amount_out };
    Candidate { dex: pool.dex.clone(), id: pool.id.clone(), outcome: CandidateOutcome::Quoted(route) }
}

fn unavailable(dex: &str, id: &str, message: String) -> Candidate {
    let failure = Failure::new(FailureCode::NO_ROUTE, message);
    Candidate { dex: dex.to_owned(), id: id.to_owned(), outcome: CandidateOutcome::Rejected(failure) }
}
