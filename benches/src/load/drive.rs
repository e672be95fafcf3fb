//! Submits orders to a target, and measures the latencies of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use order_engine_core::OrderId;
use tokio::task::JoinSet;

use crate::error::Result;
use crate::pace::Pace;

/// The engine or the server that is measured.
pub(crate) trait Target: Send + Sync + 'static {
    /// The state of a client between its orders.
    type Client: Send;

    /// Connects another client.
    fn connect(&self) -> impl Future<Output = Result<Self::Client>> + Send;

    /// Submits an order, and waits until it is accepted.
    fn submit(&self, client: &mut Self::Client) -> impl Future<Output = Result<OrderId>> + Send;

    /// Waits until an order has ended, and checks the delivery of its events. Returns `None` if orders have
    /// no subscribers.
    fn follow(&self, id: OrderId) -> impl Future<Output = Result<Option<Followed>>> + Send;

    /// Waits until this many orders have ended since the target was started.
    fn wait_for_ends(&self, orders: usize) -> impl Future<Output = Result<()>> + Send;

    /// Returns the times from the creation to the end of the last orders, as the target has stored them.
    /// There are none if the orders have subscribers, which measure more precisely.
    fn stored_lives(&self, orders: usize) -> impl Future<Output = Result<Vec<Duration>>> + Send;
}

/// The deliveries to the subscriber of one order.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The time at which the end of the order was known.
    pub(crate) ended: Instant,
    /// The age of each event at its delivery, for events that were delivered live.
    pub(crate) delivered: Vec<Duration>,
}

/// The measurements of a run.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// The time from the first order's due time to the last one's acceptance.
    pub(crate) accepting: Duration,
    /// The time from the first order's due time to the last one's end.
    pub(crate) completing: Duration,
    pub(crate) ids: Vec<OrderId>,
    pub(crate) accept: Vec<Duration>,
    pub(crate) delivery: Vec<Duration>,
    pub(crate) life: Vec<Duration>,
}

/// The times of one order: when it was due, when it was accepted, and its end if it had a subscriber.
struct Sample {
    id: OrderId,
    due: Instant,
    accepted: Instant,
    followed: Option<Followed>,
}

/// Submits orders from this many clients, and waits until all have ended. `earlier` orders have ended before.
///
/// # Errors
/// If an order is not accepted or does not end, or if its events are not delivered as guaranteed.
pub(crate) async fn drive<T: Target>(
    target: &Arc<T>,
    pace: Pace,
    clients: usize,
    earlier: usize,
) -> Result<Driven> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let client = target.connect().await?;
        running.spawn(run_client(Arc::clone(target), pace.clone(), client));
    }
    let mut samples = Vec::new();
    while let Some(ended) = running.join_next().await {
        samples.extend(ended??);
    }
    target.wait_for_ends(earlier + samples.len()).await?;
    // A subscriber knows the last end more precisely.
    let ends = samples.iter().map(|sample| Some(sample.followed.as_ref()?.ended));
    let last_end = ends.max().flatten().unwrap_or_else(Instant::now);
    let mut driven = Driven { completing: last_end - pace.begun(), ..Driven::default() };
    for Sample { id, due, accepted, followed } in samples {
        driven.ids.push(id);
        driven.accepting = driven.accepting.max(accepted - pace.begun());
        driven.accept.push(accepted - due);
        if let Some(followed) = followed {
            driven.life.push(followed.ended.saturating_duration_since(due));
            driven.delivery.extend(followed.delivered);
        }
    }
    Ok(driven)
}

/// Runs one client. In closed loop it follows each order to its end, in open loop it goes on at once.
async fn run_client<T: Target>(target: Arc<T>, pace: Pace, mut client: T::Client) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut following = JoinSet::new();
    while let Some(due) = pace.next().await {
        let id = target.submit(&mut client).await?;
        let accepted = Instant::now();
        if pace.is_open() {
            let target = Arc::clone(&target);
            following.spawn(async move {
                let followed = target.follow(id).await?;
                Result::Ok(Sample { id, due, accepted, followed })
            });
        } else {
            let followed = target.follow(id).await?;
            samples.push(Sample { id, due, accepted, followed });
        }
    }
    while let Some(sample) = following.join_next().await {
        samples.push(sample??);
    }
    Ok(samples)
}
