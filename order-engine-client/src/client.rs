//! Calls that ask, and calls that may be repeated as they are.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answers::{Cancellation, Chain, Order, OrderPage, Pair, Quote, Time, Token};
use crate::error::Error;
use crate::event::EventPage;
use crate::forms::{OrderForm, OrderQuery, QuoteForm};
use crate::http::{ANSWER_TIME_MAX, Answer, Http};
use crate::path::segment;
use crate::repeat::Repeats;
use crate::settings::Settings;

/// A client of one server. It is cheap to clone, and its clones share their connections.
///
/// Whatever has no effect, or the same one however often it is done, is repeated for a while if the server cannot be reached
/// or says that it cannot serve now: [`Settings::with_repeat_for`]. An operator's pause is told at once.
#[derive(Clone, Debug)]
pub struct Client {
    http: Arc<Http>,
    repeat_for: Duration,
}

impl Client {
    /// Returns a client. Nothing is sent yet.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self { http: Arc::new(Http::new(settings)?), repeat_for: settings.repeat_for() })
    }

    /// Returns a client of the same server that repeats requests for this time.
    pub fn repeating_for(&self, time: Duration) -> Self {
        Self { http: Arc::clone(&self.http), repeat_for: time }
    }

    /// Returns an order.
    pub async fn order(&self, order_id: &str) -> Result<Order, Error> {
        self.get(&format!("/api/orders/status/{}", segment(order_id))).await
    }

    /// Returns the order that a user gave this name. At a server with authentication the user is the caller.
    pub async fn order_named(&self, client_order_id: &str, user_id: Option<&str>) -> Result<Order, Error> {
        let query = user_id.map_or_else(String::new, |user| format!("?userId={}", segment(user)));
        self.get(&format!("/api/orders/by-client-id/{}{query}", segment(client_order_id))).await
    }

    /// Returns a page of orders.
    pub async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Error> {
        self.get(&query.path()).await
    }

    /// Returns the events of an order behind the one of this number, as many as the server gives at a time.
    pub async fn events(&self, order_id: &str, after: u64) -> Result<EventPage, Error> {
        self.get(&format!("/api/orders/{}/events?after={after}", segment(order_id))).await
    }

    /// Returns what routing would do now, without an order.
    pub async fn quote(&self, form: &QuoteForm) -> Result<Quote, Error> {
        self.post_repeatedly("/api/quote", form).await
    }

    /// Checks an order without placing it, and returns what would be traded.
    pub async fn dry_run(&self, form: &OrderForm) -> Result<Quote, Error> {
        #[derive(Deserialize)]
        struct Rehearsed {
            quote: Quote,
        }
        let mut form = form.clone();
        form.dry_run = true;
        let rehearsed: Rehearsed = self.post_repeatedly("/api/orders/execute", &form).await?;
        Ok(rehearsed.quote)
    }

    /// Cancels an order. One that was cancelled before is cancelled again, with the same answer.
    pub async fn cancel(&self, order_id: &str) -> Result<Cancellation, Error> {
        self.post_repeatedly(&format!("/api/orders/{}/cancel", segment(order_id)), &Nothing {}).await
    }

    /// Returns what may be traded.
    pub async fn pairs(&self) -> Result<Vec<Pair>, Error> {
        #[derive(Deserialize)]
        struct Pairs {
            pairs: Vec<Pair>,
        }
        Ok(self.get::<Pairs>("/api/pairs").await?.pairs)
    }

    /// Returns the tokens that may be traded.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        #[derive(Deserialize)]
        struct Tokens {
            tokens: Vec<Token>,
        }
        Ok(self.get::<Tokens>("/api/tokens").await?.tokens)
    }

    /// Returns the server's clock.
    pub async fn time(&self) -> Result<Time, Error> {
        self.get("/api/time").await
    }

    /// Returns the chain on which the server trades.
    pub async fn chain(&self) -> Result<Chain, Error> {
        self.get("/api/chain").await
    }

    /// Reads a path that has no method here. It is repeated as reading may be.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        read(&self.get_answer(path).await?.body)
    }

    /// Reads a path whose answer is no JSON.
    pub async fn text(&self, path: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.get_answer(path).await?.body).into_owned())
    }

    /// Posts to a path that has no method here, once, and waits so long for the answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        time: Duration,
    ) -> Result<T, Error> {
        read(&self.http.call(Method::POST, path, Some(&write(body)?), time).await?.body)
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn repeats(&self) -> Repeats {
        Repeats::during(self.repeat_for)
    }

    /// Posts once.
    pub(crate) async fn post_once(&self, path: &str, body: &str) -> Result<Answer, Error> {
        self.http.call(Method::POST, path, Some(body), ANSWER_TIME_MAX).await
    }

    /// Posts what has the same effect however often it is done.
    pub(crate) async fn post_repeatedly<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        let body = write(body)?;
        let mut repeats = self.repeats();
        loop {
            match self.post_once(path, &body).await {
                Ok(answer) => return read(&answer.body),
                Err(error) if repeats.wait(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn get_answer(&self, path: &str) -> Result<Answer, Error> {
        let mut repeats = self.repeats();
        loop {
            match self.http.call(Method::GET, path, None, ANSWER_TIME_MAX).await {
                Ok(answer) => return Ok(answer),
                Err(error) if repeats.wait(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A body that says nothing.
#[derive(Serialize)]
struct Nothing {}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Unexpected(error.to_string()))
}

pub(crate) fn write(body: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(body).map_err(|error| Error::Unexpected(error.to_string()))
}
