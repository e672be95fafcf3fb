//! How much is served: requests of a user and of an address, orders of a user, orders at all; and what proxies pass on.

mod common;

use common::{TestServer, text};
use futures_util::future::join_all;
use order_engine_server::{
    Access, AllowedHosts, AuditLog, AuthSettings, KeyCommand, LimitSettings, MaybeRate, Options, Prices,
    TrustedProxies,
};
use reqwest::Response;
use serde_json::{Value, json};

fn limits(change: impl FnOnce(&mut LimitSettings)) -> Options {
    let mut limits = LimitSettings::default();
    change(&mut limits);
    Options { limits, ..Options::default() }
}

fn rate(text: &str) -> MaybeRate {
    text.parse().unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("{name} in {response:?}")).to_str().unwrap()
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    (status, text(&response.json().await.unwrap(), "code"))
}

#[tokio::test]
async fn an_address_is_told_its_rate_and_held_to_it() {
    let server = TestServer::with(limits(|limits| limits.address_rate = Some(rate("5/3600")))).await;
    for left in (0..5).rev() {
        let response = server.get("/api/tokens").await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), r#""address";q=5;w=3600"#);
        let standing = format!(r#""address";r={left};t={}"#, (5 - left) * 720);
        assert_eq!(header(&response, "ratelimit"), standing);
    }
    // What does not exist counts as well, and health does not.
    for path in ["/api/tokens", "/nowhere", "/"] {
        let response = server.get(path).await;
        let wait_s: u64 = header(&response, "retry-after").parse().unwrap();
        assert!((700..=720).contains(&wait_s), "{wait_s}");
        assert_eq!(header(&response, "ratelimit"), r#""address";r=0;t=3600"#);
        assert_eq!(code(response).await, (429, "too-many-requests".to_owned()));
    }
    for path in ["/health", "/ready"] {
        let response = server.get(path).await;
        assert!(response.status() == 200 && !response.headers().contains_key("ratelimit"), "{path}");
    }
}

#[tokio::test]
async fn each_user_has_a_rate_and_wrong_credentials_have_their_addresss() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = |user: &str| {
        let (user, scopes) = (user.to_owned(), "read".parse().unwrap());
        let mut out = Vec::new();
        let create = KeyCommand::Create { user, scopes, expires: None };
        create.run(Some(file.clone()), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
        String::from_utf8(out).unwrap().trim().to_owned()
    };
    let [alice, alice_too, bob] = ["alice", "alice", "bob"].map(key);
    let mut auth = AuthSettings::default();
    auth.api_keys = Some(file.clone());
    let access = Access::open(&auth).unwrap();
    let options = limits(|limits| {
        limits.user_rate = Some(rate("3/3600"));
        limits.address_rate = Some(rate("12/3600"));
    });
    let server = TestServer::with(Options { access, ..options }).await;
    let ask =
        async |key: &str| server.http.get(server.url("/api/tokens")).bearer_auth(key).send().await.unwrap();
    // Two keys of one user have one rate.
    for key in [&alice, &alice_too, &alice] {
        assert_eq!(ask(key).await.status(), 200);
    }
    let refused = ask(&alice_too).await;
    let policy = r#""address";q=12;w=3600, "user";q=3;w=3600"#;
    assert_eq!(header(&refused, "ratelimit-policy"), policy);
    assert_eq!(code(refused).await, (429, "too-many-requests".to_owned()));
    assert_eq!(ask(&bob).await.status(), 200);
    for _ in 0..7 {
        assert_eq!(ask("oek_guess_guess").await.status(), 401);
    }
    assert_eq!(ask("oek_guess_guess").await.status(), 429, "guesses are counted");
    assert_eq!(ask(&bob).await.status(), 429);
}

#[tokio::test]
async fn each_order_of_a_batch_counts() {
    let server = TestServer::with(limits(|limits| limits.address_rate = Some(rate("5/3600")))).await;
    let orders: Vec<Value> = (0..7).map(order).collect();
    let answer = server.post("/api/orders/batch", json!({ "orders": orders }).to_string()).await;
    let body: Value = answer.json().await.unwrap();
    let results = body["results"].as_array().unwrap();
    let statuses: Vec<&Value> = results.iter().map(|result| &result["httpStatus"]).collect();
    assert_eq!(statuses, [202, 202, 202, 202, 202, 429, 429]);
    assert_eq!(results[6]["problem"]["code"], "too-many-requests");
    assert_eq!(server.count_due().await, 5);
    assert_eq!(server.get("/api/tokens").await.status(), 429);
}

fn order(key: usize) -> Value {
    json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1", "userId": "alice", "clientOrderId": format!("{key}")})
}

#[tokio::test]
async fn a_user_has_no_more_open_orders_than_allowed_however_they_come() {
    let server = TestServer::with(limits(|limits| limits.max_open_orders = Some(5))).await;
    let place = async |body: Value| server.post("/api/orders/execute", body.to_string()).await;
    let answers = join_all((0..20).map(|n| place(order(n)))).await;
    let accepted = answers.iter().filter(|answer| answer.status() == 202).count();
    assert_eq!((accepted, server.count_due().await), (5, 5));
    let refused = answers.into_iter().find(|answer| answer.status() != 202).unwrap();
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(code(refused).await, (429, "too-many-open-orders".to_owned()));
    // Who repeats an order is told of it, and another user has a limit of their own.
    let open = server.get_json("/api/orders?userId=alice").await;
    let key: usize = text(&open["orders"][0], "clientOrderId").parse().unwrap();
    assert_eq!(place(order(key)).await.status(), 200);
    let mut of_bob = order(100);
    of_bob["userId"] = json!("bob");
    assert_eq!(place(of_bob).await.status(), 202);
    // An order that ends makes room for another.
    let id = text(&open["orders"][0], "orderId");
    assert_eq!(server.post(&format!("/api/orders/{id}/cancel"), "").await.status(), 200);
    assert_eq!(place(order(101)).await.status(), 202);
    assert_eq!(place(order(102)).await.status(), 429);
    assert_eq!(place(order(key)).await.status(), 200, "it has ended, and is repeated all the same");
}

/// Limits of a user's orders to a worth of 1,000, with 100 for a SOL and 1 for a USDC.
fn notional() -> Options {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.json");
    std::fs::write(&file, r#"{"SOL": "100", "USDC": "1"}"#).unwrap();
    let prices = Some(Prices::open(&file).unwrap());
    Options { prices, ..limits(|limits| limits.max_daily_notional = Some("1000".parse().unwrap())) }
}

#[tokio::test]
async fn a_user_trades_no_more_in_a_day_than_allowed_however_the_orders_come() {
    let server = TestServer::with(notional()).await;
    let place = async |body: Value| server.post("/api/orders/execute", body.to_string()).await;
    let answers = join_all((0..20).map(|n| place(order(n)))).await;
    let accepted = answers.iter().filter(|answer| answer.status() == 202).count();
    assert_eq!((accepted, server.count_due().await), (10, 10));
    let refused = answers.into_iter().find(|answer| answer.status() != 202).unwrap();
    let wait_s: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((86_000..=86_400).contains(&wait_s), "the oldest order counts for a day: {wait_s}");
    assert_eq!(code(refused).await, (429, "daily-notional-exceeded".to_owned()));
    // Who repeats an order is told of it, and another user has a limit of their own.
    let placed = server.get_json("/api/orders?userId=alice&sort=oldest").await;
    let key: usize = text(&placed["orders"][0], "clientOrderId").parse().unwrap();
    assert_eq!(place(order(key)).await.status(), 200);
    let mut of_bob = order(100);
    of_bob["userId"] = json!("bob");
    assert_eq!(place(of_bob).await.status(), 202);
    // An order that comes to nothing makes room for others, as much as it was worth.
    let id = text(&placed["orders"][0], "orderId");
    assert_eq!(server.post(&format!("/api/orders/{id}/cancel"), "").await.status(), 200);
    let swap = |key: usize, token: &str, other: &str, amount: &str| {
        let mut order = order(key);
        (order["tokenIn"], order["tokenOut"], order["amount"]) = (json!(token), json!(other), json!(amount));
        order
    };
    assert_eq!(code(place(swap(101, "USDC", "SOL", "100.01")).await).await.0, 429);
    assert_eq!(place(swap(102, "USDC", "SOL", "60")).await.status(), 202);
    assert_eq!(place(swap(103, "SOL", "USDC", "0.4")).await.status(), 202);
    assert_eq!(place(swap(104, "USDC", "SOL", "0.01")).await.status(), 429);
    // A server that starts anew counts the same.
    let again = TestServer::of(server.app.engine().clone(), notional()).await;
    assert_eq!(again.post("/api/orders/execute", order(105).to_string()).await.status(), 429);
}

#[tokio::test]
async fn an_order_beyond_the_worth_of_a_day_or_without_a_price_is_refused_for_good() {
    let server = TestServer::with(notional()).await;
    for (token, amount, field, expected) in
        [("SOL", "10.1", "amount", "notional-too-large"), ("BTC", "0.01", "tokenIn", "no-price")]
    {
        let body = json!({"tokenIn": token, "tokenOut": "USDC", "amount": amount});
        let refused = server.post("/api/orders/execute", body.to_string()).await;
        assert_eq!(refused.status(), 422);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], json!(expected));
        assert_eq!(problem["errors"][0]["field"], json!(field));
    }
    assert_eq!(server.count_due().await, 0);
}

#[tokio::test]
async fn orders_are_refused_while_too_many_wait_and_nothing_of_them_is_stored() {
    let server = TestServer::with(limits(|limits| limits.max_due_orders = Some(10))).await;
    let place = async |n: usize| server.post("/api/orders/execute", order(n).to_string()).await;
    let answers = join_all((0..40).map(place)).await;
    let accepted = answers.iter().filter(|answer| answer.status() == 202).count();
    assert_eq!((accepted, server.count_due().await), (10, 10));
    let refused = answers.into_iter().find(|answer| answer.status() != 202).unwrap();
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(code(refused).await, (503, "overloaded".to_owned()));
    assert_eq!(server.get_json("/api/orders?limit=200").await["orders"].as_array().unwrap().len(), 10);
    server.work();
    // The orders are executed, and there is room again.
    while place(100).await.status() == 503 {
        tokio::task::yield_now().await;
    }
}

fn proxies(text: &str) -> impl FnOnce(&mut LimitSettings) {
    let proxies: TrustedProxies = text.parse().unwrap();
    |limits| limits.trusted_proxies = Some(proxies)
}

async fn ws_url(server: &TestServer, lines: &[(&'static str, &str)]) -> (u16, String) {
    let mut request = server.http.post(server.url("/api/orders/execute"));
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1"});
    let response = request.json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    let url = answer["wsUrl"].as_str().unwrap_or_default();
    (status, url.split("/ws/").next().unwrap().to_owned())
}

#[tokio::test]
async fn a_stream_behind_tls_is_under_the_name_of_the_proxy() {
    let allowed_hosts = AllowedHosts::parse(&["dex.example".to_owned()]).unwrap();
    let options = Options { allowed_hosts, ..limits(proxies("127.0.0.0/8")) };
    let server = TestServer::with(options).await;
    let behind =
        |host| [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-forwarded-host", host)];
    assert_eq!(ws_url(&server, &behind("dex.example")).await, (202, "wss://dex.example".to_owned()));
    assert_eq!(ws_url(&server, &behind("evil.example")).await.0, 421, "answers lead to names of ours only");
    let own = server.ws_url("");
    assert_eq!(ws_url(&server, &behind("")[..2]).await, (202, own.replace("ws:", "wss:")));
    // A page of the proxy's name is of the server's own origin.
    let origin = [&behind("dex.example")[..], &[("origin", "https://dex.example")]].concat();
    assert_eq!(ws_url(&server, &origin).await.0, 202);
    let foreign = [&behind("dex.example")[..], &[("origin", "https://evil.example")]].concat();
    assert_eq!(ws_url(&server, &foreign).await.0, 403);
    // Without a trusted proxy nobody's word is taken.
    let server = TestServer::idle().await;
    assert_eq!(ws_url(&server, &behind("evil.example")).await, (202, server.ws_url("")));
}

#[tokio::test]
async fn clients_behind_a_proxy_have_their_own_rates() {
    let server = TestServer::with(limits(|limits| {
        limits.address_rate = Some(rate("1/3600"));
        proxies("1")(limits);
    }))
    .await;
    let ask = async |forwarded: &str| {
        let request = server.http.get(server.url("/api/tokens")).header("X-Forwarded-For", forwarded);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("1.1.1.1").await, 200);
    assert_eq!(ask("1.1.1.1").await, 429);
    assert_eq!(ask("2.2.2.2").await, 200);
    assert_eq!(ask("3.3.3.3, 2.2.2.2").await, 429, "what a client writes itself does not count");
}
