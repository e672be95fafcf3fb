//! How the choice of a route is written: each thing once. The chosen route stands among the candidates as a rule, all
//! routes trade the same few tokens, and what a leg has in common with its route is not written again. This event is
//! most of what an order's events take of a store, of the messages between processes, and of the time to write both.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::amount::Amount;
use crate::domain::failure::Failure;
use crate::domain::ids::VenueName;
use crate::domain::route::{Candidate, CandidateOutcome, Leg, Route, RouteAnalysis};

/// The fields of the event, as they are written.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    route: Chosen<'a>,
    /// The mints of all legs.
    mints: Vec<Cow<'a, str>>,
    candidates: Vec<WrittenCandidate<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted_at: Option<DateTime<Utc>>,
    min_amount_out: Amount,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Chosen<'a> {
    /// The route of the candidate with this index.
    Candidate(usize),
    /// A route that no candidate has.
    Apart(WrittenRoute<'a>),
}

/// A candidate with its route or, if it has none, the reason.
#[derive(Serialize, Deserialize)]
struct WrittenCandidate<'a> {
    dex: Cow<'a, str>,
    id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted: Option<WrittenRoute<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<Cow<'a, Failure>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenRoute<'a> {
    /// None for the name that an only venue has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    venue: Option<Cow<'a, VenueName>>,
    /// None for the name of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dex: Option<Cow<'a, str>>,
    amount_in: Amount,
    amount_out: Amount,
    legs: Vec<WrittenLeg<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    analysis: Option<Cow<'a, RouteAnalysis>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenLeg<'a> {
    /// None for the name of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dex: Option<Cow<'a, str>>,
    /// None for the id of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<Cow<'a, str>>,
    /// The places of what goes in and of what comes out among the mints.
    mints: [usize; 2],
    /// What goes in and what comes out; none for the amounts of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amounts: Option<[Amount; 2]>,
}

/// The names of the candidate that has a route. A route that no candidate has is written as if its candidate had
/// empty ones.
#[derive(Clone, Copy, Default)]
struct Names<'a> {
    dex: &'a str,
    id: &'a str,
}

/// Returns a text, unless it is what its reader takes where there is none.
fn unless<'a>(text: &'a str, implied: &str) -> Option<Cow<'a, str>> {
    (text != implied).then_some(Cow::Borrowed(text))
}

/// The mints that are written so far. There are few.
#[derive(Default)]
struct Mints<'a>(Vec<Cow<'a, str>>);

impl<'a> Mints<'a> {
    fn place(&mut self, mint: &'a str) -> usize {
        self.0.iter().position(|known| known == mint).unwrap_or_else(|| {
            self.0.push(Cow::Borrowed(mint));
            self.0.len() - 1
        })
    }
}

impl<'a> WrittenCandidate<'a> {
    fn new(candidate: &'a Candidate, mints: &mut Mints<'a>) -> Self {
        let Candidate { dex, id, outcome } = candidate;
        let (quoted, rejected) = match outcome {
            CandidateOutcome::Quoted(route) => {
                (Some(WrittenRoute::new(route, Names { dex, id }, mints)), None)
            }
            CandidateOutcome::Rejected(failure) => (None, Some(Cow::Borrowed(failure))),
        };
        Self { dex: Cow::Borrowed(dex), id: Cow::Borrowed(id), quoted, rejected }
    }

    fn read(self, mints: &[Cow<'_, str>]) -> Result<Candidate, &'static str> {
        let outcome = match (self.quoted, self.rejected) {
            (Some(route), None) => {
                let names = Names { dex: &self.dex, id: &self.id };
                CandidateOutcome::Quoted(Arc::new(route.read(names, mints)?))
            }
            (None, Some(failure)) => CandidateOutcome::Rejected(failure.into_owned()),
            _ => return Err("a candidate has either a route or a reason"),
        };
        Ok(Candidate { dex: self.dex.into_owned(), id: self.id.into_owned(), outcome })
    }
}

impl<'a> WrittenRoute<'a> {
    fn new(route: &'a Route, names: Names<'_>, mints: &mut Mints<'a>) -> Self {
        Self {
            venue: (route.venue != VenueName::default()).then_some(Cow::Borrowed(&route.venue)),
            dex: unless(&route.dex, names.dex),
            amount_in: route.amount_in,
            amount_out: route.amount_out,
            legs: route.legs.iter().map(|leg| WrittenLeg::new(leg, route, names.id, mints)).collect(),
            analysis: route.analysis.as_ref().map(Cow::Borrowed),
        }
    }

    fn read(self, names: Names<'_>, mints: &[Cow<'_, str>]) -> Result<Route, &'static str> {
        let mut route = Route {
            venue: self.venue.map(Cow::into_owned).unwrap_or_default(),
            dex: self.dex.map_or_else(|| names.dex.to_owned(), Cow::into_owned),
            legs: Vec::new(),
            amount_in: self.amount_in,
            amount_out: self.amount_out,
            analysis: self.analysis.map(Cow::into_owned),
        };
        route.legs =
            self.legs.into_iter().map(|leg| leg.read(&route, names.id, mints)).collect::<Result<_, _>>()?;
        Ok(route)
    }
}

impl<'a> WrittenLeg<'a> {
    fn new(leg: &'a Leg, route: &Route, id: &str, mints: &mut Mints<'a>) -> Self {
        let amounts = [leg.amount_in, leg.amount_out];
        Self {
            dex: unless(&leg.dex, &route.dex),
            pool: unless(&leg.pool, id),
            mints: [&leg.input_mint, &leg.output_mint].map(|mint| mints.place(mint)),
            amounts: (amounts != [route.amount_in, route.amount_out]).then_some(amounts),
        }
    }

    fn read(self, route: &Route, id: &str, mints: &[Cow<'_, str>]) -> Result<Leg, &'static str> {
        let mint =
            |place: usize| mints.get(place).map(|mint| mint.clone().into_owned()).ok_or("a leg has no mint");
        let [amount_in, amount_out] = self.amounts.unwrap_or([route.amount_in, route.amount_out]);
        Ok(Leg {
            dex: self.dex.map_or_else(|| route.dex.clone(), Cow::into_owned),
            pool: self.pool.map_or_else(|| id.to_owned(), Cow::into_owned),
            input_mint: mint(self.mints[0])?,
            output_mint: mint(self.mints[1])?,
            amount_in,
            amount_out,
        })
    }
}

#[expect(clippy::ref_option, reason = "serde passes each field by reference")]
pub(super) fn serialize<S: Serializer>(
    route: &Arc<Route>,
    candidates: &[Candidate],
    quoted_at: &Option<DateTime<Utc>>,
    min_amount_out: &Amount,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut mints = Mints::default();
    let written = candidates.iter().map(|candidate| WrittenCandidate::new(candidate, &mut mints)).collect();
    let index = candidates.iter().position(|candidate| candidate.route() == Some(route));
    let apart = || Chosen::Apart(WrittenRoute::new(route, Names::default(), &mut mints));
    let route = index.map_or_else(apart, Chosen::Candidate);
    let (quoted_at, min_amount_out) = (*quoted_at, *min_amount_out);
    Written { route, mints: mints.0, candidates: written, quoted_at, min_amount_out }.serialize(serializer)
}

type Fields = (Arc<Route>, Vec<Candidate>, Option<DateTime<Utc>>, Amount);

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    let Written { route, mints, candidates, quoted_at, min_amount_out } = Written::deserialize(deserializer)?;
    let candidates = candidates.into_iter().map(|candidate| candidate.read(&mints));
    let candidates: Vec<Candidate> = candidates.collect::<Result<_, _>>().map_err(D::Error::custom)?;
    let route = match route {
        Chosen::Apart(route) => Arc::new(route.read(Names::default(), &mints).map_err(D::Error::custom)?),
        Chosen::Candidate(index) => {
            let route = candidates.get(index).and_then(Candidate::route);
            route.cloned().ok_or_else(|| D::Error::custom(format!("candidate {index} has no route")))?
        }
    };
    Ok((route, candidates, quoted_at, min_amount_out))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::event::OrderEvent;
    use crate::domain::failure::{Failure, FailureCode};

    fn route(dex: &str) -> Route {
        Route::new(dex, vec![], Amount::new(1), Amount::new(2))
    }

    fn chosen(dex: &str, candidates: Vec<Candidate>) -> OrderEvent {
        chosen_route(route(dex), candidates)
    }

    fn chosen_route(route: Route, candidates: Vec<Candidate>) -> OrderEvent {
        let route = Arc::new(route);
        OrderEvent::RouteChosen { route, candidates, quoted_at: None, min_amount_out: Amount::new(2) }
    }

    fn candidates() -> Vec<Candidate> {
        let paused = Failure::new(FailureCode::NO_ROUTE, "paused");
        vec![Candidate::rejected("a", "a", paused), Candidate::quoted("b", route("b"))]
    }

    #[test]
    fn a_chosen_candidate_is_written_once() {
        let event = chosen("b", candidates());
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!((&written["kind"], &written["route"]), (&Value::from("route_chosen"), &Value::from(1)));
        let read: OrderEvent = serde_json::from_value(written).unwrap();
        assert_eq!(read, event);
        let OrderEvent::RouteChosen { route, candidates, .. } = read else { panic!("{read:?}") };
        assert!(Arc::ptr_eq(&route, candidates[1].route().unwrap()), "they share it");
    }

    #[test]
    fn a_route_that_is_no_candidate_is_written_whole() {
        for event in [chosen("c", candidates()), chosen("c", vec![]), chosen_route(hub(), candidates())] {
            let written = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<OrderEvent>(&written).unwrap(), event);
        }
    }

    /// A route over two pools of one exchange and one of another, by a token between.
    fn hub() -> Route {
        let leg = |dex: &str, pool: &str, from: (&str, u128), to: (&str, u128)| {
            Leg::new(dex, pool, (from.0, Amount::new(from.1)), (to.0, Amount::new(to.1)))
        };
        let legs = vec![
            leg("b", "pool-1", ("SOL", 1), ("MSOL", 2)),
            leg("b", "pool-2", ("SOL", 2), ("MSOL", 4)),
            leg("c", "pool-3", ("MSOL", 6), ("USDC", 9)),
        ];
        let analysis = RouteAnalysis { chain_cost: Amount::new(3), ..RouteAnalysis::default() };
        Route::new("b + c", legs, Amount::new(3), Amount::new(9)).with_venue("solana").with_analysis(analysis)
    }

    #[test]
    fn a_leg_that_is_the_whole_route_is_written_once() {
        let leg = Leg::new("b", "pool-7", ("SOL", Amount::new(1)), ("USDC", Amount::new(2)));
        let single = Route::new("b", vec![leg], Amount::new(1), Amount::new(2));
        let event = chosen_route(single.clone(), vec![Candidate::quoted("pool-7", single)]);
        let written = serde_json::to_string(&event).unwrap();
        let candidate = r#"{"dex":"b","id":"pool-7","quoted":{"amount_in":"1","amount_out":"2","legs":[{"mints":[0,1]}]}}"#;
        assert!(written.contains(candidate), "{written}");
        assert_eq!(serde_json::from_str::<OrderEvent>(&written).unwrap(), event);
    }

    #[test]
    fn a_mint_is_written_once_for_all_candidates() {
        let event =
            chosen_route(hub(), vec![Candidate::quoted("x", hub()), Candidate::quoted("pool-3", hub())]);
        let written = serde_json::to_string(&event).unwrap();
        assert_eq!(written.matches("MSOL").count(), 1, "{written}");
        assert_eq!(serde_json::from_str::<OrderEvent>(&written).unwrap(), event);
    }

    #[test]
    fn a_candidate_has_either_a_route_or_a_reason_and_a_leg_two_of_the_mints() {
        let sound = serde_json::to_value(chosen_route(hub(), vec![Candidate::quoted("x", hub())])).unwrap();
        let refused = |change: fn(&mut Value)| {
            let mut written = sound.clone();
            change(&mut written);
            serde_json::from_value::<OrderEvent>(written).unwrap_err().to_string()
        };
        let neither = refused(|written| written["candidates"][0]["quoted"] = Value::Null);
        assert_eq!(neither, "a candidate has either a route or a reason");
        let both = refused(|written| {
            written["candidates"][0]["rejected"] = serde_json::json!({"code": "no-route", "message": ""});
        });
        assert_eq!(both, "a candidate has either a route or a reason");
        let no_mint = refused(|written| written["candidates"][0]["quoted"]["legs"][1]["mints"][0] = 3.into());
        assert_eq!(no_mint, "a leg has no mint");
    }

    #[test]
    fn an_index_without_a_route_is_refused() {
        for index in [0, 2] {
            let mut written = serde_json::to_value(chosen("b", candidates())).unwrap();
            written["route"] = index.into();
            let refused = serde_json::from_value::<OrderEvent>(written).unwrap_err();
            assert_eq!(refused.to_string(), format!("candidate {index} has no route"));
        }
    }
}
