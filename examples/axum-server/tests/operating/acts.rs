//! The acts of operators.

use order_engine_core::testing::Sending;
use serde_json::json;

use super::Desk;
use super::common::text;

const ABSENT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

/// Places an order whose outcome becomes unknown.
async fn unknown(desk: &Desk) -> String {
    desk.venue.next_sendings([Sending::Dropped]);
    desk.venue.set_forgetful(true);
    let id = desk.placed().await;
    desk.server.work();
    desk.until(&id, |view| view["transactions"].as_array().is_some_and(|signed| !signed.is_empty())).await;
    desk.venue.grow(1_000);
    desk.until(&id, |view| view["attention"]["kind"] == "outcome-unknown").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_seen_searched_and_resolved() {
    let desk = Desk::open().await;
    let id = unknown(&desk).await;
    let listed = desk.seen("/api/operator/attention").await;
    assert_eq!(
        (&listed["orders"][0]["orderId"], &listed["orders"][0]["userId"]),
        (&json!(id), &json!("alice"))
    );
    assert_eq!(listed["nextCursor"], json!(null));
    let view = desk.seen(&format!("/api/operator/orders/{id}?chain=true")).await;
    assert_eq!(view["transactions"][0]["purpose"], "original");
    assert_eq!(
        view["attention"]["message"],
        "it has expired, and the venue cannot prove that it never landed"
    );
    assert_eq!(view["chain"]["problem"]["code"], "search-unsupported", "this venue has no tags");

    let path = format!("/api/operator/orders/{id}/resolve");
    for (body, fields) in [
        (json!({}), vec!["outcome", "note"]),
        (json!({"outcome": "perhaps", "note": "x"}), vec!["outcome"]),
        (json!({"outcome": "not-executed", "note": ""}), vec!["note"]),
        (json!({"outcome": "executed", "note": "x"}), vec!["amountOut", "height"]),
        (json!({"outcome": "not-executed", "note": "x", "amountOut": "1"}), vec!["amountOut"]),
        (
            json!({"outcome": "executed", "note": "x", "amountOut": "1", "amountOutBaseUnits": "1", "height": 1}),
            vec!["amountOutBaseUnits"],
        ),
    ] {
        let (status, problem) = desk.act(&path, Some(body.clone())).await;
        let named: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|error| text(error, "field")).collect();
        assert_eq!((status, named.iter().map(String::as_str).collect()), (422, fields), "{body}");
    }
    let body = json!({"outcome": "executed", "note": "seen in block 7", "amountOut": "225", "height": 7});
    let (status, order) = desk.act(&path, Some(body.clone())).await;
    assert_eq!((status, &order["status"], &order["amountOut"]), (200, &json!("confirmed"), &json!("225")));
    assert_eq!(desk.refused(&path, Some(body)).await, (409, "outcome-not-unknown".to_owned()));
    let view = desk.until(&id, |view| view["attention"].is_null()).await;
    assert_eq!(view["order"]["userId"], "alice");
    assert!(desk.seen("/api/operator/attention").await["orders"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_executed_is_tried_again_once_as_a_new_order() {
    let desk = Desk::open().await;
    let id = unknown(&desk).await;
    let path = |verb: &str| format!("/api/operator/orders/{id}/{verb}");
    assert_eq!(desk.refused(&path("retry"), None).await, (409, "not-failed".to_owned()));
    let body = json!({"outcome": "not-executed", "note": "asked the exchange"});
    let (status, order) = desk.act(&path("resolve"), Some(body)).await;
    assert_eq!((status, &order["status"]), (200, &json!("failed")), "{order}");
    let (status, new) = desk.act(&path("retry"), None).await;
    assert_eq!((status, &new["userId"]), (201, &json!("alice")), "{new}");
    let new = text(&new, "orderId");
    assert_eq!(desk.seen(&format!("/api/operator/orders/{new}")).await["origin"], json!(id));
    let (status, same) = desk.act(&path("retry"), None).await;
    assert_eq!((status, &same["orderId"]), (200, &json!(new)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_quarantine_is_released() {
    let desk = Desk::open().await;
    let id = desk.placed().await;
    desk.router.panic_for(3);
    desk.server.work();
    let path = |verb: &str| format!("/api/operator/orders/{id}/{verb}");
    // Each panic is followed by a wait, which need not be waited for.
    let view = loop {
        assert_eq!(desk.act(&path("make-due"), None).await.0, 200);
        let view = desk.seen(&format!("/api/operator/orders/{id}")).await;
        if view["attention"]["kind"] == "quarantined" {
            break view;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(view["order"]["attention"], "quarantined");
    let (status, order) = desk.act(&path("release"), None).await;
    assert_eq!((status, &order["attention"]), (200, &json!(null)));
    assert_eq!(desk.refused(&path("release"), None).await, (409, "not-quarantined".to_owned()));
    desk.until(&id, |view| view["order"]["status"] == "confirmed").await;
    for verb in ["retry", "release", "make-due", "cancel", "resolve"] {
        let path = format!("/api/operator/orders/{ABSENT}/{verb}");
        assert_eq!(desk.refused(&path, None).await, (404, "order-not-found".to_owned()), "{verb}");
    }
    assert_eq!(desk.get("/api/operator/orders/nothing").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_an_order_of_anybody() {
    let desk = Desk::open().await;
    let id = desk.placed().await;
    let path = format!("/api/operator/orders/{id}/cancel");
    let (status, cancelled) = desk.act(&path, None).await;
    assert_eq!(
        (status, &cancelled["cancel"], &cancelled["status"]),
        (200, &json!("cancelled"), &json!("failed"))
    );
    let (status, again) = desk.act(&path, None).await;
    assert_eq!((status, &again["lastSeq"]), (200, &cancelled["lastSeq"]), "it is cancelled once");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_deleted_only_long_after_their_end() {
    let desk = Desk::open().await;
    let id = desk.placed().await;
    desk.act(&format!("/api/operator/orders/{id}/cancel"), None).await;
    for older_than_s in [json!(86_399), json!(3_153_600_001_u64), json!("soon"), json!(-1), json!(null)] {
        let body = json!({"olderThanS": older_than_s});
        assert_eq!(
            desk.refused("/api/operator/purge", Some(body)).await,
            (422, "invalid-request".to_owned())
        );
    }
    let purged = desk.act("/api/operator/purge", Some(json!({"olderThanS": 86_400}))).await;
    assert_eq!(purged, (200, json!({"deleted": 0})));
    assert_eq!(desk.get(&format!("/api/operator/orders/{id}")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_what_it_names_until_it_is_ended() {
    let desk = Desk::open().await;
    let path = "/api/operator/pauses";
    for (body, field) in [
        (json!({"activity": "breathing", "reason": "x"}), "activity"),
        (json!({"activity": "sending"}), "reason"),
        (json!({"activity": "sending", "reason": "x", "venue": "nowhere"}), "venue"),
        (json!({"activity": "sending", "reason": "x", "tokenIn": "SOL"}), "tokenOut"),
        (json!({"activity": "sending", "reason": "x", "venue": "main", "userId": "bob"}), "venue"),
        (json!({"activity": "sending", "reason": "x", "all": true}), "all"),
    ] {
        let (status, problem) = desk.act(path, Some(body.clone())).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}");
    }
    let of_alice = json!({"activity": "accepting", "userId": "alice", "reason": "a call"});
    let (status, set) = desk.act(path, Some(of_alice)).await;
    assert_eq!(
        (status, &set["pauses"][0]["scope"], &set["pauses"][0]["userId"]),
        (200, &json!("user"), &json!("alice"))
    );
    assert_eq!(desk.place().await.status(), 503);
    let of_pair = json!({"activity": "routing", "tokenIn": "SOL", "tokenOut": "USDC", "reason": "news"});
    desk.act(path, Some(of_pair)).await;
    let pauses = desk.seen(path).await;
    assert_eq!(
        (&pauses["pauses"][1]["tokenIn"], &pauses["pauses"][1]["reason"]),
        (&json!("SOL"), &json!("news"))
    );
    assert_eq!(desk.seen("/api/operator/stats").await["pauses"], 2);
    let end = json!({"activity": "accepting", "userId": "alice"});
    let (status, left) = desk.act("/api/operator/pauses/end", Some(end.clone())).await;
    assert_eq!((status, left["pauses"].as_array().unwrap().len()), (200, 1));
    let again = desk.refused("/api/operator/pauses/end", Some(end)).await;
    assert_eq!(again, (404, "no-such-pause".to_owned()));
    assert_eq!(desk.place().await.status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stats_say_what_waits_and_what_is_wrong() {
    let desk = Desk::open().await;
    desk.placed().await;
    let stats = desk.seen("/v1/api/operator/stats").await;
    assert_eq!(stats["backlog"]["execute"]["orders"], 1);
    assert_eq!((&stats["durability"], &stats["isWritable"]), (&json!("volatile"), &json!(true)));
    assert_eq!((&stats["workers"], &stats["isStalled"]), (&json!(0), &json!(true)));
    assert_eq!((&stats["isHalted"], &stats["venues"][0]["name"]), (&json!(false), &json!("main")));
}
