//! A store in memory.

mod feed;
mod nonces;
mod outbox;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::event::EventRecord;
use crate::domain::ids::{ClientOrderId, OrderId, UserId};
use crate::domain::order::{Order, OrderUpdate};
use crate::domain::state::step::Lane;
use crate::planted::planted;
use crate::ports::controls::{Activity, Controls, Pause, PauseRequest, PauseScope};
use crate::ports::feed::{EventFeed, FeedCursor, FeedItem, FeedPage, FeedRequest, FeedScope};
use crate::ports::into_port::IntoPort;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::order_store::lease::{
    Claim, ClaimRequest, ClaimScope, Claims, Fence, Lease, Release, ReleaseReason,
};
use crate::ports::order_store::query::{
    Backlog, LaneBacklog, OrderQuery, PurgeRequest, Purged, Sort, UndecodableOrder,
};
use crate::ports::order_store::write::{Append, AppendError, CreateError, Creation, Guard, NewOrder, Then};
use crate::ports::order_store::{Durability, OrderStore};
use crate::ports::outbox::{Deliveries, DeliveryAck, DeliveryRequest, Outbox};
use crate::ports::runtime::{Clock, TokioClock};
use feed::FeedLog;
use nonces::Nonces;
use outbox::OutboxEntries;
use queue::{DueKey, Queue};

/// A store that lives and dies with the process.
///
/// It is made for tests and for hosts that may lose their orders, and it is the reference for authors of
/// backends: each method does under one lock what a backend does in one transaction. Clones share their data,
/// so two engines over clones behave like two processes over one database.
///
/// ```
/// use order_engine_core::testing::{self, ScriptedRouter, ScriptedVenue};
/// use order_engine_core::{Engine, MemoryStore, Status, Submission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let engine = |store: &MemoryStore| {
///     let (router, venue) = (ScriptedRouter::new(), ScriptedVenue::new());
///     Engine::builder().store(store.clone()).router(router).venue(venue).build()
/// };
/// // One process accepts orders, the other one executes them.
/// let (api, worker) = (engine(&store).await?, engine(&store).await?);
/// tokio::spawn(worker.run(1));
/// let Submission::Created(order) = api.submit(testing::request()).await? else { unreachable!() };
/// let ended = worker.wait(order.id).await?.expect("both have the same orders");
/// assert_eq!(ended.status(), Status::Confirmed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    data: Arc<Mutex<Data>>,
}

impl MemoryStore {
    /// Returns an empty store on the process's clock.
    pub fn new() -> Self {
        Self::with_clock(TokioClock::new())
    }

    /// Returns an empty store whose leases and due times are measured on this clock.
    pub fn with_clock(clock: impl IntoPort<dyn Clock>) -> Self {
        Self { clock: clock.into_port(), data: Arc::default() }
    }

    /// Returns the data. The lock is never held across an await.
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

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.clock.now())
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        Ok(orders.iter().map(|new| data.create(new, now)).collect())
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        let claims =
            data.due_orders(request, now).into_iter().filter_map(|id| data.lease(id, request, now)).collect();
        Ok(Claims { claims, as_of: now, next_due_in: data.next_due_in(request.lane, now) })
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

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        data.make_due(id, now);
        Ok(())
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        Ok(appends.iter().map(|append| data.append(append, now)).collect())
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let data = self.data()?;
        Ok(data.orders.get(&id).map(|row| Order::clone(&row.order)))
    }

    async fn load_named(&self, user: &UserId, name: &ClientOrderId) -> Result<Option<Order>, StoreError> {
        let data = self.data()?;
        let id = data.keys.get(&(user.clone(), name.clone()));
        Ok(id.and_then(|id| data.orders.get(id)).map(|row| Order::clone(&row.order)))
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let data = self.data()?;
        let events = data.orders.get(&id).map_or(&[][..], |row| &row.events);
        // Event n stands at index n - 1, so the events after n begin at index n.
        let first = usize::try_from(after).unwrap_or(usize::MAX).min(events.len());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(events[first..].iter().take(limit).map(|event| EventRecord::clone(event)).collect())
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        let data = self.data()?;
        Ok(ids.iter().map(|id| data.orders.get(id).map(|row| row.order.seq)).collect())
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        let data = self.data()?;
        let mut rows = data.orders.values();
        let mut orders = Vec::new();
        while orders.len() < query.limit as usize
            && let Some(row) = match query.sort {
                Sort::NewestFirst => rows.next_back(),
                Sort::OldestFirst => rows.next(),
            }
        {
            if query.matches(&row.order) {
                orders.push(Ok(Order::clone(&row.order)));
            }
        }
        Ok(orders)
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        let (data, now) = (self.data()?, self.clock.now());
        Ok(data.due.due(&lane, now).take(limit as usize).collect())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let (data, now) = (self.data()?, self.clock.now());
        Ok(data.backlog(now))
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        Ok(self.data()?.purge(request))
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.data().map(drop)
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.data()?.outbox.register(sinks);
        Ok(())
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        Ok(self.data()?.outbox.unregister(sink, limit as usize))
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        let Data { orders, outbox, .. } = &mut *data;
        Ok(outbox.claim(request, now, |id| orders.get(&id).map(|row| (row.order.head(), &row.events[..]))))
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        let Data { orders, outbox, .. } = &mut *data;
        let last_seq = |id| orders.get(&id).map_or(0, |row: &Row| row.order.seq);
        Ok(acks.iter().map(|ack| outbox.ack(ack, last_seq(ack.lease.order_id), now)).collect())
    }
}

#[async_trait]
impl EventFeed for MemoryStore {
    async fn feed_end(&self) -> Result<FeedCursor, StoreError> {
        Ok(self.data()?.feed.end())
    }

    async fn read_feed(&self, request: &FeedRequest) -> Result<FeedPage, StoreError> {
        Ok(self.data()?.read_feed(request))
    }
}

#[async_trait]
impl Controls for MemoryStore {
    async fn pause(&self, request: &PauseRequest) -> Result<(), StoreError> {
        let (mut data, now) = (self.data()?, self.clock.now());
        data.pause(request, now);
        Ok(())
    }

    async fn resume(&self, activity: Activity, scope: &PauseScope) -> Result<bool, StoreError> {
        Ok(self.data()?.pauses.remove(&(activity, scope.clone())).is_some())
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        Ok(self.data()?.pauses.values().cloned().collect())
    }
}

#[derive(Default)]
struct Data {
    /// By id, and so by the time of acceptance.
    orders: BTreeMap<OrderId, Row>,
    keys: HashMap<(UserId, ClientOrderId), OrderId>,
    /// By the times at which orders become due.
    due: Queue<Lane, OrderId>,
    /// The same orders by their turns.
    turns: Queue<Lane, OrderId>,
    outbox: OutboxEntries,
    feed: FeedLog,
    pauses: BTreeMap<(Activity, PauseScope), Pause>,
    nonces: Nonces,
}

struct Row {
    order: Arc<Order>,
    events: Vec<Arc<EventRecord>>,
    /// The events' positions in the feed.
    positions: Vec<u64>,
    /// The order's place in the queue; none once it is terminal.
    due: Option<DueKey<Lane>>,
    /// Its place among the turns.
    turn: Option<DueKey<Lane>>,
    /// Before this its turn does not come.
    handicap_until: DateTime<Utc>,
    epoch: u64,
    /// The owner half of the lease; none without a lease.
    owner: Option<u128>,
    claims_without_progress: u32,
}

impl Row {
    fn is_held_under(&self, fence: Fence) -> bool {
        let is_owner = self.owner == Some(fence.owner) || planted!(EpochWithoutToken);
        planted!(NoFence) || (self.epoch == fence.epoch && is_owner)
    }
}

impl Data {
    fn create(&mut self, new: &NewOrder, now: DateTime<Utc>) -> Result<Creation, CreateError> {
        new.check()?;
        let order = &new.order;
        let key = order.request.client_order_id.clone().map(|key| (order.request.user_id.clone(), key));
        let id = key.as_ref().and_then(|key| self.keys.get(key)).unwrap_or(&order.id);
        if let Some(existing) = self.orders.get(id).filter(|_| !planted!(NamesAreNotUnique)) {
            return Ok(Creation::Existing(Box::new(Order::clone(&existing.order))));
        }
        if let Some(key) = key {
            self.keys.insert(key, order.id);
        }
        let mut row = Row {
            order: Arc::clone(order),
            events: vec![Arc::clone(&new.event)],
            positions: vec![self.feed.add(order.id, 1)],
            due: None,
            turn: None,
            handicap_until: after(now, new.handicap),
            epoch: new.lease.map_or(0, |lease| lease.fence().epoch),
            owner: new.lease.map(|lease| lease.owner),
            claims_without_progress: new.lease.is_some().into(),
        };
        let due_at = match new.lease {
            Some(lease) => after(now, lease.duration),
            None => order.request.not_before.map_or(now, |not_before| not_before.max(now)),
        };
        schedule(&mut self.due, &mut self.turns, &mut row, Some(due_at));
        self.orders.insert(order.id, row);
        self.outbox.add(order.id, 0, now);
        Ok(Creation::Created)
    }

    /// Returns the orders that a claim may take: those whose turn has come, and then the others.
    fn due_orders(&self, request: &ClaimRequest, now: DateTime<Utc>) -> Vec<OrderId> {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        match &request.scope {
            ClaimScope::Any => {
                let is_due = |id: &OrderId| {
                    self.orders.get(id).and_then(|row| row.due).is_some_and(|due| due.due_at <= now)
                };
                let mut taken: Vec<OrderId> =
                    self.turns.due(&request.lane, now).filter(is_due).take(limit).collect();
                let others = self.due.due(&request.lane, now).filter(|id| !taken.contains(id));
                let others: Vec<OrderId> = others.take(limit - taken.len()).collect();
                taken.extend(others);
                taken
            }
            ClaimScope::Order(id) => {
                let due = self.orders.get(id).and_then(|row| row.due);
                let is_due = due.is_some_and(|due| due.group == request.lane && due.due_at <= now);
                Some(*id).filter(|_| is_due && limit > 0).into_iter().collect()
            }
        }
    }

    /// Leases an order. The expiry of the lease is the order's next due time, so nothing else has to look for
    /// dead workers.
    fn lease(&mut self, id: OrderId, request: &ClaimRequest, now: DateTime<Utc>) -> Option<Claim> {
        let row = self.orders.get_mut(&id)?;
        row.epoch += u64::from(!planted!(ClaimKeepsEpoch));
        row.owner = Some(request.owner);
        row.claims_without_progress = row.claims_without_progress.saturating_add(1);
        if !planted!(ClaimLeavesDue) {
            schedule(&mut self.due, &mut self.turns, row, Some(after(now, request.duration)));
        }
        let fence = Fence { epoch: row.epoch, owner: request.owner };
        Some(Claim {
            lease: Lease { order_id: id, fence },
            claims_without_progress: row.claims_without_progress,
            order: Ok(Arc::clone(&row.order)),
        })
    }

    fn next_due_in(&self, lane: Lane, now: DateTime<Utc>) -> Option<Duration> {
        Some(until(now, self.due.first(&lane)?))
    }

    fn renew(&mut self, lease: &Lease, until: DateTime<Utc>) -> bool {
        let Some(row) = held(&mut self.orders, lease) else { return false };
        schedule(&mut self.due, &mut self.turns, row, Some(until));
        true
    }

    fn release(&mut self, release: &Release, now: DateTime<Utc>) {
        let Some(row) = held(&mut self.orders, &release.lease) else { return };
        row.owner = None;
        if release.reason == ReleaseReason::Yielded {
            row.claims_without_progress = row.claims_without_progress.saturating_sub(1);
        }
        schedule(&mut self.due, &mut self.turns, row, Some(after(now, release.due_in)));
    }

    fn make_due(&mut self, id: OrderId, now: DateTime<Utc>) {
        let waiting = self.orders.get_mut(&id).filter(|row| row.owner.is_none());
        if let Some(row) = waiting.filter(|row| row.due.is_some_and(|due| due.due_at > now)) {
            schedule(&mut self.due, &mut self.turns, row, Some(now));
        }
    }

    fn append(&mut self, append: &Append, now: DateTime<Utc>) -> Result<(), AppendError> {
        append.check()?;
        let row = self.orders.get_mut(&append.order.id).ok_or(AppendError::NotFound)?;
        let is_fenced = match append.guard {
            Guard::Fence(fence) if !row.is_held_under(fence) => {
                if let Some(reservation) = append.reservation.as_ref().filter(|_| planted!(RefusedReserves)) {
                    let _ = self.nonces.reserve(reservation, append.order.id);
                }
                return Err(AppendError::StaleFence);
            }
            Guard::Fence(_) => true,
            Guard::Revision { .. } => false,
        };
        if row.order.seq != append.expected_seq && !planted!(NoRevision) {
            return Err(AppendError::StaleRevision { actual: row.order.seq });
        }
        if append.not_after.is_some_and(|limit| now > limit) && !planted!(LimitIsIgnored) {
            return Err(AppendError::TooLate);
        }
        if let Some(reservation) = &append.reservation {
            self.nonces.reserve(reservation, append.order.id)?;
        }
        row.order = Arc::clone(&append.order);
        row.events.extend(append.events.iter().cloned());
        row.positions.extend(append.events.iter().map(|event| self.feed.add(event.order_id, event.seq)));
        if is_fenced {
            row.claims_without_progress = 0;
        }
        let mut due_at = row.due.map(|due| due.due_at);
        let revokes = append.guard == (Guard::Revision { revoke: true }) && !planted!(CancelLeavesLease);
        if revokes && row.owner.is_some() {
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
        schedule(&mut self.due, &mut self.turns, row, due_at);
        if !planted!(AppendSkipsOutbox) {
            self.outbox.add(append.order.id, append.expected_seq, now);
        }
        Ok(())
    }

    fn backlog(&self, now: DateTime<Utc>) -> Backlog {
        let needs_attention = |row: &&Row| row.order.state.attention().is_some();
        Backlog {
            execute: self.due.backlog(Lane::Execute, now),
            observe: self.due.backlog(Lane::Observe, now),
            attention: self.orders.values().filter(needs_attention).count() as u64,
            sinks: self.outbox.backlog(now),
        }
    }

    fn purge(&mut self, request: &PurgeRequest) -> Purged {
        let first = request.after.map_or(Bound::Unbounded, Bound::Excluded);
        let seen: Vec<OrderId> = self
            .orders
            .range((first, Bound::Unbounded))
            .take(request.limit as usize)
            .map(|(id, _)| *id)
            .collect();
        let orders = seen.iter().filter(|id| self.purge_one(**id, request)).count() as u64;
        let is_over = seen.len() < request.limit as usize;
        Purged { orders, next: seen.last().copied().filter(|_| !is_over) }
    }

    fn purge_one(&mut self, id: OrderId, request: &PurgeRequest) -> bool {
        if !self.orders.get(&id).is_some_and(|row| request.covers(&row.order)) || self.outbox.has_any(id) {
            return false;
        }
        let Some(Row { order, positions, .. }) = self.orders.remove(&id) else { return false };
        self.nonces.forget(id);
        for position in positions {
            self.feed.remove(position);
        }
        if let Some(key) = &order.request.client_order_id {
            self.keys.remove(&(order.request.user_id.clone(), key.clone()));
        }
        true
    }

    fn read_feed(&self, request: &FeedRequest) -> FeedPage {
        let mut entries = self.feed.after(request.after).filter_map(|(cursor, entry)| {
            let row = self.orders.get(&entry.order_id)?;
            let is_in_scope = match &request.scope {
                FeedScope::All => true,
                FeedScope::User(user) => row.order.request.user_id == *user,
            };
            let index = usize::try_from(entry.seq - 1).ok().filter(|_| is_in_scope)?;
            let update = OrderUpdate::new(row.order.head(), Arc::clone(row.events.get(index)?));
            Some(FeedItem { cursor, update: Ok(update) })
        });
        let items: Vec<FeedItem> = entries.by_ref().take(request.limit as usize).collect();
        let is_last = entries.next().is_none();
        let last = items.last().map_or(request.after, |item| item.cursor);
        let next = if is_last { last.max(self.feed.end()) } else { last };
        FeedPage { items, next, is_last }
    }

    fn pause(&mut self, request: &PauseRequest, now: DateTime<Utc>) {
        let PauseRequest { activity, scope, reason } = request.clone();
        let kept = reason.chars().take(PauseRequest::REASON_MAX_CHARS).collect();
        let pause = self.pauses.entry((activity, scope.clone())).or_insert_with(|| Pause {
            activity,
            scope,
            reason: String::new(),
            since: now,
        });
        pause.reason = kept;
    }
}

impl Queue<Lane, OrderId> {
    fn backlog(&self, lane: Lane, now: DateTime<Utc>) -> LaneBacklog {
        LaneBacklog {
            orders: self.group(&lane).count() as u64,
            due: self.due(&lane, now).count() as u64,
            due_for: self.first(&lane).filter(|due_at| *due_at <= now).map(|due_at| until(due_at, now)),
        }
    }
}

/// Moves an order to its places by due time and by turn; a terminal one has none.
fn schedule(
    due: &mut Queue<Lane, OrderId>,
    turns: &mut Queue<Lane, OrderId>,
    row: &mut Row,
    due_at: Option<DateTime<Utc>>,
) {
    let Row { order, handicap_until, .. } = row;
    let (id, place) = (order.id, order.state.lane().zip(due_at));
    let head_start = TimeDelta::from_std(order.request.priority.head_start()).unwrap_or_default();
    let turn = place.map(|(lane, due_at)| (lane, due_at.max(*handicap_until) - head_start));
    due.set(&mut row.due, id, place);
    turns.set(&mut row.turn, id, turn);
}

/// Returns the row that this lease still holds.
fn held<'a>(orders: &'a mut BTreeMap<OrderId, Row>, lease: &Lease) -> Option<&'a mut Row> {
    orders.get_mut(&lease.order_id).filter(|row| row.is_held_under(lease.fence))
}

/// Returns the moment this long after `now`; the end of time if it is beyond that.
fn after(now: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns how long it is from one moment to another; nothing if that has passed.
fn until(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or(Duration::ZERO)
}
