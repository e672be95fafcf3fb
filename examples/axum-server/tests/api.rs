//! The HTTP half of the wire contract.

mod common;

use std::collections::BTreeSet;

use common::{TestServer, text};
use order_engine_server::{AllowedOrigins, Options};
use serde_json::{Value, json};

const EXECUTE: &str = "/api/orders/execute";

#[tokio::test]
async fn an_accepted_order_is_answered_with_its_id_and_its_stream() {
    let server = TestServer::idle().await;
    let response = server.post(EXECUTE, r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":1.5}"#).await;
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    let id = text(&body, "orderId");
    assert_eq!(location, format!("/api/orders/status/{id}"));
    assert_eq!(body["status"], "pending");
    assert_eq!(body["jobId"], body["orderId"]);
    assert_eq!(body["wsUrl"], server.ws_url(&format!("/ws/orders/{id}")));
    assert!(text(&body, "createdAt").ends_with('Z'));
    assert_eq!(body.as_object().unwrap().len(), 5, "{body}");
}

#[tokio::test]
async fn the_status_document_has_every_field_before_and_after() {
    let server = TestServer::idle().await;
    let body = json!({"inputToken": "SOL", "outputToken": "USDC", "amount": "1.50", "slippage": 1,
        "userId": "alice", "clientOrderId": "first", "ttlMs": 600_000});
    let id = text(&server.place(&body).await, "orderId");
    let path = format!("/api/orders/status/{id}");
    let before = server.get_json(&path).await;
    let expected = json!({
        "orderId": id, "userId": "alice", "clientOrderId": "first", "status": "pending",
        "orderType": "market", "tokenIn": "SOL", "tokenOut": "USDC", "inputToken": "SOL",
        "outputToken": "USDC", "amount": "1.5", "amountBaseUnits": "1500000000", "slippageBps": 100, "minOut": null,
        "chosenDex": null, "txHash": null, "executionPrice": null, "executionPriceExact": null,
        "amountOut": null, "amountOutBaseUnits": null, "attempt": 0, "maxAttempts": 3,
        "attention": null, "error": null, "logs": ["Order accepted"], "lastSeq": 1,
        "createdAt": before["createdAt"], "updatedAt": before["createdAt"],
        "expiresAt": before["expiresAt"],
    });
    assert_eq!(before, expected);
    assert!(text(&before, "expiresAt") > text(&before, "createdAt"));

    server.work();
    let (frames, _) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    let after = server.get_json(&path).await;
    assert_eq!(after["status"], "confirmed");
    let last = frames.last().unwrap();
    for field in ["txHash", "executionPrice", "executionPriceExact", "amountOut", "attempt", "maxAttempts"] {
        assert!(!after[field].is_null(), "{field} in {after}");
        assert_eq!(after[field], last[field], "{field}");
    }
    let messages: Vec<&Value> = frames[2..].iter().map(|frame| &frame["message"]).collect();
    assert_eq!(after["logs"].as_array().unwrap().iter().collect::<Vec<_>>(), messages);
    assert_eq!(after["lastSeq"], last["seq"]);
}

#[tokio::test]
async fn bad_requests_are_named_and_leave_nothing_behind() {
    let server = TestServer::idle().await;
    let deep = format!("{{\"tokenIn\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let large = format!("{{\"tokenIn\":\"{}\"}}", "x".repeat(16 * 1024));
    for (body, status, code) in [
        ("{", 400, "malformed-json"),
        ("", 400, "malformed-json"),
        (deep.as_str(), 400, "too-deep"),
        (large.as_str(), 413, "body-too-large"),
        ("[]", 422, "invalid-request"),
        ("{}", 422, "invalid-request"),
        (r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":-1}"#, 422, "invalid-request"),
        (r#"{"tokenIn":"SOL","tokenOut":"SOL","amount":1}"#, 422, "invalid-request"),
        (r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":1,"limitPrice":2}"#, 422, "invalid-request"),
        (r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":1,"orderType":"limit"}"#, 422, "invalid-request"),
    ] {
        let response = server.post(EXECUTE, body).await;
        assert_problem(response, status, code).await;
    }
    let response = server.http.post(server.url(EXECUTE)).body("{}").send().await.unwrap();
    assert_problem(response, 415, "unsupported-media-type").await;
    assert_eq!(server.count_due().await, 0);
}

/// Checks a problem document, and returns it.
async fn assert_problem(response: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let response_status = response.status().as_u16();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        (response_status, &problem["code"], &problem["status"]),
        (status, &json!(code), &json!(status))
    );
    problem
}

#[tokio::test]
async fn every_bad_field_has_its_entry() {
    let server = TestServer::idle().await;
    let response = server.post(EXECUTE, r#"{"tokenIn":"DOGE","amount":0,"slippageBps":-5,"x":1}"#).await;
    let problem = assert_problem(response, 422, "invalid-request").await;
    let errors: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    let expected = [
        ("tokenIn", "unknown-token"),
        ("tokenOut", "required"),
        ("amount", "out-of-range"),
        ("slippageBps", "out-of-range"),
        ("x", "unknown"),
    ];
    assert_eq!(errors, expected);
}

#[tokio::test]
async fn one_key_is_one_order() {
    let server = TestServer::idle().await;
    let body =
        json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1, "ttlMs": 600_000, "clientOrderId": "k"});
    let first = server.place(&body).await;

    let again = server.post(EXECUTE, body.to_string()).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);

    // The same order in another form, with the key in the header.
    let request = server.http.post(server.url(EXECUTE)).header("Idempotency-Key", "k");
    let by_header = request
        .json(&json!({"inputToken": "SOL", "outputToken": "USDC", "amountBaseUnits": "1000000000", "ttlMs": 600_000}))
        .send()
        .await
        .unwrap();
    assert_eq!(by_header.status(), 200);
    assert_eq!(by_header.json::<Value>().await.unwrap(), first);

    let mut different = body.clone();
    different["amount"] = json!(2);
    let problem =
        assert_problem(server.post(EXECUTE, different.to_string()).await, 409, "idempotency-conflict").await;
    assert_eq!(problem["orderId"], first["orderId"]);

    let mut of_another = body.clone();
    of_another["userId"] = json!("bob");
    assert_ne!(server.place(&of_another).await["orderId"], first["orderId"]);
    assert_eq!(server.count_due().await, 2);

    let request = server.http.post(server.url(EXECUTE)).header("Idempotency-Key", "other");
    let contradiction = request.json(&body).send().await.unwrap();
    assert_problem(contradiction, 422, "invalid-request").await;
}

#[tokio::test]
async fn unknown_orders_are_all_alike() {
    let server = TestServer::idle().await;
    let mut bodies = Vec::new();
    for id in ["0190163d-8694-739b-aea5-966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad92", "abc", "%ff"] {
        for path in [format!("/api/orders/status/{id}"), format!("/api/orders/{id}/events")] {
            let response = server.get(&path).await;
            assert_eq!(response.status(), 404, "{path}");
            bodies.push(response.text().await.unwrap());
        }
        let response = server.post(&format!("/api/orders/{id}/cancel"), "").await;
        assert_eq!(response.status(), 404);
        bodies.push(response.text().await.unwrap());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(bodies[0].contains("order-not-found"));
}

#[tokio::test]
async fn a_failing_store_is_never_answered_with_success() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    assert_eq!(server.get("/ready").await.status(), 200);
    server.outage.set(true);
    let response = server.post(EXECUTE, r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":1}"#).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let problem = assert_problem(response, 503, "outcome-unknown").await;
    assert!(!problem.to_string().contains("secret"), "{problem}");
    let responses = [
        server.get(&format!("/api/orders/status/{id}")).await,
        server.get(&format!("/api/orders/{id}/events")).await,
        server.post(&format!("/api/orders/{id}/cancel"), "").await,
    ];
    for response in responses {
        assert_eq!(response.headers()["retry-after"], "1");
        let problem = assert_problem(response, 503, "store-unavailable").await;
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let problem = assert_problem(server.get("/ready").await, 503, "not-ready").await;
    assert_eq!(problem["errors"][0]["field"], "store");
    assert_eq!(server.get("/health").await.status(), 200);
    server.outage.set(false);
    assert_eq!(server.get("/ready").await.status(), 200);
    assert_eq!(server.count_due().await, 1);
}

#[tokio::test]
async fn a_hopeless_order_is_refused_at_once_and_told_why() {
    let server = TestServer::idle().await;
    let body = r#"{"tokenIn":"SOL","tokenOut":"BTC","amountBaseUnits":"1"}"#;
    let problem = assert_problem(server.post(EXECUTE, body).await, 422, "amount-too-small").await;
    assert_eq!(problem["errors"][0]["field"], "amount");
    assert_eq!(server.count_due().await, 0);
}

#[tokio::test]
async fn an_order_that_moves_the_price_too_far_is_refused_with_the_figure() {
    let server = TestServer::idle().await;
    let order = |limit: Option<u16>| {
        let mut body =
            json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 100_000, "clientOrderId": "whale"});
        if let Some(bps) = limit {
            body["maxPriceImpactBps"] = json!(bps);
        }
        body.to_string()
    };
    let problem = assert_problem(server.post(EXECUTE, order(None)).await, 422, "price-impact-too-high").await;
    let bps = problem["priceImpactBps"].as_u64().unwrap();
    assert!((300..10_000).contains(&bps), "{problem}");
    assert!(text(&problem["errors"][0], "message").contains(&bps.to_string()));
    assert_eq!(server.count_due().await, 0);
    let loose = order(Some(u16::try_from(bps).unwrap()));
    assert_eq!(server.post(EXECUTE, loose.clone()).await.status(), 202);
    assert_eq!(server.post(EXECUTE, loose).await.status(), 200, "a repeated request is answered as before");
}

#[tokio::test]
async fn a_mistyped_parameter_is_named_instead_of_ignored() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    for (path, field, code) in [
        ("/api/orders?state=failed".to_owned(), "state", "unknown"),
        ("/api/orders?status=failed&status=confirmed".to_owned(), "status", "duplicate"),
        ("/api/orders?userId=%E2%80%AEbob".to_owned(), "userId", "invalid"),
        (format!("/api/orders/{id}/events?from=1"), "from", "unknown"),
        (format!("/api/orders/status/{id}?verbose=1"), "verbose", "unknown"),
    ] {
        let problem = assert_problem(server.get(&path).await, 422, "invalid-request").await;
        let error = &problem["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn names_that_look_the_same_are_the_same() {
    let server = TestServer::idle().await;
    let order = |user: &str| json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1, "userId": user, "clientOrderId": "k"});
    let first = server.place(&order("Zo\u{eb}")).await;
    let again = server.post(EXECUTE, order("Zoe\u{308}").to_string()).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let listed = server.get_json("/api/orders?userId=Zoe%CC%88").await;
    assert_eq!(listed["orders"][0]["orderId"], first["orderId"]);
}

#[tokio::test]
async fn an_order_is_found_by_its_users_name_for_it() {
    let server = TestServer::idle().await;
    let place = async |user: Option<&str>| {
        let mut body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1, "clientOrderId": "a/b é"});
        if let Some(user) = user {
            body["userId"] = json!(user);
        }
        text(&server.place(&body).await, "orderId")
    };
    let (of_nobody, of_bob) = (place(None).await, place(Some("bob")).await);
    let path = "/api/orders/by-client-id/a%2Fb%20e%CC%81";
    assert_eq!(server.get_json(path).await["orderId"], json!(of_nobody));
    let document = server.get_json(&format!("{path}?userId=bob")).await;
    assert_eq!(document, server.get_json(&format!("/api/orders/status/{of_bob}")).await);
    for path in ["/api/orders/by-client-id/other".to_owned(), format!("{path}?userId=carol")] {
        assert_problem(server.get(&path).await, 404, "order-not-found").await;
    }
}

#[tokio::test]
async fn orders_of_a_batch_succeed_and_fail_alone() {
    let server = TestServer::idle().await;
    let order = |key: &str, amount: &str| json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": amount, "clientOrderId": key});
    let body = json!({"orders": [order("a", "1"), order("b", "-1"), order("a", "1"), order("a", "2"), 7, order("c", "1")]});
    let answer: Value = server.post("/api/orders/batch", body.to_string()).await.json().await.unwrap();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["httpStatus"].as_u64().unwrap()).collect();
    let mut of_a = [statuses[0], statuses[2], statuses[3]];
    of_a.sort_unstable();
    // They are placed at once, so any of the first two may come first; the third is another order.
    assert!(of_a == [200, 202, 409] || of_a == [202, 409, 409], "{answer}");
    assert_eq!((statuses[1], statuses[4], statuses[5]), (422, 422, 202), "{answer}");
    assert_eq!(results[1]["problem"]["errors"][0]["field"], "amount");
    assert_eq!(server.count_due().await, 2);
    let many = json!({"orders": vec![order("d", "1"); 51]});
    assert_problem(server.post("/api/orders/batch", many.to_string()).await, 422, "invalid-request").await;

    let id = text(&results[5]["order"], "orderId");
    let cancel = json!({"orderIds": [id, "unknown"]}).to_string();
    let answer: Value = server.post("/api/orders/cancel", cancel).await.json().await.unwrap();
    assert_eq!(
        (&answer["results"][0]["order"]["cancel"], &answer["results"][1]["httpStatus"]),
        (&json!("cancelled"), &json!(404))
    );
    let answer: Value = server.post("/api/orders/cancel", r#"{"all":true}"#).await.json().await.unwrap();
    assert_eq!(answer["results"].as_array().unwrap().len(), 1, "the open one: {answer}");
    assert_eq!(server.count_due().await, 0);
    for body in ["{}", r#"{"all":true,"orderIds":["x"]}"#, r#"{"all":1}"#] {
        assert_problem(server.post("/api/orders/cancel", body).await, 422, "invalid-request").await;
    }
}

#[tokio::test]
async fn the_version_of_the_interface_is_a_prefix() {
    let server = TestServer::start().await;
    let body = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":1}"#;
    let placed: Value = server.post("/v1/api/orders/execute", body).await.json().await.unwrap();
    let id = text(&placed, "orderId");
    let (frames, code) = server.connect(&format!("/v1/ws/orders/{id}")).await.drain().await;
    assert_eq!((frames.last().unwrap()["type"].as_str(), code), (Some("confirmed"), 1000));
    let paths = ["status/ID", "ID/events"].map(|path| format!("/api/orders/{}", path.replace("ID", &id)));
    for path in paths {
        assert_eq!(server.get_json(&path).await, server.get_json(&format!("/v1{path}")).await);
    }
    let time = server.get_json("/v1/api/time").await;
    let said = chrono::DateTime::parse_from_rfc3339(time["time"].as_str().unwrap()).unwrap();
    assert_eq!(time["unixMs"], json!(said.timestamp_millis()));
    assert!((chrono::Utc::now() - said.to_utc()).num_seconds().abs() < 60);
}

#[tokio::test]
async fn cancelling_is_decided_once() {
    let server = TestServer::idle().await;
    let id = server.place_any().await;
    let cancel = format!("/api/orders/{id}/cancel");
    for _ in 0..2 {
        let response = server.post(&cancel, "").await;
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["cancel"], &body["status"]), (&json!("cancelled"), &json!("failed")));
    }
    let status = server.get_json(&format!("/api/orders/status/{id}")).await;
    assert_eq!((&status["status"], &status["error"]["code"]), (&json!("failed"), &json!("cancelled")));

    server.work();
    let other = server.place_any().await;
    server.connect(&format!("/ws/orders/{other}")).await.drain().await;
    let response = server.post(&format!("/api/orders/{other}/cancel"), "").await;
    assert_problem(response, 409, "too-late").await;
}

#[tokio::test]
async fn events_come_in_pages() {
    let server = TestServer::start().await;
    let id = server.place_any().await;
    let (frames, _) = server.connect(&format!("/ws/orders/{id}")).await.drain().await;
    let whole = server.get_json(&format!("/api/orders/{id}/events")).await;
    assert_eq!(whole["events"].as_array().unwrap(), &frames[2..]);
    let page = server.get_json(&format!("/api/orders/{id}/events?after=2&limit=2")).await;
    assert_eq!(page["events"].as_array().unwrap(), &frames[4..6]);
    assert_eq!(page["lastSeq"], frames.last().unwrap()["seq"]);
    for query in ["after=-1", "after=x", "limit=0", "limit=1001"] {
        let response = server.get(&format!("/api/orders/{id}/events?{query}")).await;
        assert_problem(response, 422, "invalid-request").await;
    }
}

#[tokio::test]
async fn a_quote_shows_all_candidates_and_makes_no_order() {
    let server = TestServer::idle().await;
    let body = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"2","slippageBps":100}"#;
    let response = server.post("/api/quote", body).await;
    assert_eq!(response.status(), 200);
    let quote: Value = response.json().await.unwrap();
    let quotes = quote["quotes"].as_array().unwrap();
    assert!(quotes.len() >= 2, "{quote}");
    let base_units = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    let chosen = base_units(&quote["amountOutBaseUnits"]);
    // A split may pay more than the chosen route if its legs cost more than the difference. A single pool may
    // not.
    let singles = quotes.iter().filter(|quote| quote["legs"].as_array().is_some_and(|legs| legs.len() == 1));
    assert!(singles.map(|quote| base_units(&quote["amountOutBaseUnits"])).all(|amount| amount <= chosen));
    assert_eq!(base_units(&quote["minOutBaseUnits"]), chosen * 99 / 100);
    assert_eq!(quote["route"]["dex"], quote["chosenDex"]);
    assert_problem(server.post("/api/quote", r#"{"userId":"a"}"#).await, 422, "invalid-request").await;
    assert_eq!(server.count_due().await, 0);
}

#[tokio::test]
async fn a_quote_of_a_large_order_shows_the_split_and_its_price_impact() {
    let server = TestServer::idle().await;
    // About three million dollars, which is too much for any one pool of the simulator.
    let body = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"20000"}"#;
    let quote: Value = server.post("/api/quote", body).await.json().await.unwrap();
    let legs = quote["route"]["legs"].as_array().unwrap();
    assert!(legs.len() >= 2, "{quote}");
    let sold = legs.iter().filter(|leg| leg["inputMint"] == legs[0]["inputMint"]);
    let sold = sold.map(|leg| leg["amountInBaseUnits"].as_str().unwrap().parse::<u128>().unwrap());
    assert_eq!(sold.sum::<u128>(), 20_000_000_000_000);
    let impact_bps = |quote: &Value| quote["priceImpactBps"].as_u64().unwrap();
    let split = impact_bps(&quote["route"]);
    assert!(split > 0 && quote["route"]["midPrice"].as_f64() > quote["route"]["price"].as_f64(), "{quote}");
    // Each swap costs the chain's fee, which is told apart from what the route pays.
    let chain_fee: f64 = text(&quote["route"], "chainFee").parse().unwrap();
    assert!(chain_fee > 0.0 && chain_fee < 1.0, "{quote}");
    let quotes = quote["quotes"].as_array().unwrap();
    let singles = quotes.iter().filter(|quote| quote["legs"].as_array().is_some_and(|legs| legs.len() == 1));
    let singles: Vec<u64> = singles.map(impact_bps).collect();
    assert!(singles.len() == 2 && singles.iter().all(|&single| single > split), "{quote}");
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let server = TestServer::idle().await;
    assert_problem(server.get("/nowhere").await, 404, "not-found").await;
    assert_problem(server.get("/assets/nothing").await, 404, "not-found").await;
    let response = server.post("/health", "").await;
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_problem(response, 405, "method-not-allowed").await;
    for path in ["/api/orders/execute?orderId=x", "/ws/orders/x"] {
        let response = server.get(path).await;
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_problem(response, 426, "upgrade-required").await;
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_not_write() {
    let server = TestServer::idle().await;
    let post = |origin: String| {
        let request = server.http.post(server.url(EXECUTE)).header("Origin", origin);
        request.json(&json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1})).send()
    };
    assert_eq!(post(server.url("")).await.unwrap().status(), 202);
    for origin in ["https://evil.example", "null"] {
        assert_problem(post(origin.to_owned()).await.unwrap(), 403, "origin-not-allowed").await;
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_write_and_read_the_answer() {
    const ORIGIN: &str = "https://app.example";
    let allowed_origins = AllowedOrigins::parse(&[ORIGIN.to_owned()]).unwrap();
    let server = TestServer::with(Options { allowed_origins, ..Options::default() }).await;
    let preflight = server
        .http
        .request(reqwest::Method::OPTIONS, server.url(EXECUTE))
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,idempotency-key")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-origin"], ORIGIN);
    let request = server.http.post(server.url(EXECUTE)).header("Origin", ORIGIN);
    let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1});
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
}

/// Returns the assets that a page names, or that a module imports.
fn assets_of(text: &str) -> impl Iterator<Item = String> + '_ {
    let named = text.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next());
    let imported = text.split("from './").skip(1).filter_map(|rest| rest.split('\'').next());
    named.chain(imported).map(str::to_owned)
}

#[tokio::test]
async fn the_pages_and_their_assets_are_served_under_a_strict_policy() {
    let server = TestServer::idle().await;
    let mut assets = Vec::new();
    for path in ["/", "/operate", "/docs"] {
        let response = server.get(path).await;
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let page = response.text().await.unwrap();
        assert!(!page.contains("http://") && !page.contains("https://"), "no third party");
        assets.extend(assets_of(&page));
    }
    let mut known = BTreeSet::new();
    while let Some(asset) = assets.pop() {
        if known.contains(&asset) {
            continue;
        }
        let response = server.get(&format!("/assets/{asset}")).await;
        let content_type = match asset.rsplit_once('.').unwrap().1 {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(response.headers()["content-type"], content_type, "{asset}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assets.extend(assets_of(&response.text().await.unwrap()));
        known.insert(asset);
    }
    for asset in ["app.css", "trade.js", "form.js", "flow.js", "operate.js", "chart.js", "icon.svg"] {
        assert!(known.contains(asset), "{asset} of {known:?}");
    }
    let tokens = server.get_json("/api/tokens").await;
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn orders_are_listed_newest_first_in_pages() {
    let server = TestServer::idle().await;
    let mut placed = Vec::new();
    for user in ["alice", "bob", "alice", "alice", "bob"] {
        let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": 1, "userId": user});
        placed.push(text(&server.place(&body).await, "orderId"));
    }
    // Ids sort by the millisecond of their creation. The order within a millisecond is arbitrary.
    placed.sort_by(|one, other| other.cmp(one));
    let ids = |page: &Value| -> Vec<String> {
        page["orders"].as_array().unwrap().iter().map(|order| text(order, "orderId")).collect()
    };
    let first = server.get_json("/api/orders?limit=3").await;
    assert_eq!(ids(&first), placed[..3]);
    let cursor = text(&first, "nextCursor");
    let second = server.get_json(&format!("/api/orders?limit=3&cursor={cursor}")).await;
    assert_eq!(ids(&second), placed[3..]);
    assert_eq!(second["nextCursor"], Value::Null);
    assert_eq!(ids(&server.get_json("/api/orders?userId=bob").await).len(), 2);
    assert_eq!(ids(&server.get_json("/api/orders?status=pending&userId=alice").await).len(), 3);
    assert!(ids(&server.get_json("/api/orders?status=confirmed").await).is_empty());
    assert!(ids(&server.get_json("/api/orders?attention=any").await).is_empty());
    for bad in ["limit=0", "limit=201", "limit=x", "status=done", "cursor=x", "attention=yes"] {
        assert_eq!(server.get(&format!("/api/orders?{bad}")).await.status(), 422, "{bad}");
    }
}
