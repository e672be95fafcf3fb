//! What an operator, or a host's own timer, asks of an engine: its health, and to forget.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::domain::ids::OrderId;
use crate::domain::state::step::Lane;
use crate::ports::order_store::Durability;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::{Backlog, PurgeRequest};
use crate::resilience::supervisor::PartHealth;

/// For how long after its end an order with a client order id is kept at least: its owner may
/// still repeat the request, and must not get a second order for it.
pub const NAME_RETENTION: Duration = Duration::from_hours(24);

/// How many orders a step of a purge looks at: it holds the store up no longer than a write does.
const PURGE_BATCH: u32 = 500;
/// How many debts a sink's forgetting takes at a time.
const FORGET_BATCH: u32 = 1_000;

/// How an engine is.
#[derive(Debug)]
pub struct Health {
    /// What an accepted order survives.
    pub durability: Durability,
    /// How much waits to be done; or why orders cannot be accepted now.
    pub store: Result<Backlog, StoreError>,
    /// Whether every source of news from other processes is connected. If not, subscribers are
    /// served by looking, which is slower.
    pub sources_connected: bool,
    /// Whether it takes nothing new because it shuts down.
    pub is_stopping: bool,
    /// The tasks and ports that have panicked since the engine was built. Each panic was caught, and its
    /// task began again; it is a defect all the same.
    pub panicked: Vec<PartHealth>,
}

impl Engine {
    /// How the engine is. It writes, because only a write shows that writing works.
    pub async fn health(&self) -> Health {
        let inner = self.inner();
        let store = match inner.store.check().await {
            Ok(()) => inner.store.backlog().await,
            Err(error) => Err(error),
        };
        Health {
            durability: inner.store.durability(),
            store,
            sources_connected: inner.sources.iter().all(|source| source.is_connected()),
            is_stopping: inner.is_stopping(),
            panicked: inner.supervisor.health(),
        }
    }

    /// Forgets orders that ended at least so long ago: how many. One with a client order id is kept
    /// for [`NAME_RETENTION`] at least, and one of which a durable sink is still owed something is
    /// kept, too.
    ///
    /// It goes through all orders in small steps between which other writes have their turn, and is
    /// safe to drop.
    ///
    /// # Errors
    /// If the store cannot answer. What was forgotten until then is gone.
    pub async fn purge(&self, older_than: Duration) -> Result<u64, StoreError> {
        let inner = self.inner();
        let now = inner.now();
        let before = |age: Duration| {
            let age = chrono::TimeDelta::from_std(age).unwrap_or(chrono::TimeDelta::MAX);
            now.checked_sub_signed(age).unwrap_or(chrono::DateTime::<chrono::Utc>::MIN_UTC)
        };
        let mut request = PurgeRequest {
            ended_before: before(older_than),
            named_ended_before: before(older_than.max(NAME_RETENTION)),
            after: None,
            limit: PURGE_BATCH,
        };
        let mut forgotten = 0;
        loop {
            let purged = inner.store.purge(&request).await?;
            forgotten += purged.orders;
            // An order accepted later than this cannot have ended before it.
            match purged.next.filter(|next| next.accepted_at() < request.ended_before) {
                Some(next) => request.after = Some(next),
                None => return Ok(forgotten),
            }
        }
    }

    /// At most `limit` orders that are due for a worker, those that became due first, first. A host
    /// that runs the handler on a queue of its own sends them there again, whatever the queue lost.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn due_orders(&self, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.inner().store.due_orders(Lane::Execute, limit).await
    }

    /// Makes an order due now that waits for a time: a backoff is cut short, and one that could not
    /// be read is tried again. Any other order is left alone.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        let inner = self.inner();
        inner.store.make_due(id).await?;
        inner.wake(Lane::Execute);
        inner.wake(Lane::Observe);
        Ok(())
    }

    /// Ends the registration of a durable sink that is used no more, and forgets what it is owed: of
    /// how many orders. An engine that still has the sink registers it again when it is built.
    ///
    /// # Errors
    /// If the store cannot answer. Asking again goes on where it ended.
    pub async fn unregister_sink(&self, name: &str) -> Result<u64, StoreError> {
        let store = Arc::clone(&self.inner().store);
        let mut forgotten = 0;
        loop {
            let step = store.unregister_sink(name, FORGET_BATCH).await?;
            forgotten += step;
            if step < u64::from(FORGET_BATCH) {
                return Ok(forgotten);
            }
        }
    }
}
