//! The live stream as server-sent events, for clients that cannot or need not use a WebSocket.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use order_engine_core::OrderId;

use crate::app::AppState;
use crate::http::follow::no_slot;
use crate::http::params::{Params, parse_number};
use crate::live::feed::{Feed, FeedEnd, Item};
use crate::live::session::Announcements;
use crate::live::sockets::StreamSlot;
use crate::wire::frame::{ControlFrame, to_json};
use crate::wire::problem::Problem;

const LAST_EVENT_ID: &str = "Last-Event-ID";
/// How soon a client reconnects after a stream that ended before its order.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How often a stream without events sends a comment to keep the connection alive: as often as a WebSocket is
/// pinged.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Answers with the frames of an order. The id of each server-sent event is the number of its order event.
///
/// A client that has the terminal event and reconnects gets 204, after which it does not reconnect again.
pub(crate) async fn stream(
    app: AppState,
    id: OrderId,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let after = resume_after(params, headers)?;
    let order = app.engine.order(id).await?.ok_or_else(Problem::order_not_found)?;
    if order.status().is_terminal() && after >= order.seq {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let slot = app.sockets.admit(Some(id)).map_err(no_slot)?;
    let announcements =
        Announcements { notices: app.sockets.notices(), shutdown: app.sockets.shutdown_signal() };
    let feed = Feed::open(&app.engine, &app.known, id, after, slot.frames())
        .await?
        .ok_or_else(Problem::order_not_found)?;
    let opening = ControlFrame::opening(id, feed.last_seq(), Utc::now());
    let source = EventSource {
        opening: opening.iter().map(to_json).collect(),
        feed: Box::pin(feed.into_stream()),
        announcements,
        _slot: slot,
    };
    let events = unfold(source, |mut source| async move {
        let event = source.next().await?;
        Some((Ok::<_, Infallible>(event.retry(RECONNECT_AFTER)), source))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response())
}

/// Returns the number of the last event that the client has. A client that reconnects repeats its first URL
/// and sends the number in a header.
fn resume_after(params: &Params, headers: &HeaderMap) -> Result<u64, Problem> {
    match headers.get(LAST_EVENT_ID) {
        Some(value) => parse_number(LAST_EVENT_ID, value.to_str().unwrap_or_default()),
        None => params.after(),
    }
}

struct EventSource {
    opening: VecDeque<String>,
    feed: Pin<Box<dyn Stream<Item = Result<Item, FeedEnd>> + Send>>,
    announcements: Announcements,
    _slot: StreamSlot,
}

impl EventSource {
    /// Returns the next event, or `None` when the stream ends. It needs no reason, because the client
    /// reconnects and resumes after its last event.
    async fn next(&mut self) -> Option<Event> {
        if let Some(json) = self.opening.pop_front() {
            return Some(Event::default().data(json));
        }
        loop {
            tokio::select! {
                biased;
                () = self.announcements.shutdown.wait() => return None,
                notice = self.announcements.notices.recv() => {
                    // A notice that was missed is outdated, so it is skipped.
                    if let Ok(notice) = notice {
                        return Some(Event::default().data(notice));
                    }
                }
                item = self.feed.next() => {
                    let item = item?.ok()?;
                    return Some(Event::default().id(item.seq.to_string()).data(item.frame.as_str()));
                }
            }
        }
    }
}
