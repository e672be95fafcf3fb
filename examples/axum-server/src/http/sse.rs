//! The live stream as server-sent events, for clients that cannot or need not use a WebSocket.

use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures_util::StreamExt;
use order_engine_core::{FeedCursor, FeedScope, OrderId};

use crate::app::AppState;
use crate::auth::tenure::Tenure;
use crate::http::follow::no_slot;
use crate::http::params::{Params, parse_number};
use crate::live::all_orders::AllOrders;
use crate::live::event_stream::{self, Framing};
use crate::live::feed::{Feed, FeedEnd, Item};
use crate::live::session::Announcements;
use crate::live::sockets::StreamSlot;
use crate::store_watch::Part;
use crate::transport::handover::Handover;
use crate::wire::frame::{ControlFrame, to_json};
use crate::wire::problem::Problem;

pub(crate) const LAST_EVENT_ID: &str = "Last-Event-ID";
const EVENT_STREAM: &str = "text/event-stream";

/// What a request for server-sent events needs of its connection.
#[derive(Debug)]
pub(crate) struct Stream {
    handover: Option<Handover>,
    framing: Framing,
    last_event_id: Option<HeaderValue>,
}

impl<S: Send + Sync> FromRequestParts<S> for Stream {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let is_old = parts.version < Version::HTTP_11;
        Ok(Self {
            handover: parts.extensions.get::<Handover>().cloned(),
            framing: if is_old { Framing::ToTheEnd } else { Framing::Chunked },
            last_event_id: parts.headers.get(LAST_EVENT_ID).cloned(),
        })
    }
}

impl Stream {
    /// Returns the id of the last event that the client has. A client that reconnects repeats its first URL, and sends the id in a
    /// header, which counts.
    pub(crate) fn resumes_after(&self) -> Option<&str> {
        self.last_event_id.as_ref().map(|value| value.to_str().unwrap_or_default())
    }
}

/// Answers with the frames of an order. The id of each server-sent event is the number of its order event.
///
/// A client that has the terminal event and reconnects gets 204, after which it does not reconnect again.
pub(crate) async fn stream(
    app: AppState,
    id: OrderId,
    params: &Params,
    (stream, tenure): (Stream, Tenure),
) -> Result<Response, Problem> {
    let after = match stream.resumes_after() {
        Some(text) => parse_number(LAST_EVENT_ID, text)?,
        None => params.after()?,
    };
    let order = app.store_watch.in_time(Part::Reads, app.engine.order(id)).await?;
    let order = order.ok_or_else(Problem::order_not_found)?;
    if order.status().is_terminal() && after >= order.seq {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slot = app.sockets.admit(id).map_err(no_slot)?;
    let feed = Feed::open(&app.engine, &app.known, &app.store_watch, id, after, slot.frames()).await?;
    let feed = feed.ok_or_else(Problem::order_not_found)?;
    let opening = ControlFrame::opening(id, feed.last_seq(), Utc::now());
    respond(&app, stream, &opening, feed.into_stream(), (slot, tenure))
}

/// Answers with the frames of all orders of a scope, behind a place or from now on. The id of each event is the place behind it.
pub(crate) async fn stream_all(
    app: AppState,
    scope: FeedScope,
    after: Option<FeedCursor>,
    (stream, slot, tenure): (Stream, StreamSlot, Tenure),
) -> Result<Response, Problem> {
    let feed = AllOrders::open(&app.engine, &app.store_watch, scope, after).await?;
    let opening = ControlFrame::opening_of_all(feed.cursor(), Utc::now());
    respond(&app, stream, &opening, feed.into_stream(), (slot, tenure))
}

/// Answers with frames that open a stream and a feed.
fn respond<F>(
    app: &AppState,
    Stream { handover, framing, .. }: Stream,
    opening: &[ControlFrame],
    feed: F,
    (slot, tenure): (StreamSlot, Tenure),
) -> Result<Response, Problem>
where
    F: futures_util::Stream<Item = Result<Item, FeedEnd>> + Send + 'static,
{
    let announcements = Announcements::of(&app.sockets);
    let opening = opening.iter().map(to_json).collect();
    let handover = handover.ok_or_else(|| {
        let detail = "This connection cannot carry a live stream.";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no-live-stream", detail)
    })?;
    let body = handover.body(move |connection, _| async move {
        // Boxed, because each future that it passes through would have room for one of its own.
        let feed = Box::pin(feed.take_until(tenure.ended()));
        event_stream::run(connection, framing, opening, feed, announcements).await;
        drop(slot);
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // The connection is the stream's from now on.
        (CONNECTION, HeaderValue::from_static("close")),
        // A proxy of the nginx kind must pass events on as they come.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// Adds to an answer that it depends on what the client accepts.
pub(crate) fn vary_by_accept(mut response: Response) -> Response {
    response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT));
    response
}

/// Returns whether a client accepts server-sent events. It has to name them: they are not what `*/*` gets.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(EVENT_STREAM))
            && !parts.any(is_quality_zero)
    })
}

/// Returns whether a parameter of a range says that the client does not want it.
fn is_quality_zero(parameter: &str) -> bool {
    let quality = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    quality.is_some_and(|(_, quality)| quality.trim().parse() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_sent_events_have_to_be_named_and_wanted() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, TEXT/Event-Stream ; q=0.5", true),
            ("text/event-stream;q=0", false),
            ("text/event-stream; Q = 0.000, application/json", false),
            ("text/event-stream;q=0, text/event-stream;q=1", true),
            ("*/*", false),
            ("text/event-streams", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(is_accepted(&headers), expected, "{accept}");
        }
    }
}
