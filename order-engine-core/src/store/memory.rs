use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, ClientOrderId, Clock, Creation, Durability,
    EventRecord, Fence, Guard, Lane, Lease, NewOrder, Order, OrderId, OrderQuery, OrderStore, Refused,
    Release, StoreError, StoreErrorKind, Then, TokioClock, UserId,
};

/// A store that lives and dies with the process.
///
/// It is made for tests and for hosts that can afford to forget, and it is the reference for
/// authors of backends: each method does under one lock what a backend does in one transaction.
/// Clones share their data, so two engines over clones behave like two processes over one
/// database.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    data: Arc<Mutex<Data>>,
}

impl MemoryStore {
    /// An empty store on the process's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(TokioClock::new()))
    }

    /// An empty store whose leases and due times are measured on this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, data: Arc::default() }
    }

    /// The data. The lock is never held across an await.
    fn data(&self) -> Result<MutexGuard<'_, Data>, StoreError> {
        // A panic inside a write may have left half of it behind, which must not be served.
        self.data.lock().map_err(|_| {
            StoreError::new(StoreErrorKind::Internal, "a write into the memory store panicked before")
        })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl OrderStore for MemoryStore {
    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    async fn create_many(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, Refused>>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        Ok(orders.iter().map(|new| data.create(new, now)).collect())
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        let claims =
            data.due_orders(request, now).into_iter().filter_map(|id| data.lease(id, request, now)).collect();
        Ok(Claims { claims, next_due_in: data.next_due_in(request.lane, now) })
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        Ok(leases.iter().map(|lease| data.renew(lease, after(now, duration))).collect())
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        for release in releases {
            data.release(release, now);
        }
        Ok(())
    }

    async fn append_many(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        Ok(appends.iter().map(|append| data.append(append, now)).collect())
    }

    async fn load(&self, ids: &[OrderId]) -> Result<Vec<Option<Order>>, StoreError> {
        let data = self.data()?;
        Ok(ids.iter().map(|id| data.orders.get(id).map(|row| Order::clone(&row.order))).collect())
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let data = self.data()?;
        let events = data.orders.get(&id).map_or(&[][..], |row| &row.events);
        // Event n stands at index n - 1, so the events after n begin at index n.
        let first = usize::try_from(after).unwrap_or(usize::MAX).min(events.len());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(events[first..].iter().take(limit).map(|event| EventRecord::clone(event)).collect())
    }

    async fn heads(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        let data = self.data()?;
        Ok(ids.iter().map(|id| data.orders.get(id).map(|row| row.order.seq)).collect())
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Order>, StoreError> {
        let data = self.data()?;
        let newest_first = data.orders.values().rev().filter(|row| query.matches(&row.order));
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        Ok(newest_first.take(limit).map(|row| Order::clone(&row.order)).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.data().map(drop)
    }
}

#[derive(Default)]
struct Data {
    /// By id, which is by the time of acceptance.
    orders: BTreeMap<OrderId, Row>,
    keys: HashMap<(UserId, ClientOrderId), OrderId>,
    queue: Queue,
}

struct Row {
    order: Arc<Order>,
    events: Vec<Arc<EventRecord>>,
    /// The order's place in the queue; none once it is terminal.
    due: Option<DueKey>,
    epoch: u64,
    /// The owner half of the lease; none while nobody holds one.
    owner: Option<u128>,
    fruitless_claims: u32,
}

impl Row {
    fn is_held_under(&self, fence: Fence) -> bool {
        self.epoch == fence.epoch && self.owner == Some(fence.owner)
    }
}

impl Data {
    fn create(&mut self, new: &NewOrder, now: DateTime<Utc>) -> Result<Creation, Refused> {
        new.check()?;
        let order = &new.order;
        let key = order.request.client_order_id.clone().map(|key| (order.request.user_id.clone(), key));
        let id = key.as_ref().and_then(|key| self.keys.get(key)).unwrap_or(&order.id);
        if let Some(existing) = self.orders.get(id) {
            return Ok(Creation::Existing(Box::new(Order::clone(&existing.order))));
        }
        if let Some(key) = key {
            self.keys.insert(key, order.id);
        }
        let mut row = Row {
            order: Arc::clone(order),
            events: vec![Arc::clone(&new.event)],
            due: None,
            epoch: 0,
            owner: None,
            fruitless_claims: 0,
        };
        self.queue.set(&mut row, Some(now));
        self.orders.insert(order.id, row);
        Ok(Creation::Created)
    }

    /// The orders that a claim may take, those first that became due first.
    fn due_orders(&self, request: &ClaimRequest, now: DateTime<Utc>) -> Vec<OrderId> {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        match &request.scope {
            ClaimScope::Any => self.queue.due(request.lane, now).take(limit).collect(),
            ClaimScope::Ids(ids) => {
                let keys = ids.iter().filter_map(|id| self.orders.get(id)?.due);
                let due: BTreeSet<_> =
                    keys.filter(|key| key.lane == request.lane && key.due_at <= now).collect();
                due.iter().take(limit).filter_map(|key| self.queue.orders.get(key).copied()).collect()
            }
        }
    }

    /// Leases an order. A lease's expiry is the order's next due time: nothing else has to watch
    /// for dead workers.
    fn lease(&mut self, id: OrderId, request: &ClaimRequest, now: DateTime<Utc>) -> Option<Claim> {
        let row = self.orders.get_mut(&id)?;
        row.epoch += 1;
        row.owner = Some(request.owner);
        row.fruitless_claims = row.fruitless_claims.saturating_add(1);
        self.queue.set(row, Some(after(now, request.duration)));
        let fence = Fence { epoch: row.epoch, owner: request.owner };
        Some(Claim {
            lease: Lease { order_id: id, fence },
            fruitless_claims: row.fruitless_claims,
            order: Ok(Arc::clone(&row.order)),
        })
    }

    fn next_due_in(&self, lane: Lane, now: DateTime<Utc>) -> Option<Duration> {
        let due_at = self.queue.next(lane)?;
        Some((due_at - now).to_std().unwrap_or(Duration::ZERO))
    }

    fn renew(&mut self, lease: &Lease, until: DateTime<Utc>) -> bool {
        let Some(row) = held(&mut self.orders, lease) else { return false };
        self.queue.set(row, Some(until));
        true
    }

    fn release(&mut self, release: &Release, now: DateTime<Utc>) {
        let Some(row) = held(&mut self.orders, &release.lease) else { return };
        row.owner = None;
        if !release.fruitless {
            row.fruitless_claims = row.fruitless_claims.saturating_sub(1);
        }
        self.queue.set(row, Some(after(now, release.due_in)));
    }

    fn append(&mut self, append: &Append, now: DateTime<Utc>) -> Result<(), AppendError> {
        append.check()?;
        let row = self.orders.get_mut(&append.order.id).ok_or(AppendError::NotFound)?;
        let is_fenced = match append.guard {
            Guard::Fence(fence) if !row.is_held_under(fence) => return Err(AppendError::StaleFence),
            Guard::Fence(_) => true,
            Guard::Revision { .. } => false,
        };
        if row.order.seq != append.expected_seq {
            return Err(AppendError::StaleRevision { actual: row.order.seq });
        }
        row.order = Arc::clone(&append.order);
        row.events.extend(append.events.iter().cloned());
        if is_fenced {
            row.fruitless_claims = 0;
        }
        let mut due_at = row.due.map(|due| due.due_at);
        if append.guard == (Guard::Revision { revoke: true }) && row.owner.is_some() {
            row.epoch += 1;
            row.owner = None;
            due_at = Some(now);
        }
        if let Then::Release { due_in } = append.then {
            row.owner = None;
            due_at = Some(after(now, due_in));
        }
        if row.order.state.lane().is_none() {
            row.owner = None;
        }
        self.queue.set(row, due_at);
        Ok(())
    }
}

/// The row that this lease still holds.
fn held<'a>(orders: &'a mut BTreeMap<OrderId, Row>, lease: &Lease) -> Option<&'a mut Row> {
    orders.get_mut(&lease.order_id).filter(|row| row.is_held_under(lease.fence))
}

/// The orders that are or will be due, in the order in which claims take them. What a claim costs
/// depends on how many orders it takes, not on how many are stored.
#[derive(Default)]
struct Queue {
    orders: BTreeMap<DueKey, OrderId>,
    ticket: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DueKey {
    lane: Lane,
    due_at: DateTime<Utc>,
    /// Orders due at one moment are taken in the order in which they were scheduled.
    ticket: u64,
}

impl Queue {
    /// Moves an order to its place; a terminal one has none, whatever is asked.
    fn set(&mut self, row: &mut Row, due_at: Option<DateTime<Utc>>) {
        if let Some(key) = row.due.take() {
            self.orders.remove(&key);
        }
        let Some((lane, due_at)) = row.order.state.lane().zip(due_at) else { return };
        self.ticket += 1;
        let key = DueKey { lane, due_at, ticket: self.ticket };
        self.orders.insert(key, row.order.id);
        row.due = Some(key);
    }

    fn due(&self, lane: Lane, now: DateTime<Utc>) -> impl Iterator<Item = OrderId> {
        self.lane(lane).take_while(move |(key, _)| key.due_at <= now).map(|(_, id)| *id)
    }

    fn next(&self, lane: Lane) -> Option<DateTime<Utc>> {
        self.lane(lane).next().map(|(key, _)| key.due_at)
    }

    fn lane(&self, lane: Lane) -> impl Iterator<Item = (&DueKey, &OrderId)> {
        let first = DueKey { lane, due_at: DateTime::<Utc>::MIN_UTC, ticket: 0 };
        let last = DueKey { lane, due_at: DateTime::<Utc>::MAX_UTC, ticket: u64::MAX };
        self.orders.range(first..=last)
    }
}

/// A moment so long after `now`; the end of time if that is beyond it.
fn after(now: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
