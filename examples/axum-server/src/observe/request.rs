//! The trace of a request, whose id is the request's.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::Response;
use order_engine_core::OrderId;
use order_engine_core::telemetry::trace::{TRACEPARENT, TraceContext};
use tracing::field::{Empty, display};
use tracing::{Span, info_span};
use uuid::Uuid;

/// The header of each answer with the id of its request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTrace {
    pub(crate) context: TraceContext,
    /// Whether the client has named it.
    #[cfg_attr(not(feature = "otel"), allow(dead_code))]
    is_named: bool,
}

impl RequestTrace {
    /// Returns the trace that a request says it belongs to, or else one of its own. Several headers say nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let only = lines.next().filter(|_| lines.next().is_none());
        let named = only.and_then(|line| line.to_str().ok()?.trim().parse().ok());
        named.map_or_else(Self::fresh, |context| Self { context, is_named: true })
    }

    /// Returns a trace of its own.
    pub(crate) fn fresh() -> Self {
        Self { context: TraceContext::of_id(Uuid::new_v4().as_u128()), is_named: false }
    }

    /// Returns the span of a request, which each line of the log about it names.
    pub(crate) fn span(self, method: &Method) -> Span {
        let span = info_span!(
            "request",
            request.id = %self.context.trace_id(),
            http.request.method = %method,
            http.route = Empty,
            order.id = Empty,
        );
        #[cfg(feature = "otel")]
        if self.is_named {
            crate::otel::set_parent(&span, self.context);
        }
        span
    }

    /// Tells the client the id.
    pub(crate) fn tell(self, response: &mut Response) {
        let id = HeaderValue::try_from(self.context.trace_id().to_string());
        // Hexadecimal digits make a header.
        response.headers_mut().extend(id.ok().map(|id| (REQUEST_ID, id)));
    }
}

/// Notes in the span of the request that it is about an order.
pub(crate) fn about(id: OrderId) {
    Span::current().record("order.id", display(id));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_request_is_of_the_trace_that_it_names_or_of_its_own() {
        let trace = |lines: &[&'static str]| {
            let headers = lines.iter().map(|line| {
                (HeaderName::from_static(TRACEPARENT), HeaderValue::from_bytes(line.as_bytes()).unwrap())
            });
            RequestTrace::of(&headers.collect())
        };
        assert_eq!((trace(&[TRACE]).context.to_string().as_str(), trace(&[TRACE]).is_named), (TRACE, true));
        for lines in [&[][..], &["nonsense"], &["é"], &[TRACE, TRACE]] {
            assert!(!trace(lines).is_named, "{lines:?}");
        }
        assert_ne!(trace(&[]), trace(&[]));
    }

    #[test]
    fn the_client_is_told_the_id() {
        let mut response = Response::default();
        RequestTrace { context: TRACE.parse().unwrap(), is_named: true }.tell(&mut response);
        assert_eq!(response.headers()[REQUEST_ID], "0af7651916cd43dd8448eb211c80319c");
    }
}
