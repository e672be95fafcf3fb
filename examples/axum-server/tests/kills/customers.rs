//! Clients that place orders at any server that lives, and cancel some of them.

use std::time::Duration;

use futures_util::future::join_all;
use order_engine_core::OrderId;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::common::program::{order_form, try_place_as};
use crate::common::text;

/// After what time a request is made again that got no answer.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time from an order to its cancel, in milliseconds.
const CANCEL_MS: u64 = 1_500;
/// The least and the longest time to live, in milliseconds.
const TTL_MS: (u64, u64) = (100, 2_000);

/// What the server answered to a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelAnswer {
    /// Nothing was signed, and nothing will be.
    Cancelled,
    /// A transaction was signed; its outcome decides.
    Pending,
    /// The order had ended.
    TooLate,
}

/// An order that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) id: OrderId,
    pub(crate) cancel: Option<CancelAnswer>,
}

/// All clients.
pub(crate) struct Customers {
    http: reqwest::Client,
    urls: watch::Receiver<Vec<String>>,
}

impl Customers {
    pub(crate) fn new(urls: watch::Receiver<Vec<String>>) -> Self {
        Self { http: reqwest::Client::builder().timeout(TIMEOUT).build().unwrap(), urls }
    }

    /// Places so many orders over a time.
    pub(crate) async fn trade(&self, orders: usize, time: Duration) -> Vec<Placed> {
        let began = Instant::now();
        join_all((0..orders).map(|n| async move {
            tokio::time::sleep_until(began + time * u32::try_from(n * 1_000 / orders).unwrap() / 1_000).await;
            self.order(n as u64).await
        }))
        .await
    }

    /// Places an order. Some have a deadline, and some are cancelled at a time that has nothing to do with their steps.
    async fn order(&self, n: u64) -> Placed {
        let mut form = order_form(&format!("order-{n}"));
        if n % 5 == 1 {
            form["ttlMs"] = json!(TTL_MS.0 + spread(n) % (TTL_MS.1 - TTL_MS.0));
        }
        let id = self.until_answered(async |url| try_place_as(url, &self.http, &form).await).await;
        let mut cancel = None;
        if n % 3 == 2 {
            tokio::time::sleep(Duration::from_millis(spread(n) % CANCEL_MS)).await;
            cancel = Some(self.until_answered(async |url| self.try_cancel(url, &id).await).await);
        }
        Placed { id: id.parse().unwrap(), cancel }
    }

    async fn try_cancel(&self, url: &str, id: &str) -> Option<CancelAnswer> {
        let response = self.http.post(format!("{url}/api/orders/{id}/cancel")).send().await.ok()?;
        let status = response.status();
        let answer: Value = response.json().await.ok()?;
        Some(match status.as_u16() {
            200 => CancelAnswer::Cancelled,
            202 => CancelAnswer::Pending,
            409 => {
                assert_eq!(text(&answer, "code"), "too-late");
                CancelAnswer::TooLate
            }
            other => panic!("{other}: {answer}"),
        })
    }

    /// Asks one server after the other until one answers.
    async fn until_answered<T>(&self, ask: impl AsyncFn(&str) -> Option<T>) -> T {
        for turn in 0.. {
            let url = {
                let urls = self.urls.borrow();
                urls[turn % urls.len()].clone()
            };
            if let Some(answer) = ask(&url).await {
                return answer;
            }
            tokio::time::sleep(AGAIN).await;
        }
        unreachable!("the turns do not end")
    }
}

/// Returns a number that looks random, and is the same in each run.
const fn spread(n: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}
