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
    let mut found = sqlx::query(sql::READ_FEED)
        .bind(first)
        .bind(through)
        .bind(encode(after.position))
        .bind(after.order_id.to_string())
        .bind(encode(after.seq))
        .bind(request.scope.user().map(UserId::as_str))
        .bind(limit.saturating_add(1))
        .fetch_all(pool)
        .await?;
    let (next, is_last) = if found.len() > limit as usize {
        found.truncate(limit as usize);
        (found.last().map_or(Ok(after), place_behind)?, false)
    } else {
        (FeedCursor::end_of(count(through)).max(after), through == last)
    };
    let mut heads = Heads::default();
    let mut items = Vec::with_capacity(found.len());
    for row in &found {
        items.push(item(row, &mut heads)?);
    }
    Ok(FeedPage::new(items, next, is_last))
}

/// Returns the place behind the event of a row. Each event has a position of its own.
fn place_behind(row: &SqliteRow) -> Result<FeedCursor, Error> {
    Ok(FeedCursor::end_of(count(row.try_get("position")?)))
}

fn item(row: &SqliteRow, heads: &mut Heads) -> Result<FeedItem, Error> {
    let order_id = rows::order_id(row)?;
    let (position, seq) = (count(row.try_get("position")?), count(row.try_get("seq")?));
    let update = match (heads.of(order_id, row)?.clone(), rows::event(row)?) {
        (Ok(order), Ok(event)) => Ok(OrderUpdate::new(order, Arc::new(event))),
        (Err(error), _) | (_, Err(error)) => Err(UndecodableOrder { order_id, error }),
    };
    Ok(FeedItem::new(FeedCursor { position, order_id, seq }, update))
}
