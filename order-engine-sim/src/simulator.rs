//! The simulator: a chain with its venue and its router.

use std::sync::Arc;

use order_engine_core::{AccountId, AccountNonce, DexRouter, OrderId, Runtime, Venue};

use crate::chain::SimChain;
use crate::config::SimConfig;
use crate::error::SimError;
use crate::execution::Execution;
use crate::faults::FaultConfig;
use crate::ledger::Ledger;
use crate::nonce_use::NonceUse;
use crate::pace::Pace;
use crate::pools::Pools;
use crate::router::SimRouter;
use crate::venue::SimVenue;
use crate::wallets::Wallets;

/// A simulated chain with its pools, its router and its venue.
///
/// Clones share one chain, which lives as long as the last clone, router or venue.
#[derive(Clone, Debug)]
pub struct Simulator {
    chain: Arc<SimChain>,
    venue: Arc<SimVenue>,
    router: Arc<SimRouter>,
}

impl Simulator {
    /// Starts a chain, or continues the one that its ledger records.
    ///
    /// # Errors
    /// If the configuration is not valid, or the ledger is in use, unreadable, corrupt or of a chain of the other kind.
    pub async fn open(config: SimConfig, runtime: Runtime) -> Result<Self, SimError> {
        config.validate()?;
        let pools = Arc::new(Pools::new(&config)?);
        let (ledger, earlier) = match config.ledger.clone() {
            Some(path) => Ledger::load(path).await?,
            None => (Ledger::volatile(), Vec::new()),
        };
        if earlier.iter().any(|line| line.has_nonce() != config.nonces.is_some()) {
            let reason = "the ledger is of a chain whose transactions are bounded otherwise";
            return Err(SimError::Config(reason.to_owned()));
        }
        let pace = Pace { clock: Arc::clone(&runtime.clock), step_delay: config.step_delay };
        let chain = Arc::new(SimChain::open(&config, runtime, Arc::clone(&pools), ledger, earlier));
        let router = Arc::new(SimRouter::new(Arc::clone(&chain), pace.clone()));
        let venue = Arc::new(SimVenue { chain: Arc::clone(&chain), pools, pace });
        Ok(Self { chain, venue, router })
    }

    /// Returns the venue on the chain.
    pub fn venue(&self) -> Arc<dyn Venue> {
        Arc::clone(&self.venue) as Arc<dyn Venue>
    }

    /// Returns the router over the chain's pools.
    pub fn router(&self) -> Arc<dyn DexRouter> {
        Arc::clone(&self.router) as Arc<dyn DexRouter>
    }

    #[cfg(feature = "rpc-server")]
    pub(crate) fn chain(&self) -> &SimChain {
        &self.chain
    }

    /// Replaces the faults from now on. Transactions in flight keep their plans.
    pub fn set_faults(&self, faults: FaultConfig) {
        self.chain.set_faults(faults);
    }

    /// Returns the executions of one order or of all orders, in the order of landing. With a ledger, it
    /// returns only those that are already on the disk; on a chain with nonces only those that are final.
    pub fn executions(&self, order: Option<OrderId>) -> Vec<Execution> {
        self.chain.executions(order)
    }

    /// Returns the accounts of the venue; none if transactions have no nonces.
    pub fn accounts(&self) -> Vec<AccountId> {
        self.chain.wallets().map(Wallets::accounts).unwrap_or_default().to_vec()
    }

    /// Returns which transactions used the nonces of all accounts for good, by account and nonce. With a ledger, it
    /// returns only those that are already on the disk. [`audit`](crate::audit()) checks them.
    pub fn nonce_uses(&self) -> Vec<NonceUse> {
        self.chain.nonce_uses()
    }

    /// Returns the accounts and nonces of the venue's transactions that the nodes keep for a block, by account and
    /// nonce. If some wait although no fault holds them up, their accounts have a gap.
    pub fn waiting(&self) -> Vec<AccountNonce> {
        self.chain.waiting()
    }

    /// Lands the due transactions, and waits until the ledger holds all landings; on a chain with nonces those that are
    /// final.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub async fn flush(&self) -> Result<(), SimError> {
        self.chain.flush().await
    }
}
