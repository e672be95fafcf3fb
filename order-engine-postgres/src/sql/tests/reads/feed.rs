//! The feed.

use sqlx::AssertSqlSafe;

use super::{Read, Tables};

/// The place of an event in the feed.
const PLACE: &str = "concat_ws(' ', position, order_id, seq) AS place";
const START: &str = "0 00000000-0000-0000-0000-000000000000 0";

impl Tables {
    /// Adds events of new orders with one position: the first event of each order alone, three more at once, and then
    /// one more.
    async fn insert_events(&mut self, orders: u32, position: i64) {
        self.execute(&format!(
            "INSERT INTO @order_events (order_id, seq, at, kind, status, progress, written_at_once, attempt,
                max_attempts, message, payload_version, payload, position)
            SELECT id, seq, now(), '', '', 0, (ARRAY[1, 3, 0, 0, 1])[seq], 0, 0, '', 0, '', {position}
            FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {orders})) AS orders,
                generate_series(1, 5) AS seq"
        ))
        .await;
    }

    /// Returns the places of the events behind a place, at most `limit` of them.
    async fn page(&mut self, after: &str, limit: usize) -> Read {
        let text =
            format!("WITH page AS ({}) SELECT {PLACE} FROM page WHERE seq > 0", self.sql.events.read_feed);
        let (position, rest) = after.split_once(' ').unwrap();
        let (id, seq) = rest.split_once(' ').unwrap();
        self.read(&text, &format!("{position}, '{id}', {seq}, {limit}"), "place", "order_events").await
    }

    async fn places(&mut self) -> Vec<String> {
        let sql =
            format!("SELECT {PLACE} FROM {}.order_events ORDER BY position, order_id, seq", self.schema);
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.unwrap()
    }
}

#[tokio::test]
async fn pages_of_the_feed_have_every_event_once_wherever_they_end() {
    let mut tables = Tables::new().await;
    for (orders, position) in [(1, 10), (5, 20), (1, 30), (2, 31)] {
        tables.insert_events(orders, position).await;
    }
    let places = tables.places().await;
    for limit in 1..=places.len() {
        let (mut read, mut after) = (Vec::new(), START.to_owned());
        loop {
            let page = tables.page(&after, limit).await.values;
            let is_last = page.len() < limit;
            after = page.last().cloned().unwrap_or(after);
            read.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(read, places, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_page_of_the_feed_reads_what_it_returns_however_many_events_have_its_position() {
    const LIMIT: usize = 60;
    let mut tables = Tables::new().await;
    for (orders, position) in [(200, 10), (4_000, 20), (200, 30)] {
        tables.insert_events(orders, position).await;
    }
    let places = tables.places().await;
    for is_analyzed in [false, true] {
        if is_analyzed {
            tables.execute("ANALYZE @order_events").await;
        }
        for after in [0, 900, 1_001, 12_000, 20_995] {
            let page = tables.page(&places[after], LIMIT).await;
            let end = places.len().min(after + 1 + LIMIT);
            assert_eq!(page.values, places[after + 1..end]);
            // One row for each of as many writes as the page has events, their events, and the writes of the order at
            // the cursor that end before it.
            let most = LIMIT + 3 * LIMIT + 3;
            assert!(page.rows <= i64::try_from(most).unwrap(), "{} rows after {after}", page.rows);
        }
    }
}
