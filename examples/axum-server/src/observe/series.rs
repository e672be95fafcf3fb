//! The series of metrics of requests, by route. They are made once each: a request allocates nothing for them.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The methods that are told apart; any other is the last.
const METHODS: [&str; 5] = ["GET", "POST", "HEAD", "OPTIONS", "other"];
/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The route of a request that met none.
const NO_ROUTE: &str = "none";

/// Counts requests. Their routes are those of the server, so that no client can make series.
pub(crate) struct Series {
    routes: HashMap<String, RouteSeries>,
    none: RouteSeries,
}

#[derive(Default)]
struct RouteSeries {
    answers: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
    seconds: OnceLock<Histogram>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Series {
    pub(crate) fn new(routes: impl Iterator<Item = String>) -> Self {
        Self {
            routes: routes.map(|route| (route, RouteSeries::default())).collect(),
            none: RouteSeries::default(),
        }
    }

    /// Counts an answer, which may have met no route.
    pub(crate) fn answered(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let known = route.and_then(|route| self.routes.get_key_value(route));
        let (route, series) =
            known.map_or((NO_ROUTE, &self.none), |(route, series)| (route.as_str(), series));
        let is_it = |name: &&str| *name == method.as_str();
        let method = METHODS.iter().position(is_it).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let count = || {
            let route = route.to_owned();
            counter!("order_engine_server_requests_total", "route" => route, "method" => METHODS[method], "status" => CLASSES[class])
        };
        series.answers[method][class].get_or_init(count).increment(1);
        let seconds = || histogram!("order_engine_server_request_seconds", "route" => route.to_owned());
        series.seconds.get_or_init(seconds).record(took.as_secs_f64());
    }
}

/// One more of something, until it is dropped.
#[must_use]
pub(crate) struct OneMore(Gauge);

impl OneMore {
    pub(crate) fn request() -> Self {
        Self::of(gauge!("order_engine_server_requests_in_flight"))
    }

    pub(crate) fn connection() -> Self {
        Self::of(gauge!("order_engine_server_connections"))
    }

    pub(crate) fn reserve_connection() -> Self {
        Self::of(gauge!("order_engine_server_reserve_connections"))
    }

    fn of(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
