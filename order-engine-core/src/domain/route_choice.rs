//! How the choice of a route is written: the chosen one stands among the candidates as a rule, and is written only
//! there.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::amount::Amount;
use crate::domain::route::{Candidate, Route};

/// The fields of the event, as they are written.
#[derive(Serialize, Deserialize)]
struct Written<R, C> {
    route: Chosen<R>,
    candidates: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted_at: Option<DateTime<Utc>>,
    min_amount_out: Amount,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Chosen<R> {
    /// The route of the candidate with this index.
    Candidate(usize),
    /// A route that no candidate has.
    Apart(R),
}

#[expect(clippy::ref_option, reason = "serde passes each field by reference")]
pub(super) fn serialize<S: Serializer>(
    route: &Arc<Route>,
    candidates: &[Candidate],
    quoted_at: &Option<DateTime<Utc>>,
    min_amount_out: &Amount,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let index = candidates.iter().position(|candidate| candidate.route() == Some(route));
    let route = index.map_or(Chosen::Apart(route), Chosen::Candidate);
    Written { route, candidates, quoted_at: *quoted_at, min_amount_out: *min_amount_out }
        .serialize(serializer)
}

type Fields = (Arc<Route>, Vec<Candidate>, Option<DateTime<Utc>>, Amount);

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
    let written: Written<Arc<Route>, Vec<Candidate>> = Written::deserialize(deserializer)?;
    let Written { route, candidates, quoted_at, min_amount_out } = written;
    let route = match route {
        Chosen::Apart(route) => route,
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
        let route = Arc::new(route(dex));
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
        for event in [chosen("c", candidates()), chosen("c", vec![])] {
            let written = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<OrderEvent>(&written).unwrap(), event);
        }
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
