//! What traders ask for beside single orders: quotes to order at, rehearsals, pairs, filters, and the stream of all orders.

mod common;

use std::time::Duration;

use common::{Client, TestServer, text};
use serde_json::{Value, json};

const EXECUTE: &str = "/api/orders/execute";

async fn quote(server: &TestServer, amount: &str) -> Value {
    let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": amount, "slippageBps": 10});
    let answer = server.post("/api/quote", body.to_string()).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

fn order_at(quote_id: &Value, amount: &str) -> Value {
    // The slippage would allow any price; the quote does not.
    json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": amount, "slippageBps": 10_000, "quoteId": quote_id})
}

#[tokio::test]
async fn an_order_at_a_quote_has_its_least_output_as_its_floor() {
    let server = TestServer::idle().await;
    let quote = quote(&server, "1.5").await;
    let now = server.get_json("/api/time").await;
    assert!(text(&quote, "expiresAt") > text(&now, "time"));
    let mut order = order_at(&quote["quoteId"], "1.5");
    order["clientOrderId"] = json!("at-a-quote");
    let id = text(&server.place(&order).await, "orderId");
    let placed = server.get_json(&format!("/api/orders/status/{id}")).await;
    assert_eq!(placed["minOut"], quote["minOut"]);
    // The same request again is the same order.
    let again = server.post(EXECUTE, order.to_string()).await;
    assert_eq!(
        (again.status().as_u16(), again.headers()["idempotency-replayed"].to_str().unwrap()),
        (200, "true")
    );
    // A least output of the client's own counts if it is better.
    let better = text(&quote, "amountOut");
    order["clientOrderId"] = json!("better");
    order["minOut"] = json!(better);
    let id = text(&server.place(&order).await, "orderId");
    assert_eq!(server.get_json(&format!("/api/orders/status/{id}")).await["minOut"], json!(better));
}

#[tokio::test]
async fn a_quote_is_good_for_its_own_swap_only() {
    let server = TestServer::idle().await;
    let quote = quote(&server, "1.5").await;
    let forged = format!("{}x", text(&quote, "quoteId"));
    for (body, code) in [
        (order_at(&quote["quoteId"], "1.6"), "conflict"),
        (order_at(&json!(forged), "1.5"), "invalid"),
        (order_at(&json!(""), "1.5"), "invalid"),
        (order_at(&json!(7), "1.5"), "invalid"),
    ] {
        let refused = server.post(EXECUTE, body.to_string()).await;
        assert_eq!(refused.status(), 422, "{body}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(
            (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
            (&json!("quoteId"), &json!(code))
        );
    }
    assert_eq!(server.count_due().await, 0);
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_places_nothing() {
    let server = TestServer::idle().await;
    let order =
        json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5", "dryRun": true, "clientOrderId": "k"});
    let answer = server.post(EXECUTE, order.to_string()).await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["dryRun"], &body["quote"]["amount"]), (&json!(true), &json!("1.5")));
    assert!(body["quote"]["route"].is_object(), "{body}");
    for (change, code) in [
        (json!({"amount": "1000000"}), "price-impact-too-high"),
        (json!({"amount": "0"}), "invalid-request"),
        (json!({"tokenOut": "NOPE"}), "invalid-request"),
    ] {
        let mut refused = order.clone();
        refused.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = server.post(EXECUTE, refused.to_string()).await;
        assert_eq!(answer.status(), 422, "{change}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code, "{change}");
    }
    assert_eq!(server.count_due().await, 0);
    assert_eq!(server.get("/api/orders/by-client-id/k").await.status(), 404);
}

#[tokio::test]
async fn pairs_have_amounts_that_can_be_traded() {
    let server = TestServer::idle().await;
    let pairs = server.get_json("/api/pairs").await;
    let pairs = pairs["pairs"].as_array().unwrap();
    let pair = pairs.iter().find(|pair| pair["tokenIn"] == "SOL" && pair["tokenOut"] == "USDC").unwrap();
    for field in ["leastBaseUnits", "greatestBaseUnits"] {
        let order = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amountBaseUnits": pair[field]});
        server.place(&order).await;
    }
    let beyond: u128 = text(pair, "greatestBaseUnits").parse().unwrap();
    let order =
        json!({"tokenIn": "SOL", "tokenOut": "USDC", "amountBaseUnits": (beyond * 11 / 10).to_string()});
    let refused = server.post(EXECUTE, order.to_string()).await;
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "price-impact-too-high");
    assert_eq!(pairs.len(), 20, "five tokens, each for each other");
}

#[tokio::test]
async fn a_client_waits_for_a_change_by_the_tag_of_what_it_has() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let path = format!("/api/orders/status/{id}");
    let tag = server.get(&path).await.headers()["etag"].to_str().unwrap().to_owned();
    let known = |query: &str| {
        let url = server.url(&format!("{path}{query}"));
        server.http.get(url).header("If-None-Match", &tag).send()
    };
    assert_eq!(known("").await.unwrap().status(), 304);
    // Nothing changes: the wait ends by itself.
    let waited = known("?wait=1").await.unwrap();
    assert_eq!((waited.status().as_u16(), waited.headers()["etag"].to_str().unwrap()), (304, &*tag));
    let waiting = tokio::spawn(known("?wait=30"));
    server.work();
    let changed = waiting.await.unwrap().unwrap();
    assert_eq!(changed.status(), 200);
    assert!(changed.json::<Value>().await.unwrap()["lastSeq"].as_u64() > Some(1));
    for (wait, status) in [("31", 422), ("-1", 422), ("x", 422), ("0", 200)] {
        assert_eq!(server.get(&format!("{path}?wait={wait}")).await.status(), status, "{wait}");
    }
    // Who names no tag has nothing yet, and does not wait.
    assert_eq!(server.get(&format!("{path}?wait=30")).await.status(), 200);
}

/// Returns the ids of a list, over all its pages.
async fn listed(server: &TestServer, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get_json(&format!("/api/orders?{query}{cursor}")).await;
        ids.extend(page["orders"].as_array().unwrap().iter().map(|order| text(order, "orderId")));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn lists_are_filtered_by_statuses_token_and_time() {
    let server = TestServer::idle().await;
    let mut ids = Vec::new();
    for (sold, bought) in [("SOL", "USDC"), ("BTC", "ETH"), ("USDC", "SOL"), ("ETH", "USDT"), ("SOL", "ETH")]
    {
        let body = json!({"tokenIn": sold, "tokenOut": bought, "amountBaseUnits": "1000000"});
        let placed = server.place(&body).await;
        ids.push((text(&placed, "orderId"), text(&placed, "createdAt")));
        // Times are told in milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let id = |n: usize| ids[n].0.clone();
    let cancelled = server.post(&format!("/api/orders/{}/cancel", id(3)), "{}").await;
    assert_eq!(cancelled.status(), 200);
    for limit in [1, 2, 50] {
        let listed = async |query: String| listed(&server, &format!("limit={limit}&{query}")).await;
        assert_eq!(listed("token=SOL".to_owned()).await, [id(4), id(2), id(0)]);
        assert_eq!(listed("status=pending,failed".to_owned()).await, [id(4), id(3), id(2), id(1), id(0)]);
        assert_eq!(listed("status=failed,confirmed,failed".to_owned()).await, [id(3)]);
        assert_eq!(listed("status=pending,failed&token=eth".to_owned()).await, [id(4), id(3), id(1)]);
        let (from, to) = (&ids[1].1, &ids[3].1);
        assert_eq!(listed(format!("from={from}&to={to}")).await, [id(2), id(1)]);
        assert_eq!(listed(format!("from={from}&token=SOL")).await, [id(4), id(2)]);
        assert_eq!(listed(format!("to={}", ids[0].1)).await, [""; 0]);
        let all = [id(0), id(1), id(2), id(3), id(4)];
        assert_eq!(listed("sort=oldest".to_owned()).await, all);
        assert_eq!(listed("sort=oldest&status=pending,failed".to_owned()).await, all);
        assert_eq!(listed(format!("sort=oldest&from={from}&to={to}")).await, [id(1), id(2)]);
        assert_eq!(listed(format!("sort=oldest&from={from}&token=SOL")).await, [id(2), id(4)]);
    }
    for (query, field) in [
        ("status=pending,none", "status"),
        ("status=", "status"),
        ("token=NOPE", "token"),
        ("from=yesterday", "from"),
        ("to=2026", "to"),
        ("sort=up", "sort"),
    ] {
        let refused = server.get(&format!("/api/orders?{query}")).await;
        assert_eq!(refused.status(), 422, "{query}");
        assert_eq!(refused.json::<Value>().await.unwrap()["errors"][0]["field"], field, "{query}");
    }
}

/// Reads frames up to the one that ends an order.
async fn until_ended(client: &mut Client, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = client.next().await.unwrap();
        let is_last =
            frame["orderId"] == id && ["confirmed", "failed"].contains(&frame["type"].as_str().unwrap());
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}

#[tokio::test]
async fn one_stream_has_all_orders_of_a_user_and_resumes_anywhere() {
    let server = TestServer::start().await;
    let place = async |user: &str| {
        let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5", "userId": user});
        text(&server.place(&body).await, "orderId")
    };
    let (mine, other) = (place("alice").await, place("bob").await);
    let mut all = server.connect("/api/stream?userId=alice&after=start").await;
    let frames = until_ended(&mut all, &mine).await;
    assert_eq!((&frames[0]["type"], &frames[1]["type"]), (&json!("connection"), &json!("subscribed")));
    let events = &frames[2..];
    assert!(events.iter().all(|event| event["orderId"] == mine && event["orderId"] != other));
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>());
    // What happens later comes as it happens, in the same stream.
    let second = place("alice").await;
    until_ended(&mut all, &second).await;
    // A client that had a part resumes behind it, also by the cursor of another stream.
    for (index, event) in events.iter().enumerate() {
        let path = format!("/api/stream?userId=alice&after={}", text(event, "cursor"));
        let mut resumed = server.connect(&path).await;
        let rest = until_ended(&mut resumed, &second).await;
        let of_first: Vec<_> = rest.iter().filter(|frame| frame["orderId"] == mine).collect();
        assert_eq!(of_first, events[index + 1..].iter().collect::<Vec<_>>());
    }
    let refused = server.get("/api/stream?after=nonsense").await;
    assert_eq!(refused.status(), 426);
}

#[tokio::test]
async fn the_stream_of_all_orders_comes_as_server_sent_events_too() {
    let server = TestServer::start().await;
    let id = server.place_any().await;
    let open = async |last: Option<&str>| {
        let mut request =
            server.http.get(server.url("/api/stream?after=start")).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer
    };
    let read = async |last: Option<&str>| {
        let (mut body, mut answer) = (String::new(), open(last).await);
        while !body.contains("\"type\":\"confirmed\"") {
            body.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        }
        body
    };
    let body = read(None).await;
    let ids: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let cursors = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter_map(|line| {
        let frame: Value = serde_json::from_str(line).unwrap();
        (frame["orderId"] == id).then(|| text(&frame, "cursor"))
    });
    assert_eq!(ids, cursors.collect::<Vec<_>>());
    let rest = read(Some(ids[2])).await;
    let resumed: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(resumed, ids[3..]);
}

#[tokio::test]
async fn every_problem_leads_to_its_explanation() {
    let server = TestServer::idle().await;
    let all = server.get_json("/problems").await;
    assert!(all["problems"].as_array().unwrap().len() > 40);
    for path in ["/api/orders/status/none", "/nothing", "/problems/none", "/api/orders?limit=0"] {
        let problem: Value = server.get(path).await.json().await.unwrap();
        let explained = server.get_json(&text(&problem, "type")).await;
        let entry = &explained["problems"][0];
        assert_eq!((&entry["code"], &entry["status"]), (&problem["code"], &problem["status"]));
    }
    let description = server.get_json("/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    for path in ["/docs", "/assets/reference.js", "/assets/reference.css"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
}
