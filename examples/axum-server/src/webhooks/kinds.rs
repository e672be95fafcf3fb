//! The kinds of events, by which endpoints choose.

/// Every kind there is, as the live stream names it, after `order.`.
pub(crate) const KINDS: [&str; 11] = [
    "order.pending",
    "order.routing",
    "order.building",
    "order.submitted",
    "order.execution-failed",
    "order.retry-pending",
    "order.cancel-requested",
    "order.attention",
    "order.attention-cleared",
    "order.confirmed",
    "order.failed",
];

/// The kind of what a user sends to try an endpoint. Every endpoint gets it.
pub(crate) const TEST: &str = "webhook.test";

/// Returns the kind of a frame of the live stream.
pub(crate) fn kind_of(frame_type: &str) -> String {
    format!("order.{frame_type}")
}

/// Returns whether an endpoint wants a kind. One that names none wants all of them.
pub(crate) fn wants(chosen: &[String], kind: &str) -> bool {
    chosen.is_empty() || chosen.iter().any(|chosen| chosen == kind)
}
