//! The clients of a run, which submit orders, cancel them and follow them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use super::hazard::Hazard;
use super::hosts::Hosts;
use super::plan::{Killer, PlannedOrder, USER};
use super::shared::Shared;
use super::tracked::{Follower, Tracked};
use crate::delivery::subscription::SubscribeError;
use crate::domain::ids::OrderId;
use crate::domain::order::{Deadline, OrderRequest};
use crate::engine::Engine;
use crate::engine::cancel::Cancellation;
use crate::engine::submit::{Submission, SubmitError};
use crate::ports::runtime::{Clock, Spawner};
use crate::testing::dice::Dice;
use crate::testing::executor::SimulatedProcess;
use crate::testing::invariants::Violation;

/// The mean pause of a client after a failure.
const REST: Duration = Duration::from_millis(500);
/// The number of subscribers of each order.
const SUBSCRIBERS: u64 = 2;

/// Why a connection of a subscriber ended.
enum Disconnect {
    /// The order has ended.
    OrderEnded,
    /// The subscriber has to connect again.
    Reconnect,
    /// The order does not exist.
    UnknownOrder,
}

/// A client of one order.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) hosts: Arc<Hosts>,
    pub(super) shared: Arc<Shared>,
    pub(super) tasks: SimulatedProcess,
    pub(super) dice: Arc<Dice>,
    pub(super) order: usize,
}

impl Client {
    fn with_dice(&self, purpose: u64) -> Self {
        Self { dice: Arc::new(self.dice.fork(purpose)), ..self.clone() }
    }

    fn update(&self, change: impl FnOnce(&mut Tracked)) {
        change(&mut self.shared.tracked()[self.order]);
    }

    async fn rest(&self) {
        let ms = u64::try_from(REST.as_millis()).unwrap_or(1);
        self.shared.world.sleep(Duration::from_millis(self.dice.between(1, 2 * ms))).await;
    }

    /// Starts the tasks that submit a planned order.
    pub(super) fn begin(&self, plan: PlannedOrder) {
        let mut request = self.shared.site.request(&self.dice);
        request.user_id = plan.killer.map_or(USER, Killer::user).into();
        request.client_order_id = plan.is_named.then(|| format!("name-{}", self.order).as_str().into());
        let ttl_ms = plan.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        request.deadline = ttl_ms.map(|ms| Deadline::After(Duration::from_millis(ms)));
        for number in 0..=u64::from(plan.is_doubled) {
            let (client, request) = (self.with_dice(number), request.clone());
            self.update(|order| order.busy += 1);
            let task = async move {
                client.shared.world.sleep(plan.at).await;
                if number > 0 {
                    client.rest().await;
                }
                client.submit(&plan, request).await;
                client.update(|order| order.busy -= 1);
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
                // Without a client order id, another submission might create another order.
                Some(Err(_)) | None if !plan.is_named => return,
                Some(Err(_)) | None => self.rest().await,
            }
        }
    }

    fn accepted(&self, plan: &PlannedOrder, id: OrderId) {
        let known = self.shared.tracked()[self.order].id.replace(id);
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
            self.update(|order| order.busy += 1);
            let task = async move {
                client.shared.world.sleep(after).await;
                client.cancel(id).await;
                client.update(|order| order.busy -= 1);
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
                    return self.update(|order| order.cancelled.push(answer));
                }
                Some(Ok(None)) => {
                    return self.shared.violate(Violation::of(id, "an accepted order exists", "unknown"));
                }
                Some(Err(_)) | None => self.rest().await,
            }
        }
    }

    /// Follows an order to its end, through one process after another.
    async fn follow(&self, number: u64, id: OrderId) {
        let comes_late = number > 0 && self.shared.exploration.has(Hazard::Subscribers);
        if comes_late {
            self.shared.world.sleep(Duration::from_millis(self.dice.between(0, 20_000))).await;
        }
        let after = if comes_late { self.dice.between(0, 3) } else { 0 };
        let follower = Arc::new(Follower::new(after));
        self.update(|order| order.followers.push(Arc::clone(&follower)));
        loop {
            match self.connect(id, &follower).await {
                Some(Disconnect::OrderEnded) => {
                    follower.state().has_ended = true;
                    return;
                }
                Some(Disconnect::UnknownOrder) => {
                    return self.shared.violate(Violation::of(id, "an accepted order exists", "unknown"));
                }
                Some(Disconnect::Reconnect) | None => self.rest().await,
            }
        }
    }

    /// Follows an order in one process until it ends, the process dies or the subscriber leaves.
    async fn connect(&self, id: OrderId, follower: &Arc<Follower>) -> Option<Disconnect> {
        let (process, engine) = self.hosts.any(&self.dice)?;
        let leaves = self.shared.exploration.has(Hazard::Subscribers) && self.dice.happens(500_000);
        let leaves = leaves && !self.shared.is_healed();
        let stay = if leaves { Duration::from_millis(self.dice.between(0, 20_000)) } else { Duration::MAX };
        let (reply, disconnect) = oneshot::channel();
        let (shared, follower) = (Arc::clone(&self.shared), Arc::clone(follower));
        let connection = async move {
            let served = serve(&shared, engine, id, &follower).boxed();
            let _ = match select(served, shared.world.sleep(stay)).await {
                Either::Left((disconnect, _)) => reply.send(disconnect),
                Either::Right(_) => reply.send(Disconnect::Reconnect),
            };
        };
        process.spawn("connection", connection.boxed());
        disconnect.await.ok()
    }
}

async fn serve(shared: &Shared, engine: Engine, id: OrderId, follower: &Follower) -> Disconnect {
    let mut subscription = match engine.subscribe(id, follower.cursor()).await {
        Ok(Some(subscription)) => subscription,
        Ok(None) => return Disconnect::UnknownOrder,
        Err(_) => return Disconnect::Reconnect,
    };
    // A connection does not keep the engine alive.
    drop(engine);
    loop {
        match subscription.next().await {
            Some(Ok(event)) => follower.state().events.push(event),
            Some(Err(SubscribeError::Store(_))) => shared.world.sleep(REST).await,
            Some(Err(_)) => return Disconnect::Reconnect,
            None => return Disconnect::OrderEnded,
        }
    }
}
