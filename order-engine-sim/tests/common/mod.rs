//! A simulator on a controlled clock, with ids that repeat.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Amount, Certainty, ChainView, Clock, Entropy, Fence, Observation, Order, OrderId, OrderRequest,
    PrepareRequest, Route, Runtime, Siblings, SignedTx, StepError, SubmitReport, Token, TxId, TxRef, Verdict,
    best, verdict,
};
use order_engine_sim::{Execution, Rate, SimConfig, Simulator, default_tokens};

/// The start time of every test, in milliseconds since 1970.
pub const START_MS: u64 = 1_767_225_600_000;

/// A clock that starts at a fixed time, follows tokio's time, which tests pause, and can skip time.
#[derive(Debug)]
pub struct SteeredClock {
    started: tokio::time::Instant,
    skipped_ms: AtomicU64,
}

impl SteeredClock {
    pub fn at(start_ms: u64) -> Arc<Self> {
        let skipped_ms = AtomicU64::new(start_ms - START_MS);
        Arc::new(Self { started: tokio::time::Instant::now(), skipped_ms })
    }

    pub fn skip(&self, duration: Duration) {
        self.skipped_ms.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SteeredClock {
    fn now(&self) -> DateTime<Utc> {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        let now_ms = START_MS + elapsed_ms + self.skipped_ms.load(Ordering::SeqCst);
        DateTime::from_timestamp_millis(i64::try_from(now_ms).unwrap()).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// An entropy that counts, so that the same calls give the same transactions.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn next_u128(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A simulator and its clock.
pub struct World {
    pub sim: Simulator,
    pub clock: Arc<SteeredClock>,
}

impl World {
    pub async fn new(config: SimConfig) -> Self {
        Self::starting_at(START_MS, config).await
    }

    /// Returns a world whose clock starts at another time, as after a restart.
    pub async fn starting_at(start_ms: u64, config: SimConfig) -> Self {
        let clock = SteeredClock::at(start_ms);
        let runtime =
            Runtime::tokio().with_clock(clock.clone()).with_entropy(Counter(AtomicU64::new(start_ms)));
        Self { sim: Simulator::open(config, runtime).await.unwrap(), clock }
    }

    pub async fn route(&self, order: &Order) -> Arc<Route> {
        let candidates = self.sim.router().quote(&order.request.quote_request()).await.unwrap();
        Arc::clone(best(&candidates).expect("a pool takes the order"))
    }

    pub async fn prepare(&self, order: &Order, route: &Route, min: Amount) -> Result<SignedTx, StepError> {
        let fence = Fence { epoch: 1, owner: 1 };
        self.sim.venue().prepare(PrepareRequest::new(order, route, min, fence, &LatestNonce)).await
    }

    /// Quotes and signs as the engine does.
    pub async fn signed(&self, order: &Order) -> SignedTx {
        let route = self.route(order).await;
        let min = route.amount_out.less_slippage(order.request.slippage_bps);
        self.prepare(order, &route, min).await.unwrap()
    }

    pub async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.sim.venue().submit(tx).await
    }

    pub async fn observe(&self, id: &TxId) -> Observation {
        self.sim.venue().observe(&[TxRef::by_id(id)]).await.unwrap().remove(0)
    }

    pub async fn executions(&self) -> Vec<Execution> {
        self.sim.flush().await.unwrap();
        self.sim.executions(None)
    }

    pub fn height(&self) -> u64 {
        let view = futures_util::FutureExt::now_or_never(self.sim.venue().view());
        view.expect("a view takes no time").unwrap().processed
    }
}

/// Returns a chain without delays and failures.
pub fn instant() -> SimConfig {
    SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() }
}

/// Returns a chain with delays and without failures.
pub fn reliable() -> SimConfig {
    SimConfig { fail_rate: Rate::NEVER, ..SimConfig::default() }
}

pub fn token(symbol: &str) -> Token {
    default_tokens().into_iter().find(|token| token.symbol == symbol).unwrap()
}

/// Returns an order that sells one SOL for USDC, with a slippage of 0.5 %.
pub fn order(number: u64) -> Order {
    trade(number, ("SOL", "USDC"), 1_000_000_000)
}

pub fn trade(number: u64, (input, output): (&str, &str), amount: u128) -> Order {
    let request = OrderRequest::new("alice", token(input), token(output), Amount::new(amount));
    let at = DateTime::from_timestamp_millis(i64::try_from(START_MS).unwrap()).unwrap();
    Order::accept(OrderId::new(at, u128::from(number) << 64), request, 3, at).0
}

/// Returns whether a node with a complete history reports that it has not found a transaction.
pub const fn is_absent(observation: &Observation) -> bool {
    matches!(observation, Observation::NotFound { searched_through: Some(_), .. })
}

pub fn certainty(observation: &Observation) -> Option<Certainty> {
    match observation {
        Observation::Landed { certainty, .. } | Observation::Reverted { certainty, .. } => Some(*certainty),
        Observation::NotFound { .. } => None,
    }
}

/// Returns the verdict about the only transaction of an attempt, which has no nonce.
pub fn judged(tx: &SignedTx, view: &ChainView, observation: &Observation) -> Verdict {
    verdict(&Siblings::from(tx.clone()), view, None, std::slice::from_ref(observation))
}
