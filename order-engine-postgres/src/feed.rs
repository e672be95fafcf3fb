//! The feed: the events of many orders in one sequence.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::backend::{Decoded, count, encode_u64};
use order_engine_core::store::{FeedItem, FeedPage, FeedRequest};
use order_engine_core::{
    DecodeError, EventRecord, FeedCursor, FeedScope, OrderHead, OrderUpdate, UndecodableOrder,
};
use sqlx::postgres::PgRow;
use sqlx::{Arguments, Row};

use crate::error::Error;
use crate::rows::{self, Written};
use crate::session::{Operation, Session};

pub(crate) struct FeedEnd;
pub(crate) struct ReadFeed<'a>(pub(crate) &'a FeedRequest);

#[async_trait]
impl Operation for FeedEnd {
    type Output = FeedCursor;

    async fn run(&self, session: &mut Session<'_>) -> Result<FeedCursor, Error> {
        let text = Arc::clone(&session.sql.events.feed_end);
        let found = session.fetch(&text, |_| Ok(())).await?;
        end(&found)
    }
}

#[async_trait]
impl Operation for ReadFeed<'_> {
    type Output = FeedPage;

    async fn run(&self, session: &mut Session<'_>) -> Result<FeedPage, Error> {
        let FeedRequest { scope, after, limit, .. } = self.0;
        let (text, user) = match scope {
            FeedScope::All => (Arc::clone(&session.sql.events.read_feed), None),
            FeedScope::User(user) => (Arc::clone(&session.sql.events.read_feed_of_user), Some(user.as_str())),
        };
        // Nothing stands beyond 63 bits, so nothing comes after such a number.
        let number = |number| encode_u64(number).unwrap_or(i64::MAX);
        let found = session
            .fetch(&text, |arguments| {
                arguments.add(number(after.position))?;
                arguments.add(after.order_id.as_uuid())?;
                arguments.add(number(after.seq))?;
                arguments.add(i64::from(*limit))?;
                user.map_or(Ok(()), |user| arguments.add(user))
            })
            .await?;
        let mut items = Vec::new();
        for row in &found {
            // Without an event, the one row says only where the feed ends.
            if row.try_get::<Option<i64>, _>("position")?.is_some() {
                items.extend(items_of(row, after, *limit)?);
            }
        }
        items.truncate(*limit as usize);
        let is_last = items.len() < *limit as usize;
        let last = items.last().map_or(*after, |item| item.cursor);
        let next = if is_last { last.max(end(&found)?) } else { last };
        Ok(FeedPage::new(items, next, is_last))
    }
}

/// Returns the place before the first position that may still come.
fn end(rows: &[PgRow]) -> Result<FeedCursor, Error> {
    let bound: i64 = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("bound")?;
    Ok(FeedCursor::end_of(count(bound).saturating_sub(1)))
}

/// Returns the events of a row that stand behind a cursor, at most `limit` of them.
fn items_of(row: &PgRow, after: &FeedCursor, limit: u32) -> Result<Vec<FeedItem>, Error> {
    let Written { order_id, first_seq, last_seq, events } = rows::written(row)?;
    let position = count(row.try_get("position")?);
    let updates = updates(events, head(row)?).map_err(|error| UndecodableOrder { order_id, error });
    let item = |seq: u64| {
        let cursor = FeedCursor { position, order_id, seq };
        let update = updates.as_ref().map_err(Clone::clone).and_then(|updates| {
            let found = usize::try_from(seq - first_seq).ok().and_then(|place| updates.get(place));
            let missing = || DecodeError { message: "an event is missing".to_owned() };
            found.cloned().ok_or_else(|| UndecodableOrder { order_id, error: missing() })
        });
        FeedItem::new(cursor, update)
    };
    let is_behind = |item: &FeedItem| item.cursor > *after;
    Ok((first_seq..=last_seq).map(item).filter(is_behind).take(limit as usize).collect())
}

fn updates(events: Decoded<Vec<EventRecord>>, head: Decoded<OrderHead>) -> Decoded<Vec<OrderUpdate>> {
    let head = head?;
    Ok(events?.into_iter().map(|event| OrderUpdate::new(head.clone(), Arc::new(event))).collect())
}

/// Returns what never changes of the order of a row that may lack it.
pub(crate) fn head(row: &PgRow) -> Result<Decoded<OrderHead>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>("request_version")?.is_none() {
        return Ok(Err(DecodeError { message: "the order is gone".to_owned() }));
    }
    rows::head(row)
}
