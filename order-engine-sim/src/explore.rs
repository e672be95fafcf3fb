//! Explores the engine on the simulated chain, seed by seed: see [`order_engine_core::testing::explore`].
//!
//! This module needs the feature `explore`, and so does the program of the same name.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::explore::{self, Exploration, Hazard, Report, Site, Surroundings};
use order_engine_core::testing::{Dice, InterceptedStore, Outage};
use order_engine_core::{
    Amount, DexRouter, MemoryStore, OrderId, OrderRequest, OrderStore, StoreError, Venue,
};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::config::{NonceConfig, NonceKind, SimConfig};
use crate::error::SimError;
use crate::faults::FaultConfig;
use crate::rate::Rate;
use crate::simulator::Simulator;
use crate::tokens::default_tokens;

/// The store of a run.
#[derive(Clone, Debug)]
pub enum StoreKind {
    /// A store in memory.
    Memory,
    /// A SQLite file in a temporary folder. Its calls run on this runtime, while virtual time stands still.
    Sqlite(Handle),
}

/// The reason why a site could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The chain could not be opened.
    #[error(transparent)]
    Chain(#[from] SimError),
    /// The temporary folder could not be created.
    #[error("no temporary folder")]
    Folder(#[from] std::io::Error),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs one seed on the simulated chain.
///
/// # Errors
/// If the site cannot be opened.
pub fn run(exploration: &Exploration, store: &StoreKind) -> Result<Report, SiteError> {
    explore::explore(exploration, |surroundings| ChainSite::open(surroundings, store))
}

/// Runs one seed on a simulated chain whose transactions have nonces of this kind.
///
/// # Errors
/// If the site cannot be opened.
pub fn run_with_nonces(
    exploration: &Exploration,
    store: &StoreKind,
    kind: NonceKind,
) -> Result<Report, SiteError> {
    explore::explore(exploration, |surroundings| ChainSite::open_with_nonces(surroundings, store, kind))
}

/// A site with the simulated chain and a store.
#[derive(Debug)]
pub struct ChainSite {
    simulator: Simulator,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(MemoryStore),
    Sqlite { runtime: Handle, options: SqliteOptions, _folder: TempDir },
}

impl ChainSite {
    /// Opens a chain, whose faults follow from the seed, and a store.
    ///
    /// # Errors
    /// If the chain or the store cannot be opened.
    pub fn open(surroundings: &Surroundings, store: &StoreKind) -> Result<Self, SiteError> {
        Self::open_chain(surroundings, store, None)
    }

    /// Opens a chain whose transactions have nonces of this kind, with faults that follow from the seed, and a store.
    ///
    /// # Errors
    /// If the chain or the store cannot be opened.
    pub fn open_with_nonces(
        surroundings: &Surroundings,
        store: &StoreKind,
        kind: NonceKind,
    ) -> Result<Self, SiteError> {
        let dice = Dice::new(surroundings.exploration.seed).fork(101);
        // An opaque value serves one order at a time, until it is final.
        let accounts_max = if kind == NonceKind::Opaque { 12 } else { 3 };
        let nonces = NonceConfig {
            kind,
            accounts: 1 + dice.choose(accounts_max),
            block_capacity: 1 + dice.choose(8),
            ..NonceConfig::default()
        };
        Self::open_chain(surroundings, store, Some((nonces, &dice)))
    }

    fn open_chain(
        surroundings: &Surroundings,
        store: &StoreKind,
        nonces: Option<(NonceConfig, &Dice)>,
    ) -> Result<Self, SiteError> {
        let dice = Dice::new(surroundings.exploration.seed).fork(100);
        let steps_ms = [0, 50, 150, 400];
        let config = SimConfig {
            seed: dice.roll(),
            step_delay: Duration::from_millis(steps_ms[dice.choose(steps_ms.len())]),
            nonces: nonces.map(|(nonces, _)| nonces),
            ..SimConfig::default()
        };
        let opening = Simulator::open(config, surroundings.runtime.clone());
        let opened = surroundings.executor.block_on(&surroundings.world, opening);
        let simulator = opened.ok_or_else(|| SimError::Config("the chain never opened".into()))??;
        if surroundings.exploration.has(Hazard::Chain) {
            let faults = faults(&dice);
            simulator.set_faults(nonces.map_or(faults, |(_, dice)| with_nonce_faults(faults, dice)));
        }
        let clock = Arc::new(surroundings.store_clock.clone());
        let store = match store {
            StoreKind::Memory => Store::Memory(MemoryStore::with_clock(clock)),
            StoreKind::Sqlite(runtime) => {
                let folder = tempfile::tempdir()?;
                let options =
                    SqliteOptions::new(folder.path().join("orders.db")).with_clock(clock).with_readers(1);
                runtime.block_on(SqliteStore::open(options.clone()))?;
                Store::Sqlite { runtime: runtime.clone(), options, _folder: folder }
            }
        };
        Ok(Self { simulator, store })
    }
}

/// Returns all faults of the network and the chain, each with a rate of up to 16 %.
fn faults(dice: &Dice) -> FaultConfig {
    let rate = || Rate::from_ppm(u32::try_from(dice.between(0, 160_000)).unwrap_or(0)).unwrap_or(Rate::NEVER);
    FaultConfig {
        lost_request_rate: rate(),
        lost_reply_rate: rate(),
        drop_rate: rate(),
        duplicate_rate: rate(),
        delay_rate: rate(),
        delay_slots: 200,
        late_rate: rate(),
        reorg_rate: rate(),
        history_lag_rate: rate(),
        history_lag_slots: 20,
        history_prune_rate: rate(),
        history_kept_slots: 40,
        node_lag_rate: rate(),
        node_lag_slots: dice.between(1, 200),
        ..FaultConfig::default()
    }
}

/// Returns the same faults with those of accounts and blocks. Most of them may strike in every slot, so their rates are
/// lower.
fn with_nonce_faults(faults: FaultConfig, dice: &Dice) -> FaultConfig {
    let rate = |most_ppm| {
        Rate::from_ppm(u32::try_from(dice.between(0, most_ppm)).unwrap_or(0)).unwrap_or(Rate::NEVER)
    };
    FaultConfig {
        delay_slots: 30,
        reorg_rate: rate(40_000),
        reorg_slots: dice.between(1, 31),
        reorg_loss_rate: rate(500_000),
        foreign_rate: rate(5_000),
        eviction_rate: rate(50_000),
        fee_spike_rate: rate(160_000),
        fee_spike_slots: dice.between(1, 100),
        fee_spike_percent: 100 + u32::try_from(dice.between(0, 700)).unwrap_or(0),
        ..faults
    }
}

impl Site for ChainSite {
    fn open_store(&self) -> Arc<dyn OrderStore> {
        match &self.store {
            Store::Memory(store) => Arc::new(store.clone()),
            Store::Sqlite { runtime, options, .. } => {
                let store = runtime.block_on(SqliteStore::open(options.clone()));
                #[allow(clippy::expect_used)] // `open` has already opened the same file.
                let store = Arc::new(store.expect("the file opens again"));
                Arc::new(InterceptedStore::new(store, Arc::new(Outage::new())).blocking_on(runtime.clone()))
            }
        }
    }

    fn venue(&self, _process: usize) -> Arc<dyn Venue> {
        self.simulator.venue()
    }

    fn router(&self, _process: usize) -> Arc<dyn DexRouter> {
        self.simulator.router()
    }

    fn request(&self, dice: &Dice) -> OrderRequest {
        let tokens = default_tokens();
        let input = dice.choose(tokens.len());
        let output = (input + 1 + dice.choose(tokens.len() - 1)) % tokens.len();
        OrderRequest::new(
            "somebody",
            tokens[input].clone(),
            tokens[output].clone(),
            Amount::new(u128::from(dice.between(1_000_000, 1_000_000_000))),
        )
        .with_slippage_bps(u16::try_from(dice.between(10, 500)).unwrap_or(500))
    }

    fn heal(&self) {
        self.simulator.set_faults(FaultConfig::default());
    }

    fn executions(&self, order: OrderId) -> usize {
        self.simulator.executions(Some(order)).iter().filter(|execution| execution.executed).count()
    }
}
