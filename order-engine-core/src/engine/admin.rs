//! What an operator or a host's own timer needs of an engine: its health, its due orders, and deletion.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::domain::ids::{OrderId, VenueName};
use crate::domain::state::step::Lane;
use crate::domain::transaction::ChainView;
use crate::execution::venues::KnownVenue;
use crate::ports::order_store::Durability;
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::{Backlog, PurgeRequest};
use crate::resilience::supervisor::PartHealth;

/// How long an order with a client order id is kept after its end, at least: its owner may still repeat the
/// request, and must not get a second order for it.
pub const NAME_RETENTION: Duration = Duration::from_hours(24);

/// How many orders one step of a purge examines: a step keeps other writes waiting no longer than a write does.
const PURGE_BATCH: u32 = 500;
/// How many outbox entries of an unregistered sink are deleted at a time.
const UNREGISTER_BATCH: u32 = 1_000;

/// The health of an engine.
#[derive(Debug)]
#[non_exhaustive]
pub struct Health {
    /// What an accepted order survives.
    pub durability: Durability,
    /// What waits to be done, or why orders cannot be accepted now.
    pub store: Result<Backlog, StoreError>,
    /// How many workers of this process take orders now. A process that only accepts orders has none, and
    /// neither has one that executes tasks of a queue of its own.
    pub workers: usize,
    /// Whether every source of hints from other processes is connected. If not, subscribers are served by
    /// polling, which is slower.
    pub sources_connected: bool,
    /// Whether the engine accepts nothing new because it shuts down.
    pub is_stopping: bool,
    /// The venues of the engine, in the order of their names.
    pub venues: Vec<VenueHealth>,
    /// The venues that orders have waited for since the engine was built, and this process does not have.
    pub missing_venues: Vec<VenueName>,
    /// The tasks and ports that have panicked since the engine was built. Each panic was caught, and its
    /// task began again; it is a defect all the same.
    pub panicked: Vec<PartHealth>,
}

/// The health of a venue, as this process has met it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VenueHealth {
    /// Its name.
    pub name: VenueName,
    /// Whether it builds transactions, as far as is known: it did not fail to answer again and again.
    pub is_building: bool,
    /// Whether it answers about transactions, as far as is known.
    pub is_observing: bool,
    /// How far its chain had come when it last said so; nothing before it was first asked.
    pub view: Option<ChainView>,
}

impl VenueHealth {
    fn of(venue: &KnownVenue) -> Self {
        Self {
            name: venue.name.clone(),
            is_building: !venue.building.is_open(&()),
            is_observing: !venue.observing.is_open(&()),
            view: venue.view(),
        }
    }
}

impl Health {
    /// Whether orders are due and no worker of this process takes them. Where this process is to execute
    /// orders, its workers have ended or never began; where it only accepts them, others may be busy.
    pub fn is_stalled(&self) -> bool {
        self.workers == 0 && self.store.as_ref().is_ok_and(|backlog| backlog.execute.due > 0)
    }
}

impl Engine {
    /// Returns what an accepted order survives.
    pub fn durability(&self) -> Durability {
        self.context().store.durability()
    }

    /// Checks whether orders can be accepted now.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.check", context.store.check()).await
    }

    /// Returns the health of the engine. It writes to the store, because only a write shows that writing works.
    pub async fn health(&self) -> Health {
        let context = self.context();
        let store = match context.store.check().await {
            Ok(()) => context.store.backlog().await,
            Err(error) => Err(error),
        };
        Health {
            durability: context.store.durability(),
            store,
            workers: context.workers.running(),
            sources_connected: self.inner.sources.iter().all(|source| source.is_connected()),
            is_stopping: context.tasks.shutdown.is_draining(),
            venues: context.venues.all().map(|venue| VenueHealth::of(venue)).collect(),
            missing_venues: context.venues.missing(),
            panicked: context.tasks.supervisor.health(),
        }
    }

    /// Returns what waits to be done, without writing to the store.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.context().store.backlog().await
    }

    /// Deletes orders that ended at least this long ago, and returns how many. An order with a client order
    /// id is kept for [`NAME_RETENTION`] at least, and an order with events that a durable sink does not
    /// have yet is kept until it has them.
    ///
    /// It goes through all orders in small steps between which other writes have their turn, and is
    /// safe to drop.
    ///
    /// # Errors
    /// If the store does not answer. What was deleted until then stays deleted.
    pub async fn purge(&self, older_than: Duration) -> Result<u64, StoreError> {
        let context = self.context();
        let now = context.now();
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
        let mut deleted = 0;
        loop {
            let purged = context.store.purge(&request).await?;
            deleted += purged.orders;
            // An order accepted later than this cannot have ended before it.
            match purged.next.filter(|next| next.accepted_at() < request.ended_before) {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        self.inner.publisher.hub.forget();
        Ok(deleted)
    }

    /// Returns at most `limit` orders that are due for a worker, those first that became due first. A host
    /// with a queue of its own sends them there again, whatever the queue has lost.
    pub async fn due_orders(&self, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.context().store.due_orders(Lane::Execute, limit).await
    }

    /// Makes a waiting order due now: it ends a backoff, and has an order that could not be decoded tried
    /// again. It leaves an order alone that is not waiting.
    pub async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        let context = self.context();
        context.store.make_due(id).await?;
        context.wakers.wake_all();
        Ok(())
    }

    /// Unregisters a durable sink that is used no more and deletes its outbox entries. Returns the number of
    /// orders that it had entries of. An engine that still has the sink registers it again when it is built.
    ///
    /// # Errors
    /// If the store does not answer. Calling again goes on where it ended.
    pub async fn unregister_sink(&self, name: &str) -> Result<u64, StoreError> {
        let store = Arc::clone(&self.context().store);
        let mut deleted = 0;
        loop {
            let step = store.unregister_sink(name, UNREGISTER_BATCH).await?;
            deleted += step;
            if step < u64::from(UNREGISTER_BATCH) {
                return Ok(deleted);
            }
        }
    }
}
