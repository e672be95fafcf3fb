//! The router: proposes routes over the pools of a source.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{Amount, Candidate, Clock, DexRouter, Failure, FailureCode, QuoteRequest, StepError};

use crate::budget::SearchBudget;
use crate::error::QuoteError;
use crate::pool_set::PoolSet;
use crate::quote::{RejectReason, Rejection, RouteQuote, SearchOutcome};
use crate::search::{Alternatives, Search, SearchLimits};
use crate::source::PoolSource;
use crate::trade::Moment;

/// The most rejected pools among the candidates, because candidates are stored with the order.
const MOST_REJECTIONS: usize = 16;

/// The configuration of a [`Router`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouterConfig {
    /// The limits of each search.
    pub limits: SearchLimits,
    /// The cost of one leg. With `None` legs cost nothing, so every order is split as far as that pays a
    /// single base unit more.
    pub leg_cost: Option<LegCost>,
    /// The cost of what legs compute, beside the cost of each leg. With `None` it costs nothing.
    pub compute_cost: Option<ComputeCost>,
    /// The time after which a search returns the best route found so far.
    pub search_time: Duration,
    /// The most that a route may lose to the mid price, fees included, in basis points. A route that loses more is
    /// rejected with the figure. An order may have a stricter limit,
    /// [`OrderRequest::max_price_impact_bps`](order_engine_core::OrderRequest::max_price_impact_bps).
    pub max_price_impact_bps: u32,
}

/// By default a route may lose half of the value at the mid price. Whoever sells so much into so little has made a mistake.
const DEFAULT_PRICE_IMPACT_BPS: u32 = 5_000;

/// The chain's cost for one leg. A search weighs it against what the leg adds to the output, at the prices
/// of the pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegCost {
    /// The mint of the token in which the chain is paid.
    pub mint: String,
    /// The cost in base units of that token.
    pub amount: Amount,
}

/// The chain's price of computation. A leg costs it for the compute units of its
/// [`Footprint`](crate::Footprint), at the prices of the pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputeCost {
    /// The mint of the token in which the chain is paid.
    pub mint: String,
    /// The cost of a million compute units, in base units of that token. A priority fee of Solana of so many
    /// micro-lamports for a compute unit is as many lamports for a million.
    pub million_units: Amount,
}

impl Default for RouterConfig {
    /// Returns a configuration with 50 ms for each search, without a cost of legs, for routes that lose at most half of
    /// the value at the mid price.
    fn default() -> Self {
        Self {
            limits: SearchLimits::default(),
            leg_cost: None,
            compute_cost: None,
            search_time: Duration::from_millis(50),
            max_price_impact_bps: DEFAULT_PRICE_IMPACT_BPS,
        }
    }
}

impl RouterConfig {
    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(self, limits: SearchLimits) -> Self {
        Self { limits, ..self }
    }

    /// Sets [`leg_cost`](Self::leg_cost).
    #[must_use]
    pub fn with_leg_cost(self, leg_cost: LegCost) -> Self {
        Self { leg_cost: Some(leg_cost), ..self }
    }

    /// Sets [`compute_cost`](Self::compute_cost).
    #[must_use]
    pub fn with_compute_cost(self, compute_cost: ComputeCost) -> Self {
        Self { compute_cost: Some(compute_cost), ..self }
    }

    /// Sets [`search_time`](Self::search_time).
    #[must_use]
    pub fn with_search_time(self, search_time: Duration) -> Self {
        Self { search_time, ..self }
    }

    /// Sets [`max_price_impact_bps`](Self::max_price_impact_bps).
    #[must_use]
    pub fn with_max_price_impact_bps(self, max_price_impact_bps: u32) -> Self {
        Self { max_price_impact_bps, ..self }
    }
}

/// Proposes the best pool of each exchange, the best split over pools, the best path of several pools, and
/// the best split over pools and paths.
#[must_use]
#[derive(Debug)]
pub struct Router {
    source: Arc<dyn PoolSource>,
    clock: Arc<dyn Clock>,
    config: RouterConfig,
}

impl Router {
    /// Returns a router over these pools. It takes the age of the pools and the time of a search from the
    /// clock.
    pub fn new(source: Arc<dyn PoolSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, config: RouterConfig::default() }
    }

    /// Sets the configuration.
    pub fn with_config(self, config: RouterConfig) -> Self {
        Self { config, ..self }
    }

    fn search<'a>(&'a self, pools: &'a PoolSet, request: &QuoteRequest) -> Search<'a> {
        let now = self.clock.now();
        let at = Moment::from_unix_seconds(u64::try_from(now.timestamp()).unwrap_or(0));
        let (clock, search_time) = (&self.clock, self.config.search_time);
        let is_over = move || (clock.now() - now).to_std().is_ok_and(|elapsed| elapsed >= search_time);
        let budget = SearchBudget::until(is_over);
        let search = Search::new(pools, at).with_limits(self.config.limits).with_budget(budget);
        // If no pools connect the output token with the one in which the chain is paid, the cost has no
        // value in the output token and counts as zero.
        let value = |amount, mint: &str| search.value(amount, mint, &request.output.mint).unwrap_or_default();
        let leg_cost = self.config.leg_cost.as_ref().map(|cost| value(cost.amount, &cost.mint));
        let compute_cost =
            self.config.compute_cost.as_ref().map(|cost| value(cost.million_units, &cost.mint));
        search.with_leg_cost(leg_cost.unwrap_or_default()).with_compute_cost(compute_cost.unwrap_or_default())
    }
}

#[async_trait]
impl DexRouter for Router {
    fn dexes(&self) -> Vec<String> {
        self.source.snapshot().dexes().map(str::to_owned).collect()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let snapshot = self.source.snapshot();
        let search = self.search(&snapshot, request);
        let own = self.config.max_price_impact_bps;
        let limit = request.max_price_impact_bps.map_or(own, |of_order| own.min(of_order.into()));
        Ok(candidates(&snapshot, &search, request, limit))
    }
}

/// Returns the best pool of each exchange, then the best routes over several pools, then the rejections.
fn candidates(
    pools: &PoolSet,
    search: &Search<'_>,
    request: &QuoteRequest,
    max_price_impact_bps: u32,
) -> Vec<Candidate> {
    let (input, output) = (request.input.mint.as_str(), request.output.mint.as_str());
    let mut proposed: Vec<RouteQuote<'_>> = Vec::new();
    let mut rejections = Vec::new();
    let mut strangers = Vec::new();
    for dex in pools.dexes() {
        let SearchOutcome { best, rejected, .. } = search.best_pool_of(dex, input, output, request.amount);
        if best.is_none() && rejected.is_empty() {
            let failure = Failure::new(FailureCode::PAIR_NOT_TRADED, "It does not trade this pair");
            strangers.push(Candidate::rejected(dex, dex, failure));
        }
        // A single pool may be the best of its exchange without being the best of all.
        proposed.extend(best.map(|best| RouteQuote { is_proven_optimal: false, ..best }));
        rejections.extend(rejected);
    }
    let Alternatives { direct, detour, combined, excess, .. } =
        search.alternatives(input, output, request.amount);
    for route in [direct, detour, combined].into_iter().flatten() {
        match proposed.iter_mut().find(|other| other.legs == route.legs) {
            Some(known) => known.is_proven_optimal |= route.is_proven_optimal,
            None if route.legs.len() > 1 => proposed.push(route),
            // A single pool that is not the best of its exchange is none of the best.
            None => {}
        }
    }
    let propose = |route: &RouteQuote<'_>| match route.price_impact_bps() {
        Ok(bps) if bps > max_price_impact_bps => {
            let dex = &route.legs[0].pool.dex;
            let message = format!("Its price impact is {bps} basis points, more than {max_price_impact_bps}");
            Candidate::rejected(dex, route.id(), Failure::new(FailureCode::PRICE_IMPACT, message))
        }
        Err(error) if request.max_price_impact_bps.is_some() => {
            let message = format!("Its price impact is not known: {error}");
            refused(&route.legs[0].pool.dex, &route.id(), message)
        }
        _ => Candidate::quoted(route.id(), route.to_route()),
    };
    // Reasons that may pass come first, so that none of them is cut off.
    rejections.sort_by_key(is_too_small);
    // Tokens that pools connect are traded, if not now.
    let is_barred = proposed.is_empty() && rejections.is_empty() && search.connects(input, output);
    let barred = is_barred.then(|| refused("all", "all", "No path of pools takes the amount now".to_owned()));
    let mut candidates: Vec<Candidate> = strangers;
    candidates.extend(barred);
    candidates.extend(excess.map(|excess| refused("all", "all", format!("No route fits: {excess}"))));
    candidates.extend(proposed.iter().map(propose));
    candidates.extend(rejections.iter().take(MOST_REJECTIONS).map(rejected));
    candidates
}

const fn is_too_small(rejection: &Rejection<'_>) -> bool {
    matches!(rejection.reason, RejectReason::Quote(QuoteError::TooSmall))
}

fn rejected(rejection: &Rejection<'_>) -> Candidate {
    let Rejection { pool, reason } = rejection;
    let code = if is_too_small(rejection) { FailureCode::AMOUNT_TOO_SMALL } else { FailureCode::NO_ROUTE };
    Candidate::rejected(&pool.dex, &pool.id, Failure::new(code, format!("{}: {reason}", pool.id)))
}

fn refused(dex: &str, id: &str, message: String) -> Candidate {
    Candidate::rejected(dex, id, Failure::new(FailureCode::NO_ROUTE, message))
}
