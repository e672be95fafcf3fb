//! Every route with every kind of credential. The routes are those that the server says it has, so that none is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use order_engine_server::{Access, Needs, Role, Route, Scope, routes};
use reqwest::Method;
use serde_json::{Value, json};

use super::common::{Client, TestServer, text};
use super::issuer::{Issuer, changed, claims, encode, sign_with};
use super::{Keys, options};

const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1.5"}"#;
const ALL: &str = "read trade operate";

/// A server with an order of alice, and the means to ask it.
struct Site {
    server: TestServer,
    issuer: Issuer,
    keys: Keys,
    order_id: String,
}

impl Site {
    async fn start() -> Self {
        let (issuer, keys) = (Issuer::new(), Keys::new());
        let mut settings = issuer.settings(keys.folder.path());
        settings.api_keys = Some(keys.path());
        let server = TestServer::with(options(Access::open(&settings).unwrap())).await;
        let token = issuer.token("alice", ALL);
        let placed = server.http.post(server.url("/api/orders/execute")).bearer_auth(token);
        let placed = placed.header("Content-Type", "application/json").body(ORDER).send().await.unwrap();
        let order_id = text(&placed.json().await.unwrap(), "orderId");
        Self { server, issuer, keys, order_id }
    }

    fn path(&self, route: &Route) -> String {
        path(route, &self.order_id)
    }

    async fn ask(&self, route: &Route, path: &str, authorization: Option<&str>) -> reqwest::Response {
        let method = Method::from_bytes(route.method.as_str().as_bytes()).unwrap();
        // In one trace, so that two answers may be the same to the last byte.
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let request = self.server.http.request(method.clone(), self.server.url(path));
        let mut request = request.header("traceparent", traceparent);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        if method == Method::POST {
            request = request.header("Content-Type", "application/json").body(ORDER);
        }
        request.send().await.unwrap()
    }
}

fn path(route: &Route, order_id: &str) -> String {
    let path = route.path.replace("{orderId}", order_id).replace("{name}", "trade.js");
    let path = path.replace("{code}", "not-found").replace("{clientOrderId}", "a-name");
    if path.ends_with("/api/orders/execute") && route.method == Method::GET.as_str() {
        return format!("{path}?orderId={order_id}");
    }
    path
}

fn scope_of(route: &Route) -> Option<Scope> {
    match route.needs {
        Needs::Scope(scope) => Some(scope),
        Needs::Stream => Some(Scope::Read),
        Needs::Metrics => Some(Scope::Operate),
        _ => None,
    }
}

/// Returns values of `Authorization` that are nobody's, by what is wrong with them.
fn bad_credentials(site: &Site) -> BTreeMap<&'static str, String> {
    let Site { issuer, keys, .. } = site;
    let good = claims("alice", ALL);
    let with = |name: &str, value: Value| issuer.sign("RS256", &changed(good.clone(), name, value));
    let header = |alg: &str, kid: &str| json!({"typ": "JWT", "alg": alg, "kid": kid});
    let now = chrono::Utc::now().timestamp();
    let public = issuer.rsa_public();
    let valid = issuer.token("alice", ALL);
    let parts: Vec<&str> = valid.split('.').collect();
    let forged_claims = encode(claims("bob", ALL).to_string().as_bytes());
    let mut tokens: BTreeMap<&'static str, String> = BTreeMap::from([
        ("expired", with("exp", json!(now - 60))),
        ("without an end", with("exp", Value::Null)),
        ("with an end that is no number", with("exp", json!("never"))),
        ("not valid yet", with("nbf", json!(now + 600))),
        ("of another issuer", with("iss", json!("https://evil.example"))),
        ("without an issuer", with("iss", Value::Null)),
        ("for another audience", with("aud", json!("another-service"))),
        ("without an audience", with("aud", Value::Null)),
        ("of nobody", with("sub", Value::Null)),
        ("of everybody", with("sub", json!("anonymous"))),
        ("of an empty user", with("sub", json!(""))),
        ("unsigned", issuer.sign_as(&header("none", "rsa"), &good)),
        ("unsigned by another spelling", issuer.sign_as(&header("nOnE", "rsa"), &good)),
        ("of an HMAC with the public key", sign_with(&public.n, &header("HS256", "rsa"), &good)),
        ("of an HMAC with the other public key", {
            let jwks = issuer.jwks().to_string();
            sign_with(jwks.as_bytes(), &header("HS256", "ed"), &good)
        }),
        ("of RSA under the key of EdDSA", issuer.sign_as(&header("RS256", "ed"), &good)),
        ("of EdDSA under the key of RSA", issuer.sign_as(&header("EdDSA", "rsa"), &good)),
        ("of an algorithm that is not used", issuer.sign_as(&header("ES256", "rsa"), &good)),
        ("of an unknown key", issuer.sign_as(&header("EdDSA", "nobody's"), &good)),
        ("that asks for more than is understood", {
            issuer.sign_as(&json!({"alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1}), &good)
        }),
        ("with other claims than were signed", [parts[0], &forged_claims, parts[2]].join(".")),
        ("without its signature", format!("{}.{}.", parts[0], parts[1])),
        ("with half of its signature", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40])),
        ("that is no token", "abc".to_owned()),
        ("that is empty", String::new()),
        ("of a revoked key", keys.revoked.clone()),
        ("of an expired key", keys.expired.clone()),
        ("of a key with another secret", {
            format!("{}{}", &keys.alice[..keys.alice.len() - 43], "A".repeat(43))
        }),
        ("of a key that never was", format!("oek_0123456789abcdef_{}", "A".repeat(43))),
        ("that is a ticket", "eyJ1c2VyIjoiYWxpY2UifQ.AAAA".to_owned()),
    ]);
    for token in tokens.values_mut() {
        *token = format!("Bearer {token}");
    }
    tokens.insert("of another scheme", format!("Basic {valid}"));
    tokens.insert("without a scheme", valid);
    tokens
}

#[tokio::test]
async fn no_route_is_served_to_who_has_no_valid_credential() {
    let site = Site::start().await;
    let (mut cases, before) = (0, site.server.count_due().await);
    let bad = bad_credentials(&site);
    for route in routes(Role::All) {
        let path = site.path(&route);
        let needs_one = scope_of(&route).is_some();
        let credentials = bad.iter().map(|(what, value)| (*what, Some(value.as_str())));
        for (what, value) in credentials.chain([("none", None)]) {
            let case = format!("{} {path} with a credential {what}", route.method);
            let response = site.ask(&route, &path, value).await;
            cases += 1;
            if !needs_one {
                assert_eq!(response.status(), 200, "{case}");
                continue;
            }
            assert_eq!(response.status(), 401, "{case}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.starts_with("Bearer realm="), "{case}: {challenge}");
            assert_eq!(challenge.contains("invalid_token"), value.is_some(), "{case}");
            let code = if value.is_some() { "invalid-credential" } else { "no-credential" };
            assert_eq!(response.json::<Value>().await.unwrap()["code"], code, "{case}");
        }
        if route.needs == Needs::Stream {
            for (what, value) in &bad {
                let url = site.server.ws_url(&path);
                let refused = Client::try_connect(&url, ("authorization", value)).await;
                assert_eq!(refused.err(), Some(401), "a socket at {path} with a credential {what}");
                cases += 1;
            }
        }
    }
    assert_eq!(site.server.count_due().await, before, "nothing was placed");
    println!("{cases} cases");
    assert!(cases > 400, "{cases}");
}

#[tokio::test]
async fn every_route_is_served_by_its_scope_and_by_no_other() {
    let site = Site::start().await;
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        keys.push(site.keys.create_and_wait(&site.server, "carol", scope.as_str()).await);
    }
    for route in routes(Role::All) {
        let Some(needed) = scope_of(&route) else { continue };
        let path = site.path(&route);
        for (scope, key) in Scope::ALL.into_iter().zip(&keys) {
            for (kind, token) in [
                ("HS256", site.issuer.sign("HS256", &claims("carol", scope.as_str()))),
                ("RS256", site.issuer.sign("RS256", &claims("carol", scope.as_str()))),
                ("EdDSA", site.issuer.sign("EdDSA", &claims("carol", scope.as_str()))),
                ("key", key.clone()),
            ] {
                let case = format!("{} {path} by {kind} for {scope:?}", route.method);
                let response = site.ask(&route, &path, Some(&format!("Bearer {token}"))).await;
                if scope != needed {
                    assert_eq!(response.status(), 403, "{case}");
                    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
                    assert!(challenge.contains("insufficient_scope"), "{case}: {challenge}");
                    continue;
                }
                // The order is somebody else's, a path may be for sockets only, and no test has metrics.
                let status = response.status().as_u16();
                assert!([200, 201, 202, 404, 422, 426, 503].contains(&status), "{case}: {status}");
            }
        }
    }
}

/// Answers must not tell whether somebody else has an order.
#[tokio::test]
async fn an_order_of_somebody_else_is_like_one_that_is_not() {
    let site = Site::start().await;
    let bob = format!("Bearer {}", site.issuer.token("bob", ALL));
    let absent = "0190163d-8694-739b-aea5-966c26f8ad91";
    let mut routes_of_orders = 0;
    for route in routes(Role::All) {
        // Operators have routes of their own, which show orders of all users.
        if route.needs == Needs::Scope(Scope::Operate) {
            continue;
        }
        let (path_of_alice, path_of_nothing) = (site.path(&route), path(&route, absent));
        if path_of_alice == path_of_nothing {
            continue;
        }
        routes_of_orders += 1;
        let mut answers = Vec::new();
        for path in [&path_of_alice, &path_of_nothing] {
            let response = site.ask(&route, path, Some(&bob)).await;
            let status = response.status().as_u16();
            let mut headers: Vec<_> =
                response.headers().iter().map(|(n, v)| (n.clone(), v.clone())).collect();
            headers.retain(|(name, _)| !matches!(name.as_str(), "date" | "ratelimit"));
            answers.push((status, headers, response.text().await.unwrap()));
            let is_socket_only = status == 426;
            assert!(is_socket_only || status == 404, "{path}: {status}");
        }
        assert_eq!(answers[0], answers[1], "{}", route.path);
        if route.needs == Needs::Stream {
            for path in [&path_of_alice, &path_of_nothing] {
                let url = site.server.ws_url(path);
                let socket = Client::try_connect(&url, ("authorization", &bob)).await.unwrap();
                // A stream of the order would go on.
                let ended = tokio::time::timeout(Duration::from_secs(10), socket.drain()).await;
                let (frames, code) = ended.expect("the socket closes at once");
                assert_eq!((frames.len(), &frames[0]["code"], code), (1, &json!("order-not-found"), 4404));
            }
        }
    }
    assert!(routes_of_orders >= 5, "{routes_of_orders}");
    let sse = site.server.http.get(site.server.url(&format!("/api/orders/{}/events", site.order_id)));
    let refused =
        sse.header("Authorization", &bob).header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!(refused.status(), 404);
    assert_eq!(site.server.count_due().await, 1, "nobody but alice cancels it");
}

#[tokio::test]
async fn a_user_acts_for_nobody_else() {
    let site = Site::start().await;
    let [alice, bob] = ["alice", "bob"].map(|user| site.issuer.token(user, ALL));
    let place = async |token: &str, user: Option<&str>, key: &str| {
        let mut body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1", "clientOrderId": key});
        if let Some(user) = user {
            body["userId"] = json!(user);
        }
        let request = site.server.http.post(site.server.url("/api/orders/execute")).bearer_auth(token);
        let response = request.json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for other in ["bob", "anonymous", "Alice", ""] {
        let (status, problem) = place(&alice, Some(other), "k").await;
        assert_eq!((status, &problem["code"]), (403, &json!("user-mismatch")), "{other}");
    }
    // The same key of two users is two orders, and neither learns of the other's.
    let (status, first) = place(&alice, Some("alice"), "k").await;
    assert_eq!(status, 202);
    let (status, second) = place(&bob, None, "k").await;
    assert_eq!(status, 202);
    assert_ne!(first["orderId"], second["orderId"]);
    assert_eq!(place(&alice, None, "k").await, (200, first.clone()));

    let list = async |token: &str, query: &str| {
        let request = site.server.http.get(site.server.url(&format!("/api/orders{query}")));
        let response = request.bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let users = |page: &Value| -> Vec<String> {
        page["orders"].as_array().unwrap().iter().map(|order| text(order, "userId")).collect()
    };
    assert_eq!(users(&list(&bob, "").await.1), ["bob"]);
    assert_eq!(users(&list(&alice, "?userId=alice").await.1), ["alice", "alice"]);
    assert_eq!(list(&alice, "?userId=bob").await.0, 403);
    // An order of somebody else is a cursor like any other, and shows nothing.
    let cursor = text(&second, "orderId");
    assert!(users(&list(&alice, &format!("?cursor={cursor}")).await.1).iter().all(|user| user == "alice"));
    let status =
        site.server.http.get(site.server.url(&format!("/api/orders/status/{}", text(&first, "orderId"))));
    let document: Value = status.bearer_auth(&alice).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["userId"], "alice");
}

#[tokio::test]
async fn open_metrics_are_everybodys() {
    let keys = Keys::new();
    let mut settings = keys.settings();
    settings.open_metrics = true;
    let server = TestServer::with(options(Access::open(&settings).unwrap())).await;
    assert_eq!(server.get("/metrics").await.status(), 503, "no test has metrics");
    assert_eq!(server.get("/api/orders").await.status(), 401);
}
