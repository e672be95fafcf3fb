//! The router: what the pools of a source can do for an order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    Amount, Candidate, CandidateOutcome, Clock, DexRouter, Failure, FailureCode, QuoteRequest, StepError,
};

use crate::budget::Budget;
use crate::quote::{Found, Rejection, RouteQuote};
use crate::search::{Alternatives, Search, SearchLimits};
use crate::source::{PoolSet, PoolSource};
use crate::trade::Moment;

/// How many pools that cannot take an order are named: candidates are stored with the order.
const MOST_REJECTIONS: usize = 16;

/// How a router searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// How far it searches, and how old pools may be.
    pub limits: SearchLimits,
    /// What carrying out a leg costs. Without, legs cost nothing, so every order is split as far as
    /// that brings a single base unit.
    pub leg_cost: Option<LegCost>,
    /// How long it may search before it gives the best that it has found.
    pub search_time: Duration,
}

/// What the chain takes for carrying out one leg. It is weighed against what the leg brings at the
/// prices of the pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegCost {
    /// The token in which the chain is paid.
    pub mint: String,
    /// How much, in its base units.
    pub amount: Amount,
}

impl Default for RouterConfig {
    /// Searches for at most 50 ms, and lets legs cost nothing.
    fn default() -> Self {
        Self { limits: SearchLimits::default(), leg_cost: None, search_time: Duration::from_millis(50) }
    }
}

/// Proposes the best pool of each exchange, the best split over pools, the best path of several
/// pools in a row, and the best split over pools and paths.
#[derive(Debug)]
pub struct Router {
    source: Arc<dyn PoolSource>,
    clock: Arc<dyn Clock>,
    config: RouterConfig,
}

impl Router {
    /// A router over these pools. The clock tells how old they are, and how long a search takes.
    pub fn new(source: Arc<dyn PoolSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, config: RouterConfig::default() }
    }

    /// The router with another configuration.
    #[must_use]
    pub fn with_config(self, config: RouterConfig) -> Self {
        Self { config, ..self }
    }

    fn search<'a>(&'a self, pools: &'a PoolSet, request: &QuoteRequest) -> Search<'a> {
        let now = self.clock.now();
        let at = Moment::from_unix_seconds(u64::try_from(now.timestamp()).unwrap_or(0));
        let (clock, search_time) = (&self.clock, self.config.search_time);
        let is_over = move || (clock.now() - now).to_std().is_ok_and(|elapsed| elapsed >= search_time);
        let search = Search::new(pools, at).limits(self.config.limits).budget(Budget::until(is_over));
        let leg_cost = self.config.leg_cost.as_ref();
        // A token that no pools connect with the one the chain is paid in has no price in it.
        let leg_cost = leg_cost.and_then(|cost| search.value(cost.amount, &cost.mint, &request.output.mint));
        search.leg_cost(leg_cost.unwrap_or_default())
    }
}

#[async_trait]
impl DexRouter for Router {
    fn dexes(&self) -> Vec<String> {
        self.source.snapshot().dexes().to_vec()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let snapshot = self.source.snapshot();
        let search = self.search(&snapshot, request);
        Ok(candidates(&snapshot, &search, request))
    }
}

/// Everything that is worth a thought: each exchange alone, then what only several pools can do.
fn candidates(pools: &PoolSet, search: &Search<'_>, request: &QuoteRequest) -> Vec<Candidate> {
    let (input, output) = (request.input.mint.as_str(), request.output.mint.as_str());
    let mut candidates = Vec::new();
    let mut rejections = Vec::new();
    for dex in pools.dexes() {
        let Found { best, rejected } = search.best_pool_of(dex, input, output, request.amount);
        match best {
            Some(best) => candidates.push(quoted(&best)),
            None if rejected.is_empty() => {
                candidates.push(refused(dex, dex, "It does not trade this pair".to_owned()));
            }
            None => {}
        }
        rejections.extend(rejected);
    }
    let Alternatives { direct, detour, combined, .. } = search.alternatives(input, output, request.amount);
    let mut known: Vec<RouteQuote<'_>> = Vec::new();
    // A single pool of the pair has been proposed by its exchange.
    for route in [direct, detour, combined].into_iter().flatten().filter(|route| route.legs.len() > 1) {
        if !known.iter().any(|other| other.legs == route.legs) {
            candidates.push(quoted(&route));
            known.push(route);
        }
    }
    candidates.extend(rejections.iter().take(MOST_REJECTIONS).map(rejected));
    candidates
}

fn quoted(quote: &RouteQuote<'_>) -> Candidate {
    let route = quote.to_route();
    Candidate { dex: route.dex.clone(), id: quote.id(), outcome: CandidateOutcome::Quoted(route) }
}

fn rejected(rejection: &Rejection<'_>) -> Candidate {
    let Rejection { pool, reason } = rejection;
    refused(&pool.dex, &pool.id, format!("{}: {reason}", pool.id))
}

fn refused(dex: &str, id: &str, message: String) -> Candidate {
    let failure = Failure::new(FailureCode::NO_ROUTE, message);
    Candidate { dex: dex.to_owned(), id: id.to_owned(), outcome: CandidateOutcome::Rejected(failure) }
}
