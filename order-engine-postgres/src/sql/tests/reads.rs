//! How many rows the statements read.

use std::fmt;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::database_with_schema;
use crate::sql::Sql;

/// How long from now an order is due, and how long from now its turn comes; in minutes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Times {
    due: i64,
    turn: i64,
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.due, self.turn)
    }
}

const USUAL: Times = Times { due: -40, turn: -40 };
/// Its handicap is over.
const WAITED: Times = Times { due: -50, turn: -35 };
/// Its handicap is not over.
const HANDICAPPED: Times = Times { due: -45, turn: 30 };
/// Has a head start.
const PREFERRED: Times = Times { due: -38, turn: -48 };
/// Has a head start, and is not due yet.
const PREFERRED_LATER: Times = Times { due: 5, turn: -5 };
const HANDICAPPED_LATER: Times = Times { due: 8, turn: 30 };
const LEASED: Times = Times { due: 60, turn: 60 };

/// The tables, and the rows of them that statements read.
struct Tables {
    connection: PgConnection,
    sql: Sql,
    schema: String,
}

/// What a statement returns, and how many rows of a table it finds by indexes.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    values: Vec<String>,
    rows: i64,
}

impl Tables {
    async fn new() -> Self {
        let (connection, sql, schema) = database_with_schema().await;
        Self { connection, sql, schema }
    }

    /// Runs SQL in which an `@` stands for the schema.
    async fn execute(&mut self, sql: &str) {
        let sql = sql.replace('@', &format!("{}.", self.schema));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap();
    }

    /// Adds orders whose times are in their requests.
    async fn insert(&mut self, orders: u32, times: Times) {
        let Times { due, turn } = times;
        self.execute(&format!(
            "INSERT INTO @orders (order_id, user_id, order_type, input_token, input_symbol, input_decimals,
                output_token, output_symbol, output_decimals, amount, slippage_bps, priority, status, attempt,
                max_attempts, created_at, updated_at, seq, request_version, request, state_version, state, lane,
                due_at, turn_at, head_start_us, position)
            SELECT gen_random_uuid(), 'u', '', '', '', 0, '', '', 0, 0, 0, '', '', 0, 0, now(), now(), 0, 0,
                '{times:?}', 0, '', 'execute', now() + {due} * interval '1 minute',
                now() + {turn} * interval '1 minute', 0, 0
            FROM generate_series(1, {orders})"
        ))
        .await;
    }

    /// Runs a statement in a transaction that is undone. Returns what the SQL makes of its rows, which are `read`.
    async fn read(&mut self, text: &str, arguments: &str, column: &str, table: &str) -> Read {
        self.execute("BEGIN").await;
        let before = self.counts(table).await;
        sqlx::raw_sql(AssertSqlSafe(format!("PREPARE reading AS {text}")))
            .execute(&mut self.connection)
            .await
            .unwrap();
        let found = sqlx::raw_sql(AssertSqlSafe(format!("EXECUTE reading ({arguments})")))
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        let after = self.counts(table).await;
        self.execute("ROLLBACK; DEALLOCATE reading").await;
        assert_eq!(after.1, before.1, "it walks through the table: {text}");
        let value =
            |row: &PgRow| row.try_get_unchecked::<Option<String>, _>(column).unwrap().unwrap_or_default();
        Read { values: found.iter().map(value).collect(), rows: after.0 - before.0 }
    }

    /// Returns how many rows of a table were found by indexes lately, and how often it was walked through.
    async fn counts(&mut self, table: &str) -> (i64, i64) {
        let sql = "SELECT idx_tup_fetch, seq_scan FROM pg_stat_xact_user_tables
            WHERE schemaname = $1 AND relname = $2";
        let query = sqlx::query(sql).bind(&*self.schema).bind(table);
        let row = query.fetch_one(&mut self.connection).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Returns a column of what a claim of at most so many orders returns.
    async fn claim(&mut self, limit: usize, column: &str) -> Read {
        let text = self.sql.queue.claim.to_string();
        let arguments = format!("'execute', {limit}, '00000000-0000-0000-0000-000000000001', 1000000");
        self.read(&text, &arguments, column, "orders").await
    }

    /// Returns in how many minutes, at least, the next order becomes due that such a claim does not take.
    async fn next_due(&mut self, limit: usize) -> i64 {
        let next = self.claim(limit, "next_us").await.values[0].parse::<i64>().unwrap();
        next.div_euclid(60_000_000)
    }

    /// Returns the times of at most so many due orders.
    async fn due_orders(&mut self, limit: usize) -> Read {
        let text = format!(
            "WITH due AS ({}) SELECT request FROM due JOIN {}.orders USING (order_id)",
            self.sql.queue.due_orders, self.schema
        );
        self.read(&text, &format!("'execute', {limit}"), "request", "orders").await
    }
}

fn requests<const N: usize>(orders: [(Times, usize); N]) -> Vec<String> {
    orders.into_iter().flat_map(|(times, orders)| vec![format!("{times:?}"); orders]).collect()
}

const KINDS: [Times; 7] = [USUAL, WAITED, HANDICAPPED, PREFERRED, PREFERRED_LATER, HANDICAPPED_LATER, LEASED];

#[tokio::test]
async fn a_claim_reads_what_it_takes_whatever_else_is_stored() {
    let mut tables = Tables::new().await;
    for times in KINDS {
        tables.insert(20, times).await;
    }
    let (one, all) = (tables.claim(30, "request").await, tables.claim(70, "request").await);
    assert_eq!(one.values, requests([(PREFERRED, 20), (USUAL, 10)]));
    assert_eq!(all.values, requests([(PREFERRED, 20), (USUAL, 20), (WAITED, 20), (HANDICAPPED, 10)]));
    for times in [LEASED, HANDICAPPED, PREFERRED_LATER, HANDICAPPED_LATER] {
        tables.insert(2_000, times).await;
    }
    tables.execute("ANALYZE @orders").await;
    assert_eq!(tables.claim(30, "request").await, one);
    assert_eq!(tables.claim(70, "request").await, all);
    for times in [USUAL, WAITED] {
        tables.insert(2_000, times).await;
    }
    assert_eq!(tables.claim(30, "request").await, one);
}

#[tokio::test]
async fn a_claim_says_when_the_next_order_becomes_due() {
    let mut tables = Tables::new().await;
    for (times, minutes) in
        [(LEASED, 59), (HANDICAPPED_LATER, 7), (PREFERRED_LATER, 4), (USUAL, -41), (HANDICAPPED, -46)]
    {
        tables.insert(1, times).await;
        assert_eq!(tables.next_due(0).await, minutes, "{times:?}");
    }
    // Those that it leases itself are due later, and so not meant.
    assert_eq!(tables.next_due(1).await, -46);
    assert_eq!(tables.next_due(2).await, 4);
}

#[tokio::test]
async fn due_orders_come_in_the_order_of_becoming_due() {
    let mut tables = Tables::new().await;
    for times in KINDS {
        tables.insert(20, times).await;
    }
    let read = tables.due_orders(200).await;
    let sorted = requests([(WAITED, 20), (HANDICAPPED, 20), (USUAL, 20), (PREFERRED, 20)]);
    assert_eq!(read.values, sorted);
    for limit in [0, 1, 20, 30, 50, 79] {
        assert_eq!(tables.due_orders(limit).await.values, sorted[..limit], "{limit}");
    }
    let few = tables.due_orders(10).await;
    for times in KINDS {
        tables.insert(2_000, times).await;
    }
    tables.execute("ANALYZE @orders").await;
    assert_eq!(tables.due_orders(10).await, few);
}

impl Tables {
    /// Adds events of new orders with one position: the first event of each order alone, three more at once, and then
    /// one more.
    async fn insert_events(&mut self, orders: u32, position: i64) {
        self.execute(&format!(
            "INSERT INTO @order_events (order_id, seq, at, kind, status, progress, written_at_once, attempt,
                max_attempts, message, payload_version, payload, position)
            SELECT id, seq, now(), '', '', 0, (ARRAY[1, 3, 0, 0, 1])[seq], 0, 0, '', 0, '', {position}
            FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {orders})) AS orders, generate_series(1, 5) AS seq"
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

const PLACE: &str = "concat_ws(' ', position, order_id, seq) AS place";
const START: &str = "0 00000000-0000-0000-0000-000000000000 0";

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
