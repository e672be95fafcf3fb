//! Tickets for the sockets of browsers, and the end of streams whose credential ends.

use std::time::Duration;

use chrono::Utc;
use order_engine_server::Access;
use serde_json::{Value, json};

use super::common::{Client, TestServer, text};
use super::issuer::{Issuer, SECRET, changed, claims};
use super::{Keys, options};

const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1.5"}"#;
/// How long a stream may go on without its credential.
const END_TIME_MAX: Duration = Duration::from_mins(1);

async fn place(server: &TestServer, credential: &str) -> String {
    let request = server.http.post(server.url("/api/orders/execute")).bearer_auth(credential);
    let request = request.header("Content-Type", "application/json").body(ORDER);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 202);
    text(&response.json().await.unwrap(), "orderId")
}

async fn ticket(server: &TestServer, credential: &str) -> String {
    let request = server.http.post(server.url("/api/tickets")).bearer_auth(credential);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    let expires_at: chrono::DateTime<Utc> = text(&body, "expiresAt").parse().unwrap();
    assert!((expires_at - Utc::now()).num_seconds() <= 30, "{body}");
    text(&body, "ticket")
}

/// Opens the stream of an order with a ticket.
async fn with_ticket(server: &TestServer, id: &str, ticket: &str) -> Result<Client, u16> {
    let url = server.ws_url(&format!("/ws/orders/{id}?ticket={ticket}"));
    Client::try_connect(&url, ("x-test", "1")).await
}

/// Waits until the server closes a stream, and returns the code.
async fn closed(mut client: Client) -> u16 {
    let code = async {
        loop {
            if let Err(code) = client.next().await {
                return code;
            }
        }
    };
    tokio::time::timeout(END_TIME_MAX, code).await.expect("the stream ends in time")
}

#[tokio::test]
async fn a_ticket_opens_one_socket_and_nothing_else() {
    let keys = Keys::new();
    let server = TestServer::with(options(Access::open(&keys.settings()).unwrap())).await;
    let id = place(&server, &keys.alice).await;
    let bought = ticket(&server, &keys.alice).await;
    let mut client = with_ticket(&server, &id, &bought).await.unwrap();
    assert_eq!(client.next().await.unwrap()["type"], "connection");
    assert_eq!(with_ticket(&server, &id, &bought).await.err(), Some(401), "a ticket is for one socket");
    assert_eq!(with_ticket(&server, &id, "nonsense").await.err(), Some(401));
    assert_eq!(with_ticket(&server, &id, "").await.err(), Some(401));

    // It is no credential of a request, in whatever form.
    let other = ticket(&server, &keys.alice).await;
    for path in ["/api/orders", "/api/orders/status/ID", "/api/orders/ID/events", "/ws/orders/ID"] {
        let path = path.replace("ID", &id);
        assert_eq!(server.get(&format!("{path}?ticket={other}")).await.status(), 401, "{path}");
        let by_header = server.http.get(server.url(&path)).bearer_auth(&other).send().await.unwrap();
        assert_eq!(by_header.status(), 401, "{path}");
    }
    // A key in the URL is none either.
    let url = server.ws_url(&format!("/ws/orders/{id}?ticket={}", keys.alice));
    assert_eq!(Client::try_connect(&url, ("x-test", "1")).await.err(), Some(401));
    // What was refused was not taken.
    assert!(with_ticket(&server, &id, &other).await.is_ok());

    let bobs = ticket(&server, &keys.create_and_wait(&server, "bob", "read").await).await;
    let (frames, code) = with_ticket(&server, &id, &bobs).await.unwrap().drain().await;
    assert_eq!((frames.len(), code), (1, 4404), "a ticket is its user's");
}

#[tokio::test]
async fn processes_with_one_secret_take_each_others_tickets() {
    let keys = Keys::new();
    let mut settings = keys.settings();
    settings.signing_secret = Some(SECRET.parse().unwrap());
    let [first, second] = [(), ()].map(|()| options(Access::open(&settings).unwrap()));
    let [first, second] = [TestServer::with(first).await, TestServer::with(second).await];
    let id = place(&second, &keys.alice).await;
    let bought = ticket(&first, &keys.alice).await;
    assert!(with_ticket(&second, &id, &bought).await.is_ok());
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams() {
    let keys = Keys::new();
    let server = TestServer::with(options(Access::open(&keys.settings()).unwrap())).await;
    let id = place(&server, &keys.alice).await;
    let url = server.ws_url(&format!("/ws/orders/{id}"));
    let by_header = Client::try_connect(&url, ("authorization", &format!("Bearer {}", keys.alice))).await;
    let by_ticket = with_ticket(&server, &id, &ticket(&server, &keys.alice).await).await;
    let late_ticket = ticket(&server, &keys.alice).await;
    let events = server.http.get(server.url(&format!("/api/orders/{id}/events"))).bearer_auth(&keys.alice);
    let mut events = events.header("Accept", "text/event-stream").send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some());

    keys.revoke(&keys.alice);
    assert_eq!(closed(by_header.unwrap()).await, 4401);
    assert_eq!(closed(by_ticket.unwrap()).await, 4401);
    let to_end = async { while events.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(END_TIME_MAX, to_end).await.expect("the events end in time");
    assert_eq!(with_ticket(&server, &id, &late_ticket).await.err(), Some(401), "its tickets are no good");
    let refused = server.http.get(server.url("/api/orders")).bearer_auth(&keys.alice).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn an_expired_token_ends_its_streams() {
    let (issuer, keys) = (Issuer::new(), Keys::new());
    let settings = issuer.settings(keys.folder.path());
    let server = TestServer::with(options(Access::open(&settings).unwrap())).await;
    let soon = Utc::now().timestamp() + 2;
    let token = issuer.sign("EdDSA", &changed(claims("alice", "read trade"), "exp", json!(soon)));
    let id = place(&server, &token).await;
    let bought = ticket(&server, &token).await;
    let url = server.ws_url(&format!("/ws/orders/{id}"));
    let by_header = Client::try_connect(&url, ("authorization", &format!("Bearer {token}"))).await.unwrap();
    let by_ticket = with_ticket(&server, &id, &bought).await.unwrap();
    assert_eq!(closed(by_header).await, 4401);
    assert_eq!(closed(by_ticket).await, 4401);
    assert!(Utc::now().timestamp() >= soon);
    // A client that goes on sees the rest of the order with a new token.
    let url = server.ws_url(&format!("/ws/orders/{id}?after=1"));
    let renewed = format!("Bearer {}", issuer.token("alice", "read"));
    assert!(Client::try_connect(&url, ("authorization", &renewed)).await.is_ok());
}

#[tokio::test]
async fn a_server_without_authentication_has_no_tickets() {
    let server = TestServer::idle().await;
    let response = server.post("/api/tickets", "{}").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "no-tickets");
}
