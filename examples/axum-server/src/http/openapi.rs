//! The description of the interface as an OpenAPI 3.1 document, from the handlers themselves.

use axum::http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, ServerBuilder};
use utoipa::{Modify, OpenApi, ToSchema as _};

use crate::gate::Needs;
use crate::http::operator::{described, overview, pauses};
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
        described::list_webhooks, described::list_deliveries, described::redeliver,
    ),
    components(schemas(FrameSchema<'_>, Document<'_>)),
    modifiers(&Credentials),
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
#[expect(dead_code, reason = "the function carries the description of a route")]
pub(crate) fn document() {}

/// What is known of a route beside its description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) needs: Needs,
}

/// Returns the description of the interface, with what holds for each route.
pub(crate) fn describe<'a>(rules: impl Iterator<Item = Rule<'a>>) -> openapi::OpenApi {
    let mut document = Interface::openapi();
    for rule in rules {
        add_rule(&mut document, rule);
    }
    document
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

/// Adds to an operation what holds for all with the same needs.
fn add_rule(document: &mut openapi::OpenApi, Rule { method, path: name, needs }: Rule<'_>) {
    let Some(path) = document.paths.paths.get_mut(name) else { return };
    if !name.starts_with("/api") && !name.starts_with("/ws") {
        path.servers = Some(vec![ServerBuilder::new().url("/").build()]);
    }
    let operation = match method.as_str() {
        "GET" => &mut path.get,
        "POST" => &mut path.post,
        "PUT" => &mut path.put,
        "PATCH" => &mut path.patch,
        "DELETE" => &mut path.delete,
        _ => return,
    };
    if let Some(operation) = operation {
        add_rules(operation, needs);
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
