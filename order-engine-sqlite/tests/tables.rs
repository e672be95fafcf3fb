//! The tables and the view that SQL users read.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Database, rows};
use order_engine_core::conformance::fixtures::{
    AT_ONCE, HOUR, Worker, attempt_failed, cancelled, create, create_one, id, moment, new_order,
    new_order_for, new_orders, order_of, request, request_named, routing_started, to_confirmed, to_submitted,
    write_freely,
};
use order_engine_core::store::{ReleaseReason, Then};
use order_engine_core::{
    Amount, Deadline, Failure, FailureClass, FailureCode, Fill, Metadata, NewOrder, OrderEvent, Priority,
};

#[tokio::test]
async fn the_columns_say_what_the_order_is() {
    let database = Database::new();
    let store = database.open().await;
    let deadline = Deadline::After(Duration::from_mins(1));
    let request = request_named("alice", "key")
        .with_deadline(deadline)
        .with_not_before(moment(0))
        .with_priority(Priority::High)
        .with_tag("spring")
        .with_metadata(Metadata::default().with("leg", 2));
    let NewOrder { mut order, event, .. } = new_order_for(1, request);
    Arc::make_mut(&mut order).origin = Some(id(9));
    create(&store, &[NewOrder::new(Arc::clone(&order), event)]).await;
    let public = "user_id, client_order_id, origin, order_type, input_token, input_symbol, input_decimals,
        output_token, output_symbol, output_decimals, amount, slippage_bps, expires_at, not_before, priority, tag,
        metadata, status, attempt, max_attempts, chosen_dex, tx_hash, execution_price, amount_out, error_code,
        error_message, created_at, updated_at, seq, lane, due_at IS NULL, lease_owner";
    let read = format!("SELECT {public} FROM orders WHERE order_id = '{}'", order.id);
    let origin = id(9).to_string();
    let asked = [
        "alice",
        "key",
        &origin,
        "market",
        "So11111111111111111111111111111111111111112",
        "SOL",
        "9",
        "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v",
        "USDC",
        "6",
        "1000000000",
        "50",
        "2026-01-01T00:01:00.001Z",
        "2026-01-01T00:00:00.000Z",
        "high",
        "spring",
        r#"{"leg":2}"#,
    ];
    let found = database.rows(&read).await.remove(0);
    assert_eq!(found[..17], asked);
    assert_eq!(
        found[17..],
        [
            "pending",
            "0",
            "3",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "2026-01-01T00:00:00.001Z",
            "2026-01-01T00:00:00.001Z",
            "1",
            "execute",
            "0",
            "-"
        ]
    );

    let claim = Worker::new(&store, 0xab).claim_one().await;
    let owner = format!(
        "SELECT lease_owner, lease_epoch, claims_without_progress FROM orders WHERE order_id = '{}'",
        id(1)
    );
    assert_eq!(database.rows(&owner).await, rows(&[&["000000000000000000000000000000ab", "1", "1"]]));

    write_freely(&store, order_of(&claim), Then::Keep, &to_confirmed()).await;
    let found = database.rows(&read).await.remove(0);
    assert_eq!(found[..17], asked);
    assert_eq!(
        found[17..],
        [
            "confirmed",
            "1",
            "3",
            "Meteora",
            "tx-1",
            "150.75",
            "150750000",
            "-",
            "-",
            "2026-01-01T00:00:00.001Z",
            "2026-01-01T00:00:00.043Z",
            "7",
            "-",
            "1",
            "-"
        ]
    );
}

#[tokio::test]
async fn failures_and_logs_are_readable() {
    let database = Database::new();
    let store = database.open().await;
    let order = create_one(&store, 1).await;
    let events = [routing_started(1), attempt_failed(), cancelled()];
    write_freely(&store, &order, AT_ONCE, &events).await;
    create_one(&store, 2).await;

    let failures = format!(
        "SELECT seq, attempt, code, message, at FROM order_failures WHERE order_id = '{}' ORDER BY seq",
        id(1)
    );
    assert_eq!(
        database.rows(&failures).await,
        rows(&[
            &["3", "1", "quote-unavailable", "No answer in time", "2026-01-01T00:00:00.015Z"],
            &["4", "1", "cancelled", "The order was cancelled", "2026-01-01T00:00:00.022Z"],
        ])
    );
    assert_eq!(database.text("SELECT count(*) FROM order_failures").await, "2");
    let logs = "SELECT priority, tag, metadata, status, error_code, error_message, amount, logs FROM order_logs ORDER BY order_id";
    assert_eq!(
        database.rows(logs).await,
        rows(&[
            &[
                "normal",
                "-",
                "-",
                "failed",
                "cancelled",
                "The order was cancelled",
                "1000000000",
                r#"["Order accepted","Fetching quotes from Raydium & Meteora…","Attempt 1/3 failed: No answer in time","Order failed: The order was cancelled"]"#
            ],
            &["normal", "-", "-", "pending", "-", "-", "1000000000", r#"["Order accepted"]"#],
        ])
    );
    let events = format!(
        "SELECT seq, kind, status, progress, attempt, max_attempts FROM order_events WHERE order_id = '{}' ORDER BY seq",
        id(1)
    );
    assert_eq!(
        database.rows(&events).await,
        rows(&[
            &["1", "accepted", "pending", "0", "0", "3"],
            &["2", "routing_started", "routing", "10", "1", "3"],
            &["3", "attempt_failed", "routing", "10", "1", "3"],
            &["4", "failed", "failed", "0", "1", "3"],
        ])
    );
}

#[tokio::test]
async fn events_are_readable_whatever_their_texts() {
    let database = Database::new();
    let store = database.open().await;
    let order = create_one(&store, 1).await;
    let odd = "a \"quoted\" \\ \u{1}\n\u{2028}\u{1f4b8} é '$.message' {}[]%";
    let failure = Failure::new(FailureCode::NO_ROUTE, odd);
    let failed = OrderEvent::AttemptFailed { failure, class: FailureClass::Transient };
    write_freely(&store, &order, AT_ONCE, &[routing_started(1), failed, cancelled()]).await;
    let long = "é".repeat(100_000);
    let ended = OrderEvent::Failed { failure: Failure::new(FailureCode::REJECTED, long.as_str()) };
    let second = create_one(&store, 2).await;
    write_freely(&store, &second, AT_ONCE, &[ended]).await;
    create_one(&store, 3).await;
    let damage = format!("UPDATE order_writes SET payload = 'damaged' WHERE order_id = '{}'", id(3));
    database.execute(&damage).await;

    let events = "SELECT order_id, seq, at, message FROM order_events ORDER BY position, seq";
    let (one, two) = (id(1).to_string(), id(2).to_string());
    let odd = format!("Attempt 1/3 failed: {odd}");
    let long = format!("Order failed: {long}");
    assert_eq!(
        database.rows(events).await,
        rows(&[
            &[&one, "1", "2026-01-01T00:00:00.001Z", "Order accepted"],
            &[&one, "2", "2026-01-01T00:00:00.008Z", "Fetching quotes from Raydium & Meteora…"],
            &[&one, "3", "2026-01-01T00:00:00.015Z", &odd],
            &[&one, "4", "2026-01-01T00:00:00.022Z", "Order failed: The order was cancelled"],
            &[&two, "1", "2026-01-01T00:00:00.002Z", "Order accepted"],
            &[&two, "2", "2026-01-01T00:00:00.009Z", &long],
        ])
    );
    assert_eq!(database.rows("SELECT logs FROM order_logs").await.len(), 3);
    let whole = "SELECT DISTINCT at FROM order_events WHERE at NOT GLOB '????-??-??T??:??:??.???Z'";
    assert_eq!(database.rows(whole).await, rows(&[]));
}

#[tokio::test]
async fn no_amount_is_ever_a_float() {
    let database = Database::new();
    let store = database.open().await;
    let amount = Amount::MAX;
    let new = new_order_for(1, request().with_amount(amount));
    create(&store, std::slice::from_ref(&new)).await;
    let mut events = to_submitted();
    let fill = Fill::new(amount, amount, u64::MAX);
    events.push(OrderEvent::Confirmed { tx_id: "tx-1".into(), fill });
    write_freely(&store, &new.order, AT_ONCE, &events).await;
    let digits = "340282366920938463463374607431768211455";
    assert_eq!(
        database
            .rows(
                "SELECT amount, typeof(amount), amount_out, typeof(amount_out), execution_price FROM orders"
            )
            .await,
        rows(&[&[digits, "text", digits, "text", "1000"]])
    );
    let floats = "SELECT count(*) FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name LIKE 'order%' AND columns.type IN ('REAL', 'NUMERIC', 'ANY')";
    assert_eq!(database.text(floats).await, "0");
}

#[tokio::test]
async fn a_finished_order_is_in_no_index_that_a_claim_reads() {
    let database = Database::new();
    let store = database.open().await;
    create(&store, &new_orders(20)).await;
    let worker = Worker::new(&store, 1);
    for claim in worker.claim(19).await {
        worker.write(&claim, AT_ONCE, &to_confirmed()).await;
    }
    assert_eq!(database.text("SELECT count(*) FROM orders WHERE due_at IS NOT NULL").await, "1");
    assert_eq!(worker.claim(10).await.len(), 1);
}

/// Each other row of the index of due orders is written with every claim and every release.
#[tokio::test]
async fn only_orders_whose_turn_is_another_time_are_in_the_indexes_of_turns() {
    let database = Database::new();
    let store = database.open().await;
    let high = new_order_for(2, request().with_priority(Priority::High));
    let late = new_order(3).with_handicap(2 * HOUR);
    create(&store, &[new_order(1), high, late]).await;
    let turns = "SELECT (turn_at - due_at) / 60000 FROM orders ORDER BY order_id";
    assert_eq!(database.rows(turns).await, rows(&[&["-"], &["-10"], &["120"]]));
    let worker = Worker::new(&store, 1);
    let claims = worker.claim(3).await;
    assert_eq!(database.rows(turns).await, rows(&[&["-"], &["-"], &["60"]]));
    for claim in claims {
        worker.release(claim.lease, 3 * HOUR, ReleaseReason::Yielded).await;
    }
    assert_eq!(database.rows(turns).await, rows(&[&["-"], &["-10"], &["-"]]));
}
