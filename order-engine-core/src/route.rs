//! What routing proposes: candidates, and the route that is chosen among them.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{Amount, Failure, Token};

/// One swap in one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The exchange of the route for people: one name, or several joined by " + ".
    pub dex: String,
    /// The swaps.
    pub legs: Vec<Leg>,
    /// Base units of the order's input token that go in.
    pub amount_in: Amount,
    /// Base units of the order's output token that come out, net of fees.
    pub amount_out: Amount,
}

/// What one exchange, or one combination of exchanges, can do for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It can be done like this.
    Quoted(Route),
    /// It cannot be done, for this reason.
    Rejected(Failure),
}

impl Candidate {
    /// The route, if the candidate has one.
    pub fn route(&self) -> Option<&Route> {
        match &self.outcome {
            CandidateOutcome::Quoted(route) => Some(route),
            CandidateOutcome::Rejected(_) => None,
        }
    }
}

/// Chooses the candidate with the highest net output; ties go to fewer legs, then to the smaller
/// id, so that equal quotes give equal choices.
pub fn best(candidates: &[Candidate]) -> Option<&Route> {
    candidates
        .iter()
        .filter_map(|candidate| Some((candidate.route()?, candidate)))
        .max_by_key(|(route, candidate)| {
            (route.amount_out, Reverse(route.legs.len()), Reverse(candidate.id.as_str()))
        })
        .map(|(route, _)| route)
}

/// What a router is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteRequest {
    /// What is sold.
    pub input: Token,
    /// What is bought.
    pub output: Token,
    /// How much is sold, in base units of the input token.
    pub amount: Amount,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureCode;

    fn candidate(id: &str, amount_out: u128, legs: usize) -> Candidate {
        let leg = Leg {
            dex: id.into(),
            pool: id.into(),
            input_mint: "in".into(),
            output_mint: "out".into(),
            amount_in: Amount::new(1),
            amount_out: Amount::new(1),
        };
        let route = Route {
            dex: id.into(),
            legs: vec![leg; legs],
            amount_in: Amount::new(1),
            amount_out: Amount::new(amount_out),
        };
        Candidate { dex: id.into(), id: id.into(), outcome: CandidateOutcome::Quoted(route) }
    }

    #[test]
    fn the_highest_output_wins_then_fewer_legs_then_the_smaller_id() {
        let rejected = Candidate {
            dex: "z".into(),
            id: "z".into(),
            outcome: CandidateOutcome::Rejected(Failure::new(FailureCode::NO_ROUTE, "paused")),
        };
        let choose = |candidates: &[Candidate]| best(candidates).map(|route| route.dex.clone());
        assert_eq!(choose(&[candidate("a", 1, 1), candidate("b", 2, 3)]).as_deref(), Some("b"));
        assert_eq!(choose(&[candidate("a", 2, 2), candidate("b", 2, 1)]).as_deref(), Some("b"));
        assert_eq!(choose(&[candidate("b", 2, 1), candidate("a", 2, 1)]).as_deref(), Some("a"));
        assert_eq!(choose(&[rejected.clone(), candidate("a", 1, 1)]).as_deref(), Some("a"));
        assert_eq!(choose(&[rejected]), None);
    }
}
