//! Those who submit orders, cancel them, and follow them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use super::Hazard;
use super::hosts::Hosts;
use super::plan::PlannedOrder;
use super::world::Shared;
use crate::delivery::subscription::SubscribeError;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::order::{Deadline, OrderRequest};
use crate::engine::Engine;
use crate::engine::cancel::Cancellation;
use crate::engine::submit::{Submission, SubmitError};
use crate::ports::runtime::{Clock, Spawner};
use crate::testing::invariants::Violation;
use crate::testing::{Dice, SimulatedProcess};

/// How long a client rests after a failure.
const REST: Duration = Duration::from_millis(500);
/// How many subscribers an order has.
const SUBSCRIBERS: u64 = 2;

/// What its clients know of an order.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Its id, once somebody was told.
    pub(super) id: Option<OrderId>,
    pub(super) is_killer: bool,
    /// What those who cancelled it were told.
    pub(super) cancelled: Vec<Cancellation>,
    pub(super) followers: Vec<Arc<Mutex<Followed>>>,
    /// How many clients are not done with it.
    pub(super) busy: usize,
}

/// What a subscriber was given.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) after: u64,
    pub(super) given: Vec<Arc<EventRecord>>,
    pub(super) has_ended: bool,
}

impl Followed {
    fn cursor(&self) -> u64 {
        self.after + self.given.len() as u64
    }
}

/// Why a connection of a subscriber ended.
enum Goodbye {
    /// The order has ended.
    End,
    /// It is to come back.
    Later,
    /// There is no such order.
    Unknown,
}

/// A client and what it needs.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) hosts: Arc<Hosts>,
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: SimulatedProcess,
    pub(super) dice: Arc<Dice>,
    pub(super) order: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    fn with_dice(&self, purpose: u64) -> Self {
        Self { dice: Arc::new(self.dice.fork(purpose)), ..self.clone() }
    }

    fn note(&self, change: impl FnOnce(&mut Tracked)) {
        change(&mut lock(&self.shared.orders)[self.order]);
    }

    async fn rest(&self) {
        let ms = u64::try_from(REST.as_millis()).unwrap_or(1);
        self.shared.world.sleep(Duration::from_millis(self.dice.between(1, 2 * ms))).await;
    }

    /// Begins to do what is planned for an order.
    pub(super) fn begin(&self, plan: PlannedOrder) {
        self.note(|order| order.is_killer = plan.killer.is_some());
        let mut request = self.shared.site.request(&self.dice);
        request.user_id = plan.killer.map_or("alice", super::plan::Killer::user).into();
        request.client_order_id = plan.is_named.then(|| format!("name-{}", self.order).as_str().into());
        let ttl_ms = plan.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        request.deadline = ttl_ms.map(Deadline::AfterMs);
        for number in 0..=u64::from(plan.is_doubled) {
            let (client, request) = (self.with_dice(number), request.clone());
            self.note(|order| order.busy += 1);
            let task = async move {
                client.shared.world.sleep(plan.at).await;
                if number > 0 {
                    client.rest().await;
                }
                client.submit(&plan, request).await;
                client.note(|order| order.busy -= 1);
            };
            self.tasks.spawn("submitter", task.boxed());
        }
    }

    async fn submit(&self, plan: &PlannedOrder, request: OrderRequest) {
        loop {
            let request = request.clone();
            let ask = |engine: Engine| async move { engine.submit(request).await }.boxed();
            match self.hosts.ask(&self.dice, ask).await {
                Some(Ok(Submission::Created(order) | Submission::Existing(order))) => {
                    self.accepted(plan, order.id);
                    return;
                }
                Some(Ok(Submission::Conflict(order))) => {
                    let violation = Violation::of(order.id, "the same request is no conflict", "a conflict");
                    return self.shared.violate(violation);
                }
                Some(Err(error @ (SubmitError::Invalid(_) | SubmitError::Rejected(_)))) => {
                    let violation = Violation::new("a good request is accepted", error.to_string());
                    return self.shared.violate(violation);
                }
                // Without a name, asking again might make another order of it.
                Some(Err(_)) | None if !plan.is_named => return,
                Some(Err(_)) | None => self.rest().await,
            }
        }
    }

    fn accepted(&self, plan: &PlannedOrder, id: OrderId) {
        let known = lock(&self.shared.orders)[self.order].id.replace(id);
        self.shared.trace.note(format_args!("order {id} is accepted as number {}", self.order));
        if let Some(known) = known {
            if known != id {
                let found = format!("it is {known}, too");
                self.shared.violate(Violation::of(id, "a name is one order", found));
            }
            return;
        }
        for (number, after) in plan.cancels.iter().flatten().enumerate() {
            let (client, after) = (self.with_dice(10 + number as u64), *after);
            self.note(|order| order.busy += 1);
            let task = async move {
                client.shared.world.sleep(after).await;
                client.cancel(id).await;
                client.note(|order| order.busy -= 1);
            };
            self.tasks.spawn("canceller", task.boxed());
        }
        for number in 0..SUBSCRIBERS {
            let client = self.with_dice(20 + number);
            self.tasks.spawn("subscriber", async move { client.follow(number, id).await }.boxed());
        }
    }

    async fn cancel(&self, id: OrderId) {
        loop {
            let ask = |engine: Engine| async move { engine.cancel(id).await }.boxed();
            match self.hosts.ask(&self.dice, ask).await {
                Some(Ok(Some(answer))) => {
                    let word = match &answer {
                        Cancellation::Cancelled(_) => "cancelled",
                        Cancellation::Pending(_) => "pending",
                        Cancellation::TooLate(_) => "too late",
                    };
                    self.shared.trace.note(format_args!("a cancel of {id} is answered: {word}"));
                    return self.note(|order| order.cancelled.push(answer));
                }
                Some(Ok(None)) => {
                    return self.shared.violate(Violation::of(id, "an accepted order exists", "unknown"));
                }
                Some(Err(_)) | None => self.rest().await,
            }
        }
    }

    /// Follows an order to its end, wherever it is served.
    async fn follow(&self, number: u64, id: OrderId) {
        let comes_late = number > 0 && self.shared.exploration.has(Hazard::Subscribers);
        if comes_late {
            self.shared.world.sleep(Duration::from_millis(self.dice.between(0, 20_000))).await;
        }
        let after = if comes_late { self.dice.between(0, 3) } else { 0 };
        let followed = Arc::new(Mutex::new(Followed { after, given: Vec::new(), has_ended: false }));
        self.note(|order| order.followers.push(Arc::clone(&followed)));
        loop {
            match self.connect(id, &followed).await {
                Some(Goodbye::End) => {
                    lock(&followed).has_ended = true;
                    return;
                }
                Some(Goodbye::Unknown) => {
                    return self.shared.violate(Violation::of(id, "an accepted order exists", "unknown"));
                }
                Some(Goodbye::Later) | None => self.rest().await,
            }
        }
    }

    /// Follows an order in one process, until it ends, the process dies or the subscriber leaves.
    async fn connect(&self, id: OrderId, followed: &Arc<Mutex<Followed>>) -> Option<Goodbye> {
        let (process, engine) = self.hosts.any(&self.dice)?;
        let leaves = self.shared.exploration.has(Hazard::Subscribers) && self.dice.happens(500_000);
        let leaves = leaves && !self.shared.is_healed();
        let stay = if leaves { Duration::from_millis(self.dice.between(0, 20_000)) } else { Duration::MAX };
        let (reply, goodbye) = oneshot::channel();
        let (shared, followed) = (Arc::clone(&self.shared), Arc::clone(followed));
        let connection = async move {
            let served = serve(&shared, engine, id, &followed).boxed();
            let _ = match select(served, shared.world.sleep(stay)).await {
                Either::Left((goodbye, _)) => reply.send(goodbye),
                Either::Right(_) => reply.send(Goodbye::Later),
            };
        };
        process.spawn("connection", connection.boxed());
        goodbye.await.ok()
    }
}

async fn serve(shared: &Shared, engine: Engine, id: OrderId, followed: &Mutex<Followed>) -> Goodbye {
    let after = lock(followed).cursor();
    let mut subscription = match engine.subscribe(id, after).await {
        Ok(Some(subscription)) => subscription,
        Ok(None) => return Goodbye::Unknown,
        Err(_) => return Goodbye::Later,
    };
    // A connection keeps no engine alive.
    drop(engine);
    loop {
        match subscription.next().await {
            Some(Ok(event)) => lock(followed).given.push(event),
            Some(Err(SubscribeError::Store(_))) => shared.world.sleep(REST).await,
            Some(Err(_)) => return Goodbye::Later,
            None => return Goodbye::End,
        }
    }
}
