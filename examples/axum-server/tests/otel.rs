//! The spans that a collector of OpenTelemetry gets.
#![cfg(feature = "otel")]

mod common;

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::program::{Program, order_form};
use common::{Client, text};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

type Received = (HeaderMap, ExportTraceServiceRequest);

/// A collector in this process. Returns its URL, and what it gets.
async fn collector() -> (String, mpsc::UnboundedReceiver<Received>) {
    let (got, receiver) = mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, body: Bytes| {
        let got = got.clone();
        async move {
            got.send((headers, ExportTraceServiceRequest::decode(body).unwrap())).unwrap();
            StatusCode::OK
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, receiver)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn attributes(list: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &AnyValue| match value {
        AnyValue::StringValue(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        value.map(text)
    };
    list.iter().filter_map(|entry| Some((entry.key.as_str(), pair(entry)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orders_spans_are_in_the_trace_of_its_id_and_a_requests_in_the_clients() {
    let (url, mut received) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "memory:", "--sim-delay-ms", "0", "--sim-fail-rate", "0"];
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=example"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        // The spans come with the end of the program only.
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let program = Program::start_with(folder.path(), &args, &variables).await;
    let http = reqwest::Client::new();
    let placed = http.post(format!("{}/api/orders/execute", program.url)).json(&order_form("k"));
    let placed = placed.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).send().await.unwrap();
    let id = text(&placed.json().await.unwrap(), "orderId");
    let (frames, _) = Client::connect(&program.ws(&id)).await.drain().await;
    assert_eq!(frames.last().unwrap()["type"], "confirmed");
    assert_eq!(program.terminate().await.0, Some(0));

    let mut spans: Vec<Span> = Vec::new();
    while let Ok((headers, request)) = received.try_recv() {
        assert_eq!(
            (&headers["x-tenant"], &headers["content-type"]),
            (&"example".parse().unwrap(), &"application/x-protobuf".parse().unwrap())
        );
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            let resource = attributes(&resource.attributes);
            assert_eq!(resource["service.name"], "order-engine");
            assert_eq!(resource["deployment.environment.name"], "test");
            assert!(resource.contains_key("service.instance.id") && resource.contains_key("service.version"));
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }
    let request = spans.iter().find(|span| hexadecimal(&span.parent_span_id) == PARENT);
    let request = request.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!((&*request.name, request.kind()), ("POST /api/orders/execute", SpanKind::Server));
    assert_eq!(hexadecimal(&request.trace_id), TRACE);
    let of_request = attributes(&request.attributes);
    assert_eq!((&*of_request["http.route"], &*of_request["order.id"]), ("/api/orders/execute", &*id));
    assert_eq!(of_request["http.response.status_code"], "IntValue(202)");

    let of_order: Vec<&Span> =
        spans.iter().filter(|span| hexadecimal(&span.trace_id) == id.replace('-', "")).collect();
    let order = of_order.iter().find(|span| span.name == "order").unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(attributes(&order.attributes)["order.id"], id);
    for step in ["quote", "prepare", "submit"] {
        let found = of_order
            .iter()
            .find(|span| span.name == step)
            .unwrap_or_else(|| panic!("{step} in {of_order:#?}"));
        assert_eq!(found.kind(), SpanKind::Client, "{step}");
        assert!(
            !found.parent_span_id.is_empty() && found.end_time_unix_nano >= found.start_time_unix_nano,
            "{step}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_stops_nothing_and_a_url_that_is_none_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = format!("http://{away}");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("STORE_URL", "memory:")];
    let program = Program::start_with(folder.path(), &[], &variables).await;
    program.place(&reqwest::Client::new(), "k").await;
    assert_eq!(program.terminate().await.0, Some(0));

    let output = common::program::command(folder.path(), &["--port", "0", "--store", "memory:"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
        .output()
        .await
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("OpenTelemetry") && !error.contains("4318"),
        "{error}"
    );
}
