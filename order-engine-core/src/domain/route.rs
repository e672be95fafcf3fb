//! What routing proposes: candidates, and the route that is chosen among them.

use std::cmp::Reverse;
use std::sync::Arc;

use ruint::aliases::{U256, U512};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::Failure;
use crate::domain::ids::VenueName;
use crate::domain::token::Token;

/// One swap in one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Leg {
    /// The exchange that runs the pool.
    pub dex: String,
    /// The pool's stable id.
    pub pool: String,
    /// The mint of the token that goes in.
    pub input_mint: String,
    /// The mint of the token that comes out.
    pub output_mint: String,
    /// Base units that go in, fee included.
    pub amount_in: Amount,
    /// Base units that come out, fee deducted.
    pub amount_out: Amount,
}

/// A way to execute an order: legs, and what they add up to.
///
/// Legs stand in the order of execution. Several legs with the order's input token are a split;
/// a leg whose input is another leg's output is a hop.
///
/// ```
/// use order_engine_core::{Amount, Leg, Route};
///
/// let (sold, bought) = (Amount::new(1_000), Amount::new(2_000));
/// let leg = Leg::new("Raydium", "pool-7", ("SOL", sold), ("USDC", bought));
/// let route = Route::new("Raydium", vec![leg], sold, bought);
/// assert_eq!(route.venue.as_str(), "main");
/// assert_eq!(route.with_venue("solana").venue.as_str(), "solana");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Route {
    /// The name of the venue that executes the route: a venue of the engine.
    #[serde(default)]
    pub venue: VenueName,
    /// The exchange of the route for people: one name, or several joined by " + ".
    pub dex: String,
    /// The swaps.
    pub legs: Vec<Leg>,
    /// Base units of the order's input token that go in.
    pub amount_in: Amount,
    /// Base units of the order's output token that come out, net of fees.
    pub amount_out: Amount,
    /// What the router knows of the route beyond its amounts, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RouteAnalysis>,
}

impl Leg {
    /// Returns a swap in a pool of an exchange: what is sold and what is bought, each as the token's mint and
    /// an amount in its base units.
    pub fn new(
        dex: impl Into<String>,
        pool: impl Into<String>,
        (input_mint, amount_in): (impl Into<String>, Amount),
        (output_mint, amount_out): (impl Into<String>, Amount),
    ) -> Self {
        Self {
            dex: dex.into(),
            pool: pool.into(),
            input_mint: input_mint.into(),
            output_mint: output_mint.into(),
            amount_in,
            amount_out,
        }
    }
}

/// What a router knows of a route beyond its amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnalysis {
    /// The chain's fee for executing the legs, in base units of the order's output token.
    pub chain_cost: Amount,
    /// The price before the trade and without fees, in base units of output for one of input, as
    /// an exact ratio of integers: "3/2".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid_price: Option<String>,
    /// How far the output stays below what the mid price promises, in hundredths of a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_impact_bps: Option<u32>,
    /// Whether no other use of the searched pools is better, apart from the rounding of each leg.
    #[serde(default)]
    pub is_proven_optimal: bool,
}

impl Route {
    /// Returns a route over the exchange with this name, for the venue of an engine that has one only. The
    /// amounts are those of the whole order, in base units of what is sold and of what is bought.
    pub fn new(dex: impl Into<String>, legs: Vec<Leg>, amount_in: Amount, amount_out: Amount) -> Self {
        Self { venue: VenueName::default(), dex: dex.into(), legs, amount_in, amount_out, analysis: None }
    }

    /// Sets the [venue](Self::venue).
    #[must_use]
    pub fn with_venue(self, venue: impl Into<VenueName>) -> Self {
        Self { venue: venue.into(), ..self }
    }

    /// Sets the [analysis](Self::analysis).
    #[must_use]
    pub fn with_analysis(self, analysis: RouteAnalysis) -> Self {
        Self { analysis: Some(analysis), ..self }
    }

    /// Returns what is left of the output when the chain is paid, zero where the chain costs more.
    pub fn net_amount_out(&self) -> Amount {
        self.amount_out.checked_sub(self.chain_cost()).unwrap_or_default()
    }

    fn chain_cost(&self) -> Amount {
        self.analysis.as_ref().map_or(Amount::ZERO, |analysis| analysis.chain_cost)
    }

    /// Returns how good the route is: its net output, of losses the least, and of equal losses the higher output.
    fn rank(&self) -> (Amount, Reverse<Amount>, Option<Amount>) {
        let loss = self.chain_cost().checked_sub(self.amount_out).unwrap_or_default();
        let output_of_a_loss = (!loss.is_zero()).then_some(self.amount_out);
        (self.net_amount_out(), Reverse(loss), output_of_a_loss)
    }
}

impl RouteAnalysis {
    /// Returns the mid price in human units of the output token for one human unit of the input token, as a
    /// decimal text cut after 18 digits. Nothing if there is none, or if it is beyond arithmetic.
    pub fn mid_price_text(&self, input_decimals: u8, output_decimals: u8) -> Option<String> {
        let (numerator, denominator) = self.mid_price.as_deref()?.split_once('/')?;
        let wide = |text: &str| text.parse::<U256>().ok().map(U512::from);
        crate::domain::amount::ratio(
            (wide(numerator)?, input_decimals),
            (wide(denominator)?, output_decimals),
        )
    }
}

/// What one exchange, or one combination of exchanges, can do for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The name of the exchange, as shown to people.
    pub dex: String,
    /// The stable id that breaks ties.
    pub id: String,
    /// The route, or why there is none.
    #[serde(flatten)]
    pub outcome: CandidateOutcome,
}

/// The route of a candidate, or why it has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateOutcome {
    /// The exchange takes the order on this route.
    Quoted(Arc<Route>),
    /// The exchange cannot take the order, for this reason.
    Rejected(Failure),
}

impl Candidate {
    /// Returns a candidate that takes the order on this route.
    pub fn quoted(id: impl Into<String>, route: impl Into<Arc<Route>>) -> Self {
        let route = route.into();
        Self { dex: route.dex.clone(), id: id.into(), outcome: CandidateOutcome::Quoted(route) }
    }

    /// Returns a candidate that cannot take the order.
    pub fn rejected(dex: impl Into<String>, id: impl Into<String>, failure: Failure) -> Self {
        Self { dex: dex.into(), id: id.into(), outcome: CandidateOutcome::Rejected(failure) }
    }

    /// Returns the route, if the candidate has one.
    pub fn route(&self) -> Option<&Arc<Route>> {
        match &self.outcome {
            CandidateOutcome::Quoted(route) => Some(route),
            CandidateOutcome::Rejected(_) => None,
        }
    }
}

/// Chooses the candidate with the highest net output. Where the chain costs more than any pays, that is the one with the
/// least loss. Ties go to fewer legs, then to the smaller id, so that equal quotes give equal choices.
pub fn best(candidates: &[Candidate]) -> Option<&Arc<Route>> {
    candidates
        .iter()
        .filter_map(|candidate| Some((candidate.route()?, candidate)))
        .max_by_key(|(route, candidate)| {
            (route.rank(), Reverse(route.legs.len()), Reverse(candidate.id.as_str()))
        })
        .map(|(route, _)| route)
}

/// The question to a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuoteRequest {
    /// What is sold.
    pub input: Token,
    /// What is bought.
    pub output: Token,
    /// How much is sold, in base units of the input token.
    pub amount: Amount,
    /// The most that a route may lose to the mid price, fees included, in basis points. `None` leaves it to the router.
    pub max_price_impact_bps: Option<u16>,
}

impl QuoteRequest {
    /// Returns the question for so many base units of the input token.
    pub const fn new(input: Token, output: Token, amount: Amount) -> Self {
        Self { input, output, amount, max_price_impact_bps: None }
    }

    /// Sets the most that a route may lose to the mid price, in basis points.
    #[must_use]
    pub const fn with_max_price_impact_bps(mut self, max_price_impact_bps: u16) -> Self {
        self.max_price_impact_bps = Some(max_price_impact_bps);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;

    fn candidate(id: &str, amount_out: u128, legs: usize) -> Candidate {
        let leg = Leg::new(id, id, ("in", Amount::new(1)), ("out", Amount::new(1)));
        Candidate::quoted(id, Route::new(id, vec![leg; legs], Amount::new(1), Amount::new(amount_out)))
    }

    #[test]
    fn the_highest_output_wins_then_fewer_legs_then_the_smaller_id() {
        let rejected = Candidate::rejected("z", "z", Failure::new(FailureCode::NO_ROUTE, "paused"));
        let choose = |candidates: &[Candidate]| best(candidates).map(|route| route.dex.clone());
        assert_eq!(choose(&[candidate("a", 1, 1), candidate("b", 2, 3)]).as_deref(), Some("b"));
        assert_eq!(choose(&[candidate("a", 2, 2), candidate("b", 2, 1)]).as_deref(), Some("b"));
        assert_eq!(choose(&[candidate("b", 2, 1), candidate("a", 2, 1)]).as_deref(), Some("a"));
        assert_eq!(choose(&[rejected.clone(), candidate("a", 1, 1)]).as_deref(), Some("a"));
        assert_eq!(choose(&[rejected]), None);
    }

    #[test]
    fn the_chain_is_paid_before_routes_are_compared() {
        let dear = |chain_cost| {
            let route = Route::clone(candidate("dear", 10, 1).route().unwrap());
            let analysis = RouteAnalysis { chain_cost: Amount::new(chain_cost), ..RouteAnalysis::default() };
            Candidate::quoted("dear", route.with_analysis(analysis))
        };
        let choose = |chain_cost| best(&[candidate("plain", 8, 1), dear(chain_cost)]).unwrap().dex.clone();
        assert_eq!(choose(1), "dear");
        assert_eq!(choose(3), "plain");
        assert_eq!(choose(11), "plain");
    }

    #[test]
    fn the_least_loss_is_chosen_where_the_chain_costs_more_than_any_route_pays() {
        let losing = |id: &str, amount_out, legs: usize| {
            let route = Route::clone(candidate(id, amount_out, legs).route().unwrap());
            let chain_cost = Amount::new(1_000 * legs as u128);
            let analysis = RouteAnalysis { chain_cost, ..RouteAnalysis::default() };
            Candidate::quoted(id, route.with_analysis(analysis))
        };
        let choose = |one, other| best(&[one, other]).unwrap().dex.clone();
        assert_eq!(choose(losing("a", 5, 1), losing("z", 597, 1)), "z");
        assert_eq!(choose(losing("a", 5, 1), losing("z", 597, 2)), "a");
        assert_eq!(
            choose(losing("a", 5, 1), losing("z", 1_005, 2)),
            "z",
            "of equal losses the higher output"
        );
    }

    #[test]
    fn a_route_without_a_venue_is_one_of_the_only_venue() {
        let json = r#"{"dex":"x","legs":[],"amount_in":"1","amount_out":"2"}"#;
        let route: Route = serde_json::from_str(json).unwrap();
        assert_eq!(route, Route::new("x", vec![], Amount::new(1), Amount::new(2)));
        assert_eq!(serde_json::to_string(&route).unwrap(), json.replace('{', r#"{"venue":"main","#));
    }

    #[test]
    fn the_mid_price_is_shown_in_human_units() {
        let price = |ratio: &str| {
            let analysis = RouteAnalysis { mid_price: Some(ratio.into()), ..RouteAnalysis::default() };
            analysis.mid_price_text(9, 6)
        };
        // 6.67 lamports of 9 decimals for a unit of 6 decimals.
        assert_eq!(price("3/20").as_deref(), Some("150"));
        assert_eq!(price(&format!("{}/1", U256::MAX)), None);
        for ratio in ["", "3", "3/0", "/", "3/x", "-3/2"] {
            assert_eq!(price(ratio), None, "{ratio:?}");
        }
    }
}
