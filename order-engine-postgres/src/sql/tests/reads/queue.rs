//! The queue.

use std::fmt;

use super::{Read, Tables};

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

const KINDS: [Times; 7] = [USUAL, WAITED, HANDICAPPED, PREFERRED, PREFERRED_LATER, HANDICAPPED_LATER, LEASED];

impl Tables {
    /// Adds orders whose times are in their requests.
    async fn insert(&mut self, orders: u32, times: Times) {
        let Times { due, turn } = times;
        self.execute(&format!(
            "WITH new AS MATERIALIZED (SELECT gen_random_uuid() AS id FROM generate_series(1, {orders})),
            head AS (
                INSERT INTO @order_heads (order_id, user_id, order_type, input_token, input_symbol, input_decimals,
                    output_token, output_symbol, output_decimals, amount, slippage_bps, priority, created_at,
                    request_version, request)
                SELECT id, 'u', '', '', '', 0, '', '', 0, 0, 0, '', now(), 0, '{times:?}' FROM new
            )
            INSERT INTO @order_states (order_id, status, attempt, max_attempts, updated_at, seq, state_version, state,
                lane, due_at, turn_at, head_start_us, position)
            SELECT id, '', 0, 0, now(), 0, 0, '', 'execute', now() + {due} * interval '1 minute',
                now() + {turn} * interval '1 minute', 0, 0
            FROM new"
        ))
        .await;
    }

    /// Returns a column of what a claim of at most so many orders returns.
    async fn claim(&mut self, limit: usize, column: &str) -> Read {
        let text = self.sql.queue.claim.to_string();
        let arguments = format!("'execute', {limit}, '00000000-0000-0000-0000-000000000001', 1000000");
        self.read(&text, &arguments, column, "order_states").await
    }

    /// Returns in how many minutes, at least, the next order becomes due that such a claim does not take.
    async fn next_due(&mut self, limit: usize) -> i64 {
        let next = self.claim(limit, "next_us").await.values[0].parse::<i64>().unwrap();
        next.div_euclid(60_000_000)
    }

    /// Returns the times of at most so many due orders.
    async fn due_orders(&mut self, limit: usize) -> Read {
        let text = format!(
            "WITH due AS ({}) SELECT (SELECT request FROM {}.order_heads WHERE order_id = due.order_id) FROM due",
            self.sql.queue.due_orders, self.schema
        );
        self.read(&text, &format!("'execute', {limit}"), "request", "order_states").await
    }
}

fn requests<const N: usize>(orders: [(Times, usize); N]) -> Vec<String> {
    orders.into_iter().flat_map(|(times, orders)| vec![format!("{times:?}"); orders]).collect()
}

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
    tables.execute("ANALYZE @order_heads, @order_states").await;
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
    tables.execute("ANALYZE @order_heads, @order_states").await;
    assert_eq!(tables.due_orders(10).await, few);
}
