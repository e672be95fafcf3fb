//! All routes of the server, and what each needs.

use std::borrow::Cow;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use axum::{Json, Router};
use utoipa::openapi::OpenApi;

use crate::app::AppState;
use crate::auth::scope::Scope::{Read, Trade};
use crate::config::Role;
use crate::gate::Needs;
use crate::http::gated::Gated;
use crate::http::openapi::{Rule, describe};
use crate::http::operator::act::{Act, Acting, NEEDS};
use crate::http::operator::halt::{EndHalt, Halt};
use crate::http::operator::order_acts::{CancelOrder, MakeOrderDue, OnOrder, ReleaseOrder, RetryOrder};
use crate::http::operator::order_view::ViewOrder;
use crate::http::operator::overview::{self, ListAttention};
use crate::http::operator::pauses::{self, EndPause, SetPause};
use crate::http::operator::purge::Purge;
use crate::http::operator::resolve::Resolve;
use crate::http::operator::webhooks::{ListDeliveries, ListWebhooks, Redeliver};
use crate::http::webhooks::{deliveries, endpoints};
use crate::http::{
    batch, cancel, catalogue, clock, create, follow, health, list, metrics, orders, page, pairs, quote,
    stream, tickets,
};
use crate::wire::problem::Problem;

/// A route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with the names of its parameters in braces.
    pub path: Cow<'static, str>,
    /// What a request needs.
    pub needs: Needs,
    handler: MethodRouter<AppState>,
}

impl Route {
    fn get<H, T>(path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        Self { method: Method::GET, path: path.into(), needs, handler: get(Gated { needs, handler }) }
    }

    fn post<H, T>(path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        Self { method: Method::POST, path: path.into(), needs, handler: post(Gated { needs, handler }) }
    }

    /// Returns the route by which an operator looks at something.
    fn look<A: Act>(path: &'static str) -> Self {
        let handler = get(Acting::<A>::new());
        Self { method: Method::GET, path: path.into(), needs: NEEDS, handler }
    }

    /// Returns the route by which an operator does something.
    fn act<A: Act>(path: &'static str) -> Self {
        let handler = post(Acting::<A>::new());
        Self { method: Method::POST, path: path.into(), needs: NEEDS, handler }
    }

    fn patch<H, T>(path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let handler = on(MethodFilter::PATCH, Gated { needs, handler });
        Self { method: Method::PATCH, path: path.into(), needs, handler }
    }

    fn delete<H, T>(path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let handler = on(MethodFilter::DELETE, Gated { needs, handler });
        Self { method: Method::DELETE, path: path.into(), needs, handler }
    }
}

/// Returns the routes of a process with this role. There are no others.
pub fn routes(role: Role) -> Vec<Route> {
    match role {
        Role::Worker => operations(),
        _ => [operations(), page(), reference(), service(), webhooks(), operators(), versioned()].concat(),
    }
}

/// The paths by which monitors see how a process is.
pub(crate) const OPERATIONS: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Returns the routes for monitors, which every process has.
fn operations() -> Vec<Route> {
    vec![
        Route::get(OPERATIONS[0], Needs::Probe, health::health),
        Route::get(OPERATIONS[1], Needs::Probe, health::ready),
        Route::get(OPERATIONS[2], Needs::Metrics, metrics::metrics),
    ]
}

/// Returns the routes of the pages.
fn page() -> Vec<Route> {
    vec![
        Route::get("/", Needs::Nothing, page::index),
        Route::get("/operate", Needs::Nothing, page::operate),
        Route::get("/docs", Needs::Nothing, page::reference),
        Route::get("/assets/{name}", Needs::Nothing, page::asset),
    ]
}

/// Returns the routes that explain the others.
fn reference() -> Vec<Route> {
    vec![
        Route::get("/openapi.json", Needs::Nothing, async || Json(interface())),
        Route::get("/problems", Needs::Nothing, catalogue::list),
        Route::get("/problems/{code}", Needs::Nothing, catalogue::one),
    ]
}

/// Returns the description of the interface.
fn interface() -> OpenApi {
    let routes = routes(Role::All);
    describe(routes.iter().map(|Route { method, path, needs, .. }| Rule { method, path, needs: *needs }))
}

/// Returns the routes for clients once more, under the version of the interface.
fn versioned() -> Vec<Route> {
    let under = |route: Route| Route { path: format!("/v1{}", route.path).into(), ..route };
    [service(), webhooks(), operators()].concat().into_iter().map(under).collect()
}

/// Returns the routes for clients.
fn service() -> Vec<Route> {
    let (read, trade) = (Needs::Scope(Read), Needs::Scope(Trade));
    vec![
        Route::get("/api/orders", read, list::list),
        Route::get("/api/orders/by-client-id/{clientOrderId}", read, orders::by_client_id),
        Route::post("/api/orders/execute", trade, create::create),
        Route::post("/api/orders/batch", trade, batch::create),
        Route::post("/api/orders/cancel", trade, batch::cancel),
        Route::get("/api/orders/execute", Needs::Stream, follow::by_query),
        Route::get("/api/orders/status/{orderId}", Needs::Stream, orders::status),
        Route::get("/api/orders/{orderId}/events", read, orders::events),
        Route::post("/api/orders/{orderId}/cancel", trade, cancel::cancel),
        Route::post("/api/quote", read, quote::quote),
        Route::post("/api/tickets", read, tickets::issue),
        Route::get("/api/tokens", read, quote::tokens),
        Route::get("/api/chain", read, quote::chain_info),
        Route::get("/api/pairs", read, pairs::pairs),
        Route::get("/api/time", read, clock::time),
        Route::get("/api/stream", Needs::Stream, stream::stream),
        Route::get("/ws/orders/{orderId}", Needs::Stream, follow::by_path),
    ]
}

/// Returns the routes of webhooks.
fn webhooks() -> Vec<Route> {
    let (read, trade) = (Needs::Scope(Read), Needs::Scope(Trade));
    vec![
        Route::get("/api/webhooks", read, endpoints::list),
        Route::post("/api/webhooks", trade, endpoints::create),
        Route::get("/api/webhooks/{webhookId}", read, endpoints::show),
        Route::patch("/api/webhooks/{webhookId}", trade, endpoints::change),
        Route::delete("/api/webhooks/{webhookId}", trade, endpoints::delete),
        Route::post("/api/webhooks/{webhookId}/rotate-secret", trade, endpoints::rotate_secret),
        Route::post("/api/webhooks/{webhookId}/test", trade, deliveries::test),
        Route::get("/api/webhooks/{webhookId}/deliveries", read, deliveries::list),
        Route::post("/api/webhooks/{webhookId}/redeliver", trade, deliveries::redeliver),
    ]
}

/// Returns the routes by which operators see and change what is everybody's. Each act is recorded with who did it.
fn operators() -> Vec<Route> {
    vec![
        Route::look::<ListAttention>("/api/operator/attention"),
        Route::look::<ViewOrder>("/api/operator/orders/{orderId}"),
        Route::act::<Resolve>("/api/operator/orders/{orderId}/resolve"),
        Route::act::<OnOrder<RetryOrder>>("/api/operator/orders/{orderId}/retry"),
        Route::act::<OnOrder<ReleaseOrder>>("/api/operator/orders/{orderId}/release"),
        Route::act::<OnOrder<MakeOrderDue>>("/api/operator/orders/{orderId}/make-due"),
        Route::act::<OnOrder<CancelOrder>>("/api/operator/orders/{orderId}/cancel"),
        Route::look::<ListWebhooks>("/api/operator/webhooks"),
        Route::look::<ListDeliveries>("/api/operator/webhooks/{webhookId}/deliveries"),
        Route::act::<Redeliver>("/api/operator/webhooks/{webhookId}/redeliver"),
        Route::act::<Purge>("/api/operator/purge"),
        Route::act::<Halt>("/api/operator/halt"),
        Route::act::<EndHalt>("/api/operator/halt/end"),
        Route::act::<SetPause>("/api/operator/pauses"),
        Route::act::<EndPause>("/api/operator/pauses/end"),
        Route::get("/api/operator/pauses", NEEDS, pauses::list),
        Route::get("/api/operator/stats", NEEDS, overview::stats),
    ]
}

/// Returns the service that has these routes, and answers everything else with a problem.
pub(crate) fn router(app: AppState) -> Router {
    let routes = routes(app.options.role).into_iter();
    let nothing = async || Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such path.");
    let not_so = async || {
        let detail = "The path exists, but not for this method.";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    };
    routes
        .fold(Router::new(), |router, route| router.route(&route.path, route.handler))
        .fallback(Gated { needs: Needs::Nothing, handler: nothing })
        .method_not_allowed_fallback(Gated { needs: Needs::Nothing, handler: not_so })
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is not for programs, and the older paths' copies.
    fn is_described(path: &str) -> bool {
        !path.starts_with("/v1/") && !["/", "/operate", "/docs", "/assets/{name}"].contains(&path)
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes: BTreeSet<String> = routes(Role::All)
            .iter()
            .filter(|route| is_described(&route.path))
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        let document = serde_json::to_value(interface()).unwrap();
        let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "servers");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routes);
    }

    #[test]
    fn every_operation_has_a_name_a_tag_and_its_problems() {
        let document = serde_json::to_value(interface()).unwrap();
        let mut names = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "servers") {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} twice");
                assert!(operation["tags"][0].is_string(), "{name}");
                assert!(operation["summary"].is_string(), "{name}");
                assert!(operation["responses"]["default"].is_object(), "{method} {name}");
            }
        }
        assert_eq!(document["openapi"], "3.1.0");
    }
}
