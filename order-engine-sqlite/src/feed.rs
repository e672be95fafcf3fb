//! The feed: the events of many orders by their positions.

use std::sync::Arc;

use order_engine_core::backend::{count, encode_u64};
use order_engine_core::store::{FeedItem, FeedPage, FeedRequest};
use order_engine_core::{FeedCursor, OrderUpdate, UndecodableOrder, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::error::Error;
use crate::rows::{self, Heads};
use crate::sql;

/// How many positions a page goes through at most: a user's events may lie far apart, and this many are read
/// within some milliseconds.
const POSITIONS: i64 = 4_096;

/// Where a part of the feed begins and ends.
struct Bounds {
    /// The first position at or after the one asked for; none behind the end.
    first: Option<i64>,
    /// The last position; zero in an empty feed.
    last: i64,
}

async fn bounds(pool: &SqlitePool, after: FeedCursor) -> Result<Bounds, Error> {
    let row = sqlx::query(sql::FEED_BOUNDS).bind(encode(after.position)).fetch_one(pool).await?;
    let last: Option<i64> = row.try_get("last_position")?;
    Ok(Bounds { first: row.try_get("first_position")?, last: last.unwrap_or(0) })
}

/// Returns a number of a cursor as rows hold it. No row has one beyond 63 bits, so none comes after such a number.
fn encode(number: u64) -> i64 {
    encode_u64(number).unwrap_or(i64::MAX)
}

pub(crate) async fn feed_end(pool: &SqlitePool) -> Result<FeedCursor, Error> {
    let Bounds { last, .. } = bounds(pool, FeedCursor::START).await?;
    Ok(FeedCursor::end_of(count(last)))
}

pub(crate) async fn read_feed(pool: &SqlitePool, request: &FeedRequest) -> Result<FeedPage, Error> {
    let FeedRequest { after, limit, .. } = *request;
    // Both ends are read first: what is committed from then on has greater positions.
    let Bounds { first: Some(first), last } = bounds(pool, after).await? else {
        return Ok(FeedPage::new(Vec::new(), after, true));
    };
    let through = last.min(first.saturating_add(POSITIONS - 1));
    let found = sqlx::query(sql::READ_FEED)
        .bind(first)
        .bind(through)
        .bind(encode(after.position))
        .bind(after.order_id.to_string())
        .bind(encode(after.seq))
        .bind(request.scope.user().map(UserId::as_str))
        // Each row has one event at least.
        .bind(limit.saturating_add(1))
        .fetch_all(pool)
        .await?;
    let limit = limit as usize;
    let (mut heads, mut items) = (Heads::default(), Vec::new());
    for row in &found {
        let room = limit.saturating_add(1) - items.len();
        if room > 0 {
            items.extend(row_items(row, &mut heads, after)?.take(room));
        }
    }
    if items.len() <= limit {
        let next = FeedCursor::end_of(count(through)).max(after);
        return Ok(FeedPage::new(items, next, through == last));
    }
    items.truncate(limit);
    let next = items.last().map_or(after, |item| item.cursor);
    Ok(FeedPage::new(items, next, false))
}

/// Returns the events of a row that come after a cursor, which may point into the middle of the row.
fn row_items(
    row: &SqliteRow,
    heads: &mut Heads,
    after: FeedCursor,
) -> Result<impl Iterator<Item = FeedItem> + use<>, Error> {
    let (position, order_id) = (count(row.try_get("position")?), rows::order_id(row)?);
    let is_begun = (position, order_id) == (after.position, after.order_id);
    let first = if is_begun { after.seq.saturating_add(1) } else { 0 };
    let order = heads.of(order_id, row)?.clone();
    let item = move |(seq, event)| {
        let update = match (order.clone(), event) {
            (Ok(order), Ok(event)) => Ok(OrderUpdate::new(order, Arc::new(event))),
            (Err(error), _) | (_, Err(error)) => Err(UndecodableOrder { order_id, error }),
        };
        FeedItem::new(FeedCursor { position, order_id, seq }, update)
    };
    Ok(rows::events(row, first..=u64::MAX)?.map(item))
}
