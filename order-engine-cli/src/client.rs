//! The client of the server, with documents as the server sends them: what people read and what `--json` writes is made of these.

use std::time::Duration;

use order_engine_client::{Client as Inner, OrderEvents, OrderForm, Placed, Settings};
use serde_json::Value;

use crate::failure::Failure;

pub(crate) use order_engine_client::segment;

/// How long the server may take to answer what is posted.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The same where it goes through all orders.
const WALK_TIME_MAX: Duration = Duration::from_hours(1);

/// A client of one server.
pub(crate) struct Client(Inner);

impl Client {
    /// Returns a client that repeats nothing: a script is told at once, and knows what to do by the exit code.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        Ok(Self(Inner::new(&settings.with_repeat_for(Duration::ZERO))?))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.0.get(path).await?)
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        Ok(self.0.text(path).await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.0.post(path, body, ANSWER_TIME_MAX).await?)
    }

    /// Posts what takes the server as long as it has orders.
    pub(crate) async fn post_long(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.0.post(path, body, WALK_TIME_MAX).await?)
    }

    /// Places an order once, and for so long repeats a request of which nobody says what became.
    pub(crate) async fn place(&self, form: &OrderForm, time: Duration) -> Result<Placed, Failure> {
        Ok(self.0.repeating_for(time).place(form).await?)
    }

    pub(crate) async fn follow(&self, id: &str, after: u64) -> Result<OrderEvents, Failure> {
        Ok(self.0.follow(id, after).await?)
    }
}
