//! The feed: the events of many orders by their places.

use std::sync::Arc;

use order_engine_core::store::{FeedItem, FeedPage, FeedRequest};
use order_engine_core::{
    DecodeError, EventRecord, FeedCursor, OrderHead, OrderId, OrderUpdate, UndecodableOrder, UserId,
};

use crate::error::Error;
use crate::replies::reply;
use crate::rows::{self, Field, Written};
use crate::scripts;
use crate::session::Session;

/// The most events that one call returns.
const EVENTS: u32 = 256;
/// The most writes that one call looks at.
const SCAN: u32 = 512;

reply! {
    FeedReply {
        /// The place of the last write.
        last_write: Option<u64>,
        /// Whether the call has looked at everything there was.
        is_last: bool,
        /// The last write that the call has looked at.
        last_seen: Option<PlaceRow>,
        orders: Vec<FeedOrderRow>,
        writes: Vec<FeedWriteRow>,
    }

    PlaceRow {
        place: f64,
        member: Vec<u8>,
    }

    /// An order. It has no row if its key holds something else.
    FeedOrderRow {
        id: Vec<u8>,
        head: Option<Field>,
    }

    /// The events of a write. They are missing if the history of their order does not have them.
    FeedWriteRow {
        /// The number of its order in the reply, from one.
        order: usize,
        place: f64,
        first_seq: u64,
        last_seq: u64,
        events: Field,
    }
}

pub(crate) async fn feed_end(session: &Session) -> Result<FeedCursor, Error> {
    let mut get = redis::cmd("HGET");
    get.arg(session.key("intents")).arg("last");
    let last_write: Option<u64> = session.read(get).await?;
    Ok(last_write.map_or(FeedCursor::START, FeedCursor::end_of))
}

pub(crate) async fn read_feed(session: &Session, request: &FeedRequest) -> Result<FeedPage, Error> {
    let user = request.scope.user();
    let (from, member) = start(request.after);
    let mut call = session.script(&scripts::READ_FEED);
    call.arg(from).arg(member).arg(u8::from(user.is_some())).arg(user.map_or("", UserId::as_str));
    let limit = request.limit.min(EVENTS);
    call.arg(limit).arg(SCAN);
    let reply: FeedReply = session.read(call).await?;
    let heads: Vec<Option<Head>> = reply.orders.iter().map(head).collect();
    let mut items: Vec<FeedItem> = reply.writes.iter().flat_map(|write| items(write, &heads)).collect();
    items.retain(|item| item.cursor > request.after);
    let is_cut = items.len() > limit as usize;
    items.truncate(limit as usize);
    let is_last = reply.is_last && !is_cut;
    let seen = if is_last {
        reply.last_write.map(FeedCursor::end_of)
    } else if is_cut {
        items.last().map(|item| item.cursor)
    } else {
        reply.last_seen.as_ref().map(cursor)
    };
    let next = seen.map_or(request.after, |seen| seen.max(request.after));
    Ok(FeedPage::new(items, next, is_last))
}

/// Returns from which place on to read, and which member at this place was read last, if one was.
fn start(after: FeedCursor) -> (String, String) {
    let FeedCursor { position, order_id, seq } = after;
    if after == FeedCursor::end_of(position) {
        return (format!("({position}"), String::new());
    }
    (position.to_string(), member(order_id, seq))
}

/// Returns a text behind the member of a write that ends with an event, as `feed_member` of `feed.lua` makes it, and
/// before those that end with a later one.
fn member(order_id: OrderId, seq: u64) -> String {
    let digits = seq.to_string();
    let letter = (b'A'..).nth(digits.len() - 1).map_or('Z', char::from);
    format!("{order_id} {letter}{digits} ~")
}

/// Returns the place behind a member.
fn cursor(row: &PlaceRow) -> FeedCursor {
    let position = position(row.place);
    let member = std::str::from_utf8(&row.member).ok().and_then(|member| member.split_once(' '));
    let event = member.and_then(|(id, write)| {
        let (last_seq, _) = write.get(1..)?.split_once(' ')?;
        Some((id.parse().ok()?, last_seq.parse().ok()?))
    });
    // Only another program can have put something else there.
    event.map_or(FeedCursor::end_of(position), |(order_id, seq)| FeedCursor { position, order_id, seq })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A score is a whole number.
fn position(place: f64) -> u64 {
    place.max(0.0) as u64
}

/// An order of a page, or why it cannot be decoded.
struct Head {
    order_id: OrderId,
    order: Result<OrderHead, DecodeError>,
}

fn head(row: &FeedOrderRow) -> Option<Head> {
    let report = |error: &DecodeError| {
        let id = String::from_utf8_lossy(&row.id);
        tracing::error!(order.id = %id, %error, "the events of an order whose id cannot be decoded are passed by");
    };
    let order_id = rows::order_id(&row.id).inspect_err(report).ok()?;
    Some(Head { order_id, order: rows::head(order_id, row.head.as_ref()) })
}

/// Returns the events of a write.
fn items(row: &FeedWriteRow, heads: &[Option<Head>]) -> Vec<FeedItem> {
    let head = row.order.checked_sub(1).and_then(|place| heads.get(place)).and_then(Option::as_ref);
    let Some(Head { order_id, order }) = head else { return Vec::new() };
    let updates = order.clone().and_then(|order| Ok((order, events(*order_id, row)?)));
    let update = |seq: u64| match &updates {
        Ok((order, events)) => {
            let event = events.iter().find(|event| event.seq == seq).cloned();
            let event = event.ok_or_else(|| rows::lost_history(seq))?;
            Ok(OrderUpdate::new(order.clone(), Arc::new(event)))
        }
        Err(error) => Err(error.clone()),
    };
    let item = |seq: u64| {
        let cursor = FeedCursor { position: position(row.place), order_id: *order_id, seq };
        let update = update(seq).map_err(|error| UndecodableOrder { order_id: *order_id, error });
        FeedItem::new(cursor, update)
    };
    (row.first_seq..=row.last_seq).map(item).collect()
}

fn events(order_id: OrderId, row: &FeedWriteRow) -> Result<Vec<EventRecord>, DecodeError> {
    let events = row.events.clone().ok_or_else(|| rows::lost_history(row.last_seq))?;
    rows::written(order_id, &Written { first_seq: row.first_seq, events })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_sort_by_order_and_number() {
        let numbers = [0, 1, 9, 10, 99, 100, 1 << 53, u64::MAX];
        let ids = [OrderId::from_bytes([1; 16]), OrderId::from_bytes([0xab; 16])];
        let members: Vec<String> =
            ids.into_iter().flat_map(|id| numbers.map(|seq| member(id, seq))).collect();
        assert!(members.is_sorted());
        assert!(members[1].ends_with(" A1 ~"));
        let written = members[3].replace('~', "7");
        assert!(members[2] < written && written < members[3]);
        let row = PlaceRow { place: 7.0, member: written.into_bytes() };
        assert_eq!(cursor(&row), FeedCursor { position: 7, order_id: ids[0], seq: 10 });
        let damaged = PlaceRow { place: 7.0, member: b"garbage".to_vec() };
        assert_eq!(cursor(&damaged), FeedCursor::end_of(7));
    }

    #[test]
    fn a_page_begins_behind_the_cursor() {
        assert_eq!(start(FeedCursor::end_of(7)), ("(7".to_owned(), String::new()));
        let inside = FeedCursor { position: 7, order_id: OrderId::from_bytes([0; 16]), seq: 12 };
        assert_eq!(start(inside), ("7".to_owned(), "00000000-0000-0000-0000-000000000000 B12 ~".to_owned()));
    }
}
