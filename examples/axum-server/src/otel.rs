//! Spans for a collector of OpenTelemetry, over OTLP in HTTP and protobuf.
//!
//! The usual variables set where they go (`OTEL_EXPORTER_OTLP_ENDPOINT`) and how (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_…`).
//! Without an endpoint there is nothing of this at run time.

use std::env;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SdkTracerProvider, SpanData, SpanExporter as Export,
};
use order_engine_chain::Http;
use order_engine_core::telemetry::chain;
use order_engine_core::telemetry::trace::TraceContext;
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

/// How long the collector may take for one batch of spans, and for the last ones at the end.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(5);
/// The attribute of a request's span that has the status of its answer.
const STATUS_CODE: &str = "http.response.status_code";
/// The spans of this software. Those of its libraries are of no use to an operator.
const OURS: [&str; 3] = ["order_engine_core", "order_engine_server", "order_engine_chain"];

/// Sends spans to a collector.
#[derive(Debug)]
#[must_use = "the last spans are sent at its end"]
pub struct Otel(SdkTracerProvider);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtelError {
    /// The endpoint is no URL that can be called. It is not shown, because it may have a key in it.
    #[error("the endpoint of OpenTelemetry cannot be called")]
    Endpoint(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another setting is wrong.
    #[error("the settings of OpenTelemetry are wrong")]
    Exporter(#[from] ExporterBuildError),
}

impl Otel {
    /// Begins to send spans, if the environment names an endpoint. Within a runtime.
    ///
    /// # Errors
    /// If the settings are wrong.
    pub fn open() -> Result<Option<Self>, OtelError> {
        let Some(endpoint) = endpoint(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
        else {
            return Ok(None);
        };
        let http = Http::new(&endpoint, EXPORT_TIME_MAX, None).map_err(OtelError::Endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector { http, runtime: Handle::current() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_resource(resource())
            .with_batch_exporter(Described(exporter));
        Ok(Some(Self(provider.build())))
    }

    /// Returns what takes spans down.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = Targets::new().with_targets(OURS.map(|target| (target, Level::DEBUG)));
        let tracer = self.0.tracer("order-engine-server");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours)
    }

    /// Sends the last spans.
    pub async fn shut_down(self) {
        // It blocks its thread, and needs those of the runtime meanwhile.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIME_MAX)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the last spans could not be sent"),
            Err(error) => tracing::warn!(%error, "the last spans could not be sent"),
        }
    }
}

/// Returns the URL to which spans are posted, as the specification makes it of the variables.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(format!("{}/v1/traces", base.trim_end_matches('/')))
    })
}

/// Returns what spans are of. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
fn resource() -> Resource {
    let own = [
        KeyValue::new("service.name", "order-engine"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ];
    let set = Resource::builder().build();
    let is_set = |own: &KeyValue| {
        set.get(&own.key).is_some_and(|value| !value.as_str().starts_with("unknown_service"))
    };
    Resource::builder().with_attributes(own.into_iter().filter(|own| !is_set(own))).build()
}

/// Makes the span of a request a child of the client's.
pub(crate) fn set_parent(span: &Span, parent: TraceContext) {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let trace_id = TraceId::from_bytes(parent.trace_id().get().to_be_bytes());
    let span_id = SpanId::from_bytes(parent.span_id().get().to_be_bytes());
    let remote = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
    // An error means that no spans are sent.
    let _ = span.set_parent(Context::new().with_remote_span_context(remote));
}

/// Notes in the span of a request how it was answered.
pub(crate) fn set_answer(span: &Span, status: StatusCode) {
    span.set_attribute(STATUS_CODE, i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}

/// Tells the collector what the spans themselves do not have, so that no line of the log has it either: their kinds, and
/// the names of requests.
#[derive(Debug)]
struct Described(SpanExporter);

impl Export for Described {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.export(batch.into_iter().map(described).collect()).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn described(mut span: SpanData) -> SpanData {
    let attribute = |key| span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    let text = |key| attribute(key).map(|attribute| attribute.value.as_str());
    if let Some(method) = text("http.request.method") {
        let name = text("http.route").map(|route| format!("{method} {route}"));
        span.name = name.unwrap_or_else(|| method.into_owned()).into();
        span.span_kind = SpanKind::Server;
    } else if attribute("step").is_some() {
        // Each step of an order calls a node or the store.
        span.span_kind = SpanKind::Client;
    }
    span
}

/// Gives a span without a parent the trace that the task belongs to: the request's, or the order's.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let current = TraceContext::current();
        current.map_or_else(
            || self.0.new_trace_id(),
            |current| TraceId::from_bytes(current.trace_id().get().to_be_bytes()),
        )
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Calls the collector, on the runtime: the exporter has a thread of its own, outside.
#[derive(Debug)]
struct Collector {
    http: Http,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut http = self.http.clone();
        let mut content_type = String::new();
        for (name, value) in &head.headers {
            let value = value.to_str()?;
            if name == "content-type" {
                value.clone_into(&mut content_type);
            } else {
                http = http.with_header(name.as_str(), value)?;
            }
        }
        let posted = async move { http.post_bytes("", &content_type, body.into()).await };
        let answer = self.runtime.spawn(posted).await??;
        Ok(Response::builder().status(answer.status).body(Bytes::copy_from_slice(answer.body()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_made_as_the_specification_says() {
        let of = |set: &[(&str, &str)]| {
            endpoint(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
        };
        let (general, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(general, "http://c:4318/")]).as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(of(&[(general, "http://c:4318"), (traces, "http://d/x")]).as_deref(), Some("http://d/x"));
        assert_eq!(of(&[(general, "http://c:4318"), ("OTEL_SDK_DISABLED", "TRUE")]), None);
    }
}
