//! The feed.

use sqlx::AssertSqlSafe;

use super::{Read, Tables};

const START: &str = "0 00000000-0000-0000-0000-000000000000 0";
/// How many events an order has: the first one alone, three at once, and one more.
const EVENTS: usize = 5;

impl Tables {
    /// Adds the writes of new orders with one position.
    async fn insert_events(&mut self, orders: u32, position: i64) {
        self.execute(&format!(
            "INSERT INTO @order_writes (order_id, first_seq, last_seq, position, payload_version, payload)
            SELECT id, first_seq, last_seq, {position}, 0, ''
            FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {orders})) AS orders,
                (VALUES (1, 1), (2, 4), (5, 5)) AS write (first_seq, last_seq)"
        ))
        .await;
    }

    /// Returns the places of the events behind a place in the writes that a page of `limit` events reads.
    async fn page(&mut self, after: &str, limit: usize) -> Read {
        let text = format!(
            "WITH page AS ({}) SELECT concat_ws(' ', position, order_id, seq) AS place
            FROM page, generate_series(first_seq, last_seq) AS seq
            WHERE (position, order_id, seq) > ($1, $2, $3) ORDER BY position, order_id, seq",
            self.sql.events.read_feed
        );
        let (position, rest) = after.split_once(' ').unwrap();
        let (id, seq) = rest.split_once(' ').unwrap();
        self.read(&text, &format!("{position}, '{id}', {seq}, {limit}"), "place", "order_writes").await
    }

    async fn places(&mut self) -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws(' ', position, order_id, seq) AS place
            FROM {}.order_writes, generate_series(first_seq, last_seq) AS seq ORDER BY position, order_id, seq",
            self.schema
        );
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
            let mut page = tables.page(&after, limit).await.values;
            // What a page returns beyond its limit is the rest of its last write.
            assert!(page.len() < limit + 3, "{} events for {limit}", page.len());
            page.truncate(limit);
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
            tables.execute("ANALYZE @order_writes").await;
        }
        for after in [0, 900, 1_001, 12_000, EVENTS * 4_200 - 5] {
            let page = tables.page(&places[after], LIMIT).await;
            let end = places.len().min(after + 1 + LIMIT);
            assert_eq!(page.values[..end - after - 1], places[after + 1..end]);
            // One row for each of as many writes as the page has events.
            assert!(page.rows <= i64::try_from(LIMIT).unwrap(), "{} rows after {after}", page.rows);
        }
    }
}
