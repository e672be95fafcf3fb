//! The live stream as server-sent events, for clients that cannot or need not speak WebSocket.

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
use crate::http::follow::no_place;
use crate::http::params::{Params, parse_number};
use crate::live::feed::{Feed, FeedEnd, Item};
use crate::live::session::Announcements;
use crate::live::sockets::Place;
use crate::wire::frame::{ControlFrame, to_json};
use crate::wire::problem::Problem;

const LAST_EVENT_ID: &str = "Last-Event-ID";
/// How soon a client reconnects after a stream that ended early.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How often a stream without events says that it is alive; as often as a WebSocket is pinged.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Answers with the frames of an order, each event's under its number as the event id.
///
/// A client that has the terminal event and reconnects is told 204, which ends its reconnecting.
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
    let place = app.sockets.admit(Some(id)).map_err(no_place)?;
    let announcements = Announcements { notices: app.sockets.notices(), closing: app.sockets.closing() };
    let feed = Feed::open(&app.engine, &app.known, id, after, place.frames())
        .await?
        .ok_or_else(Problem::order_not_found)?;
    let opening = ControlFrame::opening(id, feed.last_seq(), Utc::now());
    let source = EventSource {
        opening: opening.iter().map(to_json).collect(),
        feed: Box::pin(feed.into_stream()),
        announcements,
        _place: place,
    };
    let events = unfold(source, |mut source| async move {
        let event = source.next().await?;
        Some((Ok::<_, Infallible>(event.retry(RECONNECT_AFTER)), source))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response())
}

/// Where the client stands: a reconnecting one says it in a header, under the URL of its first
/// connection.
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
    _place: Place,
}

impl EventSource {
    /// The next event; nothing once the stream ends, for whatever reason: the client knows how to
    /// resume.
    async fn next(&mut self) -> Option<Event> {
        if let Some(json) = self.opening.pop_front() {
            return Some(Event::default().data(json));
        }
        loop {
            tokio::select! {
                biased;
                () = self.announcements.closing.wait() => return None,
                notice = self.announcements.notices.recv() => {
                    // Missed notices are of no use afterwards.
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
