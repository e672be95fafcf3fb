//! All codes of problems: what each means, and what a client can do about it.

use serde::Serialize;
use utoipa::ToSchema;

/// The path under which the catalogue is served.
pub(crate) const PATH: &str = "/problems";

/// A code that problems have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProblemKind)]
pub(crate) struct Entry {
    /// What programs tell problems apart by.
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What it means, and what to do about it.
    pub(crate) meaning: &'static str,
}

const fn entry(status: u16, code: &'static str, meaning: &'static str) -> Entry {
    Entry { code, status, meaning }
}

/// Every code, by its status.
pub(crate) const CATALOGUE: &[Entry] = &[
    entry(400, "bad-host", "The request has no Host, or more than one that differ. Send one."),
    entry(
        400,
        "bad-upgrade",
        "The handshake of a WebSocket is not as RFC 6455 wants it. The detail says how.",
    ),
    entry(400, "https-required", "The port speaks HTTPS. Ask with https://."),
    entry(400, "malformed-json", "The body is not well-formed JSON. Mend it; nothing was done."),
    entry(400, "malformed-request", "The head of the request is not well-formed HTTP/1.1."),
    entry(400, "too-deep", "The body nests arrays and objects too deep. Requests are flat."),
    entry(401, "invalid-credential", "The credential is unknown, expired or revoked. Get a new one."),
    entry(401, "no-credential", "The request needs Authorization: Bearer, with an API key or a token."),
    entry(
        403,
        "missing-scope",
        "The credential is good, but not for this. The header WWW-Authenticate names the scope.",
    ),
    entry(403, "no-tickets", "Only a user can have a ticket, and the credential is no user's."),
    entry(
        403,
        "operators-unknown",
        "Operators show who they are. A server without authentication serves them on the loopback only.",
    ),
    entry(
        403,
        "origin-not-allowed",
        "A web page of another origin made the request. The operator allows origins.",
    ),
    entry(403, "user-mismatch", "The request names another user than its credential does."),
    entry(404, "no-such-pause", "There is no such pause."),
    entry(404, "no-tickets", "Tickets are for servers with authentication. Without it, sockets need none."),
    entry(404, "no-webhooks", "The server has no webhooks."),
    entry(404, "not-found", "There is no such path."),
    entry(404, "order-not-found", "There is no such order, or it is another user's."),
    entry(404, "webhook-not-found", "There is no such webhook, or it is another user's."),
    entry(
        405,
        "method-not-allowed",
        "The path exists, but not for this method. The header Allow names those it has.",
    ),
    entry(408, "request-timeout", "The request did not arrive in time. Send it again, all at once."),
    entry(
        409,
        "idempotency-conflict",
        "The key was used for a different order, which is named. Use a new key for a new order.",
    ),
    entry(409, "name-taken", "The user gave the name of the new order to another one."),
    entry(409, "not-acceptable", "The order is not acceptable any more. The detail says why."),
    entry(409, "not-failed", "Only an order that has failed is tried again."),
    entry(409, "not-quarantined", "The order is not in quarantine."),
    entry(
        409,
        "order-unreadable",
        "This server cannot read the order, most likely because a newer one wrote it.",
    ),
    entry(409, "outcome-not-unknown", "The outcome is not unknown, so the engine decides."),
    entry(409, "purge-running", "Orders are being deleted already."),
    entry(409, "still-possible", "The transaction can still land. Cancel the order: then the chain decides."),
    entry(409, "too-late", "The order has ended or was sent, so it cannot be cancelled any more."),
    entry(409, "too-many-webhooks", "The user has as many webhooks as one may have. Delete one first."),
    entry(
        409,
        "webhook-changed",
        "Somebody else changed the webhook at the same time. Read it, and try again.",
    ),
    entry(
        413,
        "body-too-large",
        "The body is larger than this path takes. The detail says how large it may be.",
    ),
    entry(414, "uri-too-long", "The path and the query are too long."),
    entry(415, "unsupported-media-type", "The body must be JSON, with Content-Type: application/json."),
    entry(421, "host-not-allowed", "The server does not answer under this name. The operator allows names."),
    entry(422, "amount-too-small", "The order would buy nothing. Sell more."),
    entry(422, "invalid-request", "Fields are not acceptable. `errors` has each with a code and a sentence."),
    entry(
        422,
        "no-price",
        "What users trade is limited by its worth, and the host has no price of the token. Ask the operator.",
    ),
    entry(
        422,
        "notional-too-large",
        "The order alone is worth more than a user may trade in 24 hours. Sell less.",
    ),
    entry(422, "pair-not-traded", "No pools lead from the one token to the other."),
    entry(
        422,
        "price-impact-too-high",
        "The order would move the price by more than it may. Sell less, or allow more.",
    ),
    entry(422, "quote-expired", "The quote has expired. Ask for a new one and order at that."),
    entry(422, "quote-refused", "The router refuses this quote for good. The detail says why."),
    entry(426, "bad-upgrade", "The server speaks another version of WebSocket, which the answer names."),
    entry(426, "upgrade-required", "The path is a WebSocket. Connect with Upgrade: websocket."),
    entry(
        429,
        "daily-notional-exceeded",
        "With the order, the user would trade more in 24 hours than one may. Retry-After says when there is room for it.",
    ),
    entry(
        429,
        "too-many-open-orders",
        "The user has as many open orders as one may have. Wait until some have ended.",
    ),
    entry(
        429,
        "too-many-requests",
        "Too many requests. Retry-After and the RateLimit headers say when there may be more.",
    ),
    entry(431, "headers-too-large", "The head of the request is too large, or has too many headers."),
    entry(500, "act-failed", "A defect of the server. The act may be half done; look before it is repeated."),
    entry(500, "no-caller", "A defect of the server: nobody checked who asks."),
    entry(501, "no-live-stream", "This connection cannot carry a live stream."),
    entry(501, "search-unsupported", "The venue cannot search its history."),
    entry(503, "audit-incomplete", "The act was done, and how it ended could not be recorded."),
    entry(503, "audit-unavailable", "The act could not be recorded, and was not done."),
    entry(503, "chain-silent", "The venue does not answer. Try again."),
    entry(503, "credential-unchecked", "The credential cannot be checked at the moment. Try again."),
    entry(503, "no-metrics", "The process collects no metrics."),
    entry(503, "no-secret", "No secret can be made at the moment. Try again."),
    entry(503, "no-venue", "The order's venue is not one of this process."),
    entry(503, "not-ready", "A part of the server does not work. `errors` names it."),
    entry(
        503,
        "outcome-unknown",
        "The order may have been accepted. Ask for it by its id, or repeat the request with the key of the answer; never without it.",
    ),
    entry(
        503,
        "overloaded",
        "As many orders wait as may. Nothing was accepted; try again after Retry-After.",
    ),
    entry(503, "paused", "The operator has paused new orders."),
    entry(503, "quote-unavailable", "No quote is available at the moment. Try again."),
    entry(
        503,
        "shutting-down",
        "The process shuts down. Try again: another one answers, or this one once it is back.",
    ),
    entry(503, "store-error", "The store cannot serve this request at the moment."),
    entry(
        503,
        "store-unavailable",
        "The store does not answer. Nothing was changed, or what was may be repeated.",
    ),
    entry(503, "too-many-attempts", "Too many such requests are under way. Try again."),
    entry(
        503,
        "too-many-connections",
        "The server, or this address, has as many connections as it may have.",
    ),
    entry(503, "too-many-streams", "There are as many live streams as there may be, in all or on the order."),
];

/// Whether a code stands in the catalogue with a status.
pub(crate) fn has(code: &str, status: u16) -> bool {
    CATALOGUE.iter().any(|entry| (entry.code, entry.status) == (code, status))
}

/// Returns the `type` of problems with a code: where the catalogue explains it.
pub(crate) fn type_of(code: &str) -> String {
    format!("{PATH}/{code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_says_each_thing_once() {
        assert!(CATALOGUE.is_sorted_by_key(|entry| (entry.status, entry.code)));
        assert!(CATALOGUE.windows(2).all(|pair| pair[0] != pair[1]));
        for Entry { code, meaning, .. } in CATALOGUE {
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert!(meaning.ends_with('.'), "{code}");
        }
    }
}
