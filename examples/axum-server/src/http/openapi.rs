//! The description of the interface as an OpenAPI 3.1 document, from the handlers themselves.

use axum::Json;
use axum::extract::State;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, ServerBuilder};
use utoipa::{Modify, OpenApi, ToSchema as _};

use crate::app::AppState;
use crate::gate::Needs;
use crate::http::operator::{described, overview, pauses};
use crate::http::routes::{OPERATIONS, routes};
use crate::http::webhooks::{deliveries, endpoints};
use crate::http::{
    batch, cancel, catalogue, clock, create, follow, health, list, metrics, orders, pairs, quote, stream,
    tickets,
};
use crate::wire::frame::FrameSchema;
use crate::wire::problem::Document;

const CREDENTIAL: &str = "bearer";
const PROBLEM: &str = "application/problem+json";

/// The handlers that clients call.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-engine",
        description = "Places orders on decentralised exchanges, durably, with at most one effect each, and tells how they fare.\n\n\
            Every error is a problem (RFC 9457) with a stable `code`; its `type` leads to an explanation. A request for an order that \
            had no answer may be repeated with the same `Idempotency-Key`.",
    ),
    paths(
        create::create, batch::create, batch::cancel, cancel::cancel, list::list, orders::status, orders::by_client_id,
        orders::events, follow::by_path, follow::by_query, stream::stream, tickets::issue, quote::quote, quote::tokens,
        quote::chain_info, pairs::pairs, clock::time, health::health, health::ready, metrics::metrics, catalogue::list,
        catalogue::one, document,
        endpoints::create, endpoints::list, endpoints::show, endpoints::change, endpoints::delete, endpoints::rotate_secret,
        deliveries::list, deliveries::test, deliveries::redeliver,
        described::attention, described::view, described::resolve, described::retry, described::release,
        described::make_due, described::cancel, described::purge, described::halt, described::end_halt,
        described::set_pause, described::end_pause, pauses::list, overview::stats,
    ),
    components(schemas(FrameSchema<'_>, Document<'_>)),
    modifiers(&Credentials, &Rules),
)]
struct Interface;

/// Get this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getInterface",
    tag = "Operations",
    responses((status = 200, description = "The description of the interface.", body = Object)),
)]
pub(crate) async fn document(State(_): State<AppState>) -> Json<openapi::OpenApi> {
    Json(interface())
}

/// Returns the description of the interface.
pub(crate) fn interface() -> openapi::OpenApi {
    Interface::openapi()
}

/// Says how clients show who they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, or a token of the identity provider. Servers without authentication need neither."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(CREDENTIAL, SecurityScheme::Http(scheme));
        env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
        document.servers =
            Some(vec![ServerBuilder::new().url("/").build(), ServerBuilder::new().url("/v1").build()]);
    }
}

/// Adds to each operation what holds for all with the same needs, from the list of routes itself.
struct Rules;

impl Modify for Rules {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for route in routes(crate::config::Role::All) {
            let Some(path) = document.paths.paths.get_mut(&*route.path) else { continue };
            if OPERATIONS.contains(&&*route.path)
                || !route.path.starts_with("/api") && !route.path.starts_with("/ws")
            {
                path.servers = Some(vec![ServerBuilder::new().url("/").build()]);
            }
            let operation = match route.method.as_str() {
                "GET" => &mut path.get,
                "POST" => &mut path.post,
                "PUT" => &mut path.put,
                "PATCH" => &mut path.patch,
                "DELETE" => &mut path.delete,
                _ => continue,
            };
            if let Some(operation) = operation {
                add_rules(operation, route.needs);
            }
        }
    }
}

fn add_rules(operation: &mut Operation, needs: Needs) {
    let scope = match needs {
        Needs::Probe | Needs::Nothing => None,
        Needs::Scope(scope) => Some(scope.as_str()),
        Needs::Stream => Some("read"),
        Needs::Metrics => Some("operate"),
    };
    let mut add = |status: &str, description: &str| {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(problem(description)));
    };
    if let Some(scope) = scope {
        add("401", "The request has no credential, or not a valid one.");
        add(
            "403",
            &format!(
                "The credential does not have the scope `{scope}`, or the request comes from a foreign web page."
            ),
        );
        add("429", "Too many requests.");
        // An empty requirement: a server without authentication needs no credential.
        let requirements = [SecurityRequirement::new(CREDENTIAL, [scope]), SecurityRequirement::default()];
        operation.security = Some(requirements.into());
    }
    add("default", "Every other error, as a problem with a code.");
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(Document::name());
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(schema))).build();
    ResponseBuilder::new().description(description).content(PROBLEM, content).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Role;

    /// What is not for programs, and the older paths' copies.
    fn is_described(path: &str) -> bool {
        !path.starts_with("/v1/") && !["/", "/docs", "/assets/{name}"].contains(&path)
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
