//! Clients of servers that trade on a chain.

use std::time::Duration;

use futures_util::future::join_all;
use order_engine_core::{Order, OrderStore};
use serde_json::json;
use tokio::sync::watch;

use crate::common::program::try_place_as;

/// After what time a request is made again that got no answer.
const AGAIN: Duration = Duration::from_millis(50);

/// Returns a number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Clients that place orders at any server that lives.
pub(crate) struct Customers {
    pub(crate) http: reqwest::Client,
    pub(crate) urls: watch::Receiver<Vec<String>>,
    /// What they sell, and what for.
    pub(crate) pairs: &'static [(&'static str, &'static str)],
}

impl Customers {
    /// Places so many orders over a time, and returns their ids.
    pub(crate) async fn trade(&self, orders: u64, time: Duration) -> Vec<String> {
        let began = tokio::time::Instant::now();
        let place = async |n: u64| {
            let at = time * u32::try_from(n * 1_000 / orders).unwrap() / 1_000;
            tokio::time::sleep_until(began + at).await;
            self.place(n).await
        };
        join_all((0..orders).map(place)).await
    }

    /// Places an order at one server after the other until one answers.
    async fn place(&self, n: u64) -> String {
        let (sold, bought) = self.pairs[usize::try_from(n).unwrap() % self.pairs.len()];
        // An order without a deadline gives up a venue that does not answer for ten minutes. In the long form that many orders wait
        // longer for faulty nodes.
        let form = json!({
            "tokenIn": sold, "tokenOut": bought, "amount": format!("{}", 1 + n % 9), "slippageBps": 500,
            "clientOrderId": format!("order-{n}"), "ttlMs": 7_200_000,
        });
        for turn in 0.. {
            let url = {
                let urls = self.urls.borrow();
                urls[turn % urls.len()].clone()
            };
            if let Some(id) = try_place_as(&url, &self.http, &form).await {
                return id;
            }
            tokio::time::sleep(AGAIN).await;
        }
        unreachable!("the turns do not end")
    }
}

/// Waits until all orders have ended, and returns them.
pub(crate) async fn ended(store: &dyn OrderStore, placed: &[String]) -> Vec<Order> {
    let mut orders = Vec::new();
    for id in placed {
        let id = id.parse().unwrap();
        orders.push(loop {
            match store.load(id).await {
                Ok(Some(order)) if order.status().is_terminal() => break order,
                _ => tokio::time::sleep(AGAIN).await,
            }
        });
    }
    orders
}
