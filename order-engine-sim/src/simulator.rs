//! The simulator: a chain on a clock, with the doors through which an engine uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order_engine_core::{DexRouter, OrderId, Runtime, Venue};
use order_engine_routing::{PoolSet, PoolSource};

use crate::chain::SimChain;
use crate::ledger::Ledger;
use crate::venue::{SimRouter, SimVenue};
use crate::{Execution, SimConfig, SimError};

/// A simulated chain with the exchanges Raydium and Meteora on it.
#[derive(Clone, Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
}

/// What the venue and the router share.
#[derive(Debug)]
pub(crate) struct Inner {
    chain: Mutex<SimChain>,
    pub(crate) ledger: Ledger,
    pub(crate) config: SimConfig,
    pub(crate) runtime: Runtime,
}

impl Simulator {
    /// Starts a chain, or continues the one of the configured ledger.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the ledger cannot be read or is in use.
    #[allow(clippy::unused_async)] // Opening will wait for a remote chain some day.
    pub async fn open(config: SimConfig, runtime: Runtime) -> Result<Self, SimError> {
        config.validate()?;
        let (ledger, executions) = match &config.ledger {
            Some(path) => Ledger::open(path)?,
            None => (Ledger::default(), Vec::new()),
        };
        let chain = SimChain::new(&config, executions, now_ms(&runtime));
        Ok(Self { inner: Arc::new(Inner { chain: Mutex::new(chain), ledger, config, runtime }) })
    }

    /// Where transactions go.
    pub fn venue(&self) -> Arc<dyn Venue> {
        Arc::new(SimVenue::new(Arc::clone(&self.inner)))
    }

    /// Quotes of both exchanges, as of now.
    pub fn router(&self) -> Arc<dyn DexRouter> {
        Arc::new(SimRouter::new(Arc::clone(&self.inner)))
    }

    /// Everything that landed, for one order or for all, in the order of landing.
    pub fn executions(&self, order: Option<OrderId>) -> Vec<Execution> {
        let chain = self.inner.chain();
        let mut executions: Vec<Execution> = chain
            .executions()
            .filter(|execution| order.is_none_or(|id| id == execution.order_id))
            .cloned()
            .collect();
        executions
            .sort_by(|one, other| (one.landed_at_ms, &one.tx_id).cmp(&(other.landed_at_ms, &other.tx_id)));
        executions
    }
}

impl Inner {
    /// The chain, with everything landed that is due.
    ///
    /// What landed is queued for the ledger in the order in which it happened; whoever tells of it
    /// must flush the ledger first.
    pub(crate) fn chain(&self) -> MutexGuard<'_, SimChain> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        for execution in chain.advance(self.now_ms()) {
            self.ledger.record(&execution);
        }
        chain
    }

    pub(crate) fn now_ms(&self) -> u64 {
        now_ms(&self.runtime)
    }

    /// What one step takes.
    pub(crate) async fn step(&self) {
        if !self.config.step_delay.is_zero() {
            self.runtime.clock.sleep(self.config.step_delay).await;
        }
    }
}

impl PoolSource for Inner {
    fn snapshot(&self) -> Arc<PoolSet> {
        let now_ms = self.now_ms();
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).pools(now_ms)
    }
}

fn now_ms(runtime: &Runtime) -> u64 {
    u64::try_from(runtime.now().timestamp_millis()).unwrap_or(0)
}
