//! Sends orders to what is measured, and takes the time of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use order_engine_core::OrderId;
use tokio::task::JoinSet;

use crate::Result;
use crate::pace::Pace;

/// What is measured.
pub(crate) trait Target: Send + Sync + 'static {
    /// What a caller holds between orders.
    type Client: Send;

    /// Lets another caller in.
    fn client(&self) -> impl Future<Output = Result<Self::Client>> + Send;

    /// Sends an order, and waits until it is accepted.
    fn place(&self, client: &mut Self::Client) -> impl Future<Output = Result<OrderId>> + Send;

    /// Waits until an order has ended, and checks what is told of it; nothing where nobody watches.
    fn follow(&self, id: OrderId) -> impl Future<Output = Result<Option<Followed>>> + Send;

    /// Waits until so many orders have ended since the target was started.
    fn drained(&self, orders: usize) -> impl Future<Output = Result<()>> + Send;

    /// How long the last orders took from their acceptance to their end, after the fact, where nobody
    /// watched them.
    fn lives(&self, orders: usize) -> impl Future<Output = Result<Vec<Duration>>> + Send;
}

/// What was told of one order.
#[derive(Debug)]
pub(crate) struct Followed {
    /// When its end was known.
    pub(crate) ended: Instant,
    /// How old each event was when it came, for those that were told live.
    pub(crate) delivered: Vec<Duration>,
}

/// What a run measured.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// From the first order's moment to the last one's acceptance.
    pub(crate) accepting: Duration,
    /// From the first order's moment to the last one's end.
    pub(crate) completing: Duration,
    pub(crate) ids: Vec<OrderId>,
    pub(crate) accept: Vec<Duration>,
    pub(crate) delivery: Vec<Duration>,
    pub(crate) life: Vec<Duration>,
}

/// One order: its moment, its acceptance, and its end if that was watched.
struct Sample {
    id: OrderId,
    due: Instant,
    accepted: Instant,
    followed: Option<Followed>,
}

/// Sends orders from so many clients, until all have ended. `earlier` orders have ended before.
///
/// # Errors
/// If an order was not accepted, did not come to its end, or was not told of as it should have been.
pub(crate) async fn drive<T: Target>(
    target: &Arc<T>,
    pace: Pace,
    clients: usize,
    earlier: usize,
) -> Result<Driven> {
    let mut callers = JoinSet::new();
    for _ in 0..clients {
        let client = target.client().await?;
        callers.spawn(call(Arc::clone(target), pace.clone(), client));
    }
    let mut samples = Vec::new();
    while let Some(caller) = callers.join_next().await {
        samples.extend(caller??);
    }
    target.drained(earlier + samples.len()).await?;
    // Where somebody watched, the last end is known better than by asking.
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

/// One caller: in closed loop it sees each order through, in open loop it goes on at once.
async fn call<T: Target>(target: Arc<T>, pace: Pace, mut client: T::Client) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut following = JoinSet::new();
    while let Some(due) = pace.next().await {
        let id = target.place(&mut client).await?;
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
