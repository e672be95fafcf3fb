//! Users that trade over HTTP, and repeat what got no answer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use order_engine_core::OrderId;
use order_engine_sim::default_tokens;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::books::Books;

/// How many users there are, besides one without any money.
const USERS: usize = 20;
const POOR: &str = "poor";
/// What each user pays in, of each token.
const DEPOSITS: [(&str, u64); 2] = [("SOL", 2_000_000_000_000), ("USDC", 500_000_000_000)];
/// The longest that a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After what time something is tried again that got no answer, unless the broker starts earlier.
const AGAIN: Duration = Duration::from_millis(100);

/// All users.
pub(crate) struct Customers {
    http: reqwest::Client,
    orders: usize,
    next: AtomicUsize,
    url: watch::Sender<String>,
    /// The orders that were answered, with their users.
    answers: Mutex<BTreeMap<OrderId, String>>,
    /// Those that have failed.
    failed: Mutex<Vec<OrderId>>,
    /// How many orders have ended or were refused.
    ended: watch::Sender<usize>,
}

impl Customers {
    pub(crate) fn new(orders: usize, url: &str) -> Self {
        Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build().unwrap(),
            orders,
            next: AtomicUsize::new(0),
            url: watch::Sender::new(url.to_owned()),
            answers: Mutex::default(),
            failed: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// Tells all users where the broker is now.
    pub(crate) fn turn_to(&self, url: &str) {
        self.url.send_replace(url.to_owned());
    }

    /// Waits until this many orders have ended.
    pub(crate) async fn have_seen_end(&self, orders: usize) {
        self.ended.subscribe().wait_for(|ended| *ended >= orders).await.unwrap();
    }

    /// Returns the orders that were answered, with their users.
    pub(crate) fn answers(&self) -> BTreeMap<OrderId, String> {
        self.answers.lock().unwrap().clone()
    }

    pub(crate) async fn pay_in(&self) {
        for user in 0..USERS {
            for (n, (token, amount)) in DEPOSITS.into_iter().enumerate() {
                let path = format!("/deposits/00000000-0000-0000-0000-{:012}", user * DEPOSITS.len() + n);
                let form = json!({"user": name(user), "token": token, "amount": amount.to_string()});
                assert_eq!(self.answer(Method::PUT, &path, &form).await.0, StatusCode::OK);
            }
        }
    }

    /// Places all orders, so many at a time, and waits for their ends.
    pub(crate) async fn trade(&self, at_a_time: usize) {
        let customer = async || {
            loop {
                let n = self.next.fetch_add(1, Ordering::Relaxed);
                if n >= self.orders {
                    break;
                }
                self.place(n).await;
                self.ended.send_modify(|ended| *ended += 1);
            }
        };
        join_all((0..at_a_time).map(|_| customer())).await;
    }

    /// Places an order and waits for its end.
    async fn place(&self, n: usize) {
        let form = form(n);
        let (status, answer) = self.answer(Method::POST, "/orders", &form).await;
        if form["user"] == POOR {
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
            return;
        }
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        let id = id_of(&answer);
        self.answers.lock().unwrap().insert(id, form["user"].as_str().unwrap().to_owned());
        if n.is_multiple_of(5) {
            let (_, again) = self.answer(Method::POST, "/orders", &form).await;
            assert_eq!((id_of(&again), &again["is_new"]), (id, &Value::Bool(false)), "{again}");
        }
        if n % 10 == 3 {
            let (status, answer) = self.answer(Method::DELETE, &format!("/orders/{id}"), &Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
        self.end(id).await;
    }

    /// Waits for the end of an order.
    async fn end(&self, id: OrderId) {
        loop {
            let (status, order) =
                self.answer(Method::GET, &format!("/orders/{id}?wait_ms=5000"), &Value::Null).await;
            assert_eq!(status, StatusCode::OK, "an answered order is lost: {order}");
            match order["status"].as_str().unwrap() {
                "confirmed" => return,
                "failed" => return self.failed.lock().unwrap().push(id),
                _ => assert_eq!(order["attention"], Value::Null, "{order}"),
            }
        }
    }

    /// Tries a part of the failed orders again, twice each, and waits for the ends. Returns how many.
    pub(crate) async fn retry_what_failed(&self) -> usize {
        let failed: Vec<OrderId> = self.failed.lock().unwrap().iter().copied().step_by(2).collect();
        join_all(failed.iter().map(|id| self.retry(*id))).await;
        failed.len()
    }

    /// Checks that the broker shows what is in its books, and refuses what it should.
    pub(crate) async fn see_what_is(&self, books: &Books) {
        let get = async |path: &str| self.answer(Method::GET, path, &Value::Null).await;
        for user in (0..USERS).map(name) {
            let (_, shown) = get(&format!("/accounts/{user}")).await;
            for token in default_tokens().iter().take(DEPOSITS.len()) {
                let balance = books.balance(&user, &token.mint).to_string();
                assert_eq!(shown[&token.symbol], balance, "{user}: {shown}");
            }
        }
        assert_eq!(get(&format!("/orders/{}", OrderId::from_bytes([7; 16]))).await.0, StatusCode::NOT_FOUND);
        let (mut other, mut unknown) = (form(0), form(0));
        other["amount"] = "1".into();
        unknown["input"] = "nothing".into();
        assert_eq!(self.answer(Method::POST, "/orders", &other).await.0, StatusCode::CONFLICT);
        assert_eq!(self.answer(Method::POST, "/orders", &unknown).await.0, StatusCode::UNPROCESSABLE_ENTITY);
        let url = format!("{}/metrics", *self.url.borrow());
        let metrics = self.http.get(url).send().await.unwrap().text().await.unwrap();
        for name in ["order_engine_orders_total", "order_engine_workers", "brokerage_executions_total"] {
            assert!(metrics.contains(name), "no {name} in:\n{metrics}");
        }
    }

    async fn retry(&self, id: OrderId) {
        let path = format!("/orders/{id}/retry");
        let (status, first) = self.answer(Method::POST, &path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{first}");
        let (_, again) = self.answer(Method::POST, &path, &Value::Null).await;
        assert_eq!((id_of(&again), &again["is_new"]), (id_of(&first), &Value::Bool(false)));
        let user = self.answers()[&id].clone();
        self.answers.lock().unwrap().insert(id_of(&first), user);
        self.end(id_of(&first)).await;
    }

    /// Sends a request until it is answered.
    async fn answer(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut url = self.url.subscribe();
        loop {
            let target = format!("{}{path}", *url.borrow_and_update());
            let request = self.http.request(method.clone(), target).json(body);
            let answered = async {
                let response = request.send().await?;
                Ok::<_, reqwest::Error>((response.status(), response.json().await?))
            };
            match answered.await {
                Ok((status, answer)) if status != StatusCode::SERVICE_UNAVAILABLE => return (status, answer),
                // The broker is gone, or its database is.
                _ => drop(tokio::time::timeout(AGAIN, url.changed()).await),
            }
        }
    }
}

fn name(user: usize) -> String {
    format!("user-{user}")
}

/// Returns the request of an order. No two have one amount, so a mix-up shows.
fn form(n: usize) -> Value {
    let user = if n % 25 == 7 { POOR.to_owned() } else { name(n % USERS) };
    let (input, output, amount) =
        if n.is_multiple_of(2) { ("SOL", "USDC", 100_000_000 + n) } else { ("USDC", "SOL", 20_000_000 + n) };
    json!({
        "user": user, "key": format!("order-{n}"), "input": input, "output": output,
        "amount": amount.to_string(),
    })
}

fn id_of(answer: &Value) -> OrderId {
    answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}
