//! A whole engine in a bad world, from a seed: several processes over one store and one venue, on clocks
//! that differ; orders, cancels and subscribers; and everything that can go wrong. Then the world heals,
//! and what was promised is checked.
//!
//! [`explore`] runs one seed. It takes milliseconds for minutes of virtual time, needs no runtime, and is
//! the same every time. What it runs on is a [`Site`]: a host brings its own store, venue and router.
//!
//! ```
//! use std::sync::Arc;
//!
//! use order_engine_core::testing::explore::{Exploration, Site, explore};
//! use order_engine_core::testing::{Dice, ScriptedRouter, ScriptedVenue, request};
//! use order_engine_core::{DexRouter, MemoryStore, OrderId, OrderRequest, OrderStore, Venue};
//!
//! /// A host's own venue would stand here.
//! struct Scripted {
//!     store: MemoryStore,
//!     venue: Arc<ScriptedVenue>,
//! }
//!
//! impl Site for Scripted {
//!     fn open_store(&self) -> Arc<dyn OrderStore> {
//!         Arc::new(self.store.clone())
//!     }
//!     fn venue(&self, _process: usize) -> Arc<dyn Venue> {
//!         self.venue.clone()
//!     }
//!     fn router(&self, _process: usize) -> Arc<dyn DexRouter> {
//!         Arc::new(ScriptedRouter::new())
//!     }
//!     fn request(&self, _: &Dice) -> OrderRequest {
//!         request()
//!     }
//!     fn heal(&self) {}
//!     fn executions(&self, order: OrderId) -> usize {
//!         self.venue.executions(order)
//!     }
//! }
//!
//! for seed in 0..2 {
//!     let report = explore(&Exploration::new(seed), |surroundings| {
//!         let store = MemoryStore::with_clock(Arc::new(surroundings.store_clock.clone()));
//!         Ok::<_, std::convert::Infallible>(Scripted { store, venue: Arc::default() })
//!     })?;
//!     assert_eq!(report.violations, []);
//! }
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod clients;
mod gossip;
mod hosts;
mod plan;
mod site;
mod spy;
mod verdicts;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use site::{Site, Surroundings};

use super::invariants::Violation;
use world::World;

/// One run to make.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// Everything that chance decides follows from this number.
    pub seed: u64,
    /// How many orders are submitted.
    pub orders: usize,
    /// How many processes there are.
    pub processes: usize,
    /// For how long things go wrong.
    pub trouble: Duration,
    /// For how long the run lasts at least.
    pub at_least: Duration,
    /// For how long it may take from then on until every order has ended.
    pub healing: Duration,
    /// What does not go wrong.
    pub without: BTreeSet<Hazard>,
    /// Whether the report has the trace in words.
    pub keeps_trace: bool,
}

impl Exploration {
    /// Six minutes of a seed, four of them with everything that can go wrong.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            orders: 30,
            processes: 3,
            trouble: Duration::from_mins(4),
            at_least: Duration::from_mins(6),
            healing: Duration::from_hours(2),
            without: BTreeSet::new(),
            keeps_trace: false,
        }
    }

    /// Whether something may go wrong.
    pub fn has(&self, hazard: Hazard) -> bool {
        !self.without.contains(&hazard)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many orders came to which end.
    pub ends: BTreeMap<&'static str, u64>,
    /// The promises that were not kept.
    pub violations: Vec<Violation>,
    /// Equal for two runs in which the same happened.
    pub hash: u64,
    /// What happened, if the trace was kept.
    pub trace: Vec<String>,
}

macro_rules! hazards {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Something that can go wrong, or that somebody may ask for at a bad moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Hazard {
            $($(#[doc = $doc])* $name,)*
        }

        impl Hazard {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The fixed text of the hazard.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

hazards! {
    /// Calls of the store fail without an effect.
    StoreErrors = "store-errors",
    /// Calls of the store succeed, and the reply is lost.
    StoreReplies = "store-replies",
    /// Calls of the store take long.
    StoreStalls = "store-stalls",
    /// Calls of the store panic.
    StorePanics = "store-panics",
    /// The store is down for everybody for a while.
    Outages = "outages",
    /// Calls of the venue fail, or their replies are lost.
    VenueErrors = "venue-errors",
    /// Calls of the venue take longer than the engine waits.
    VenueStalls = "venue-stalls",
    /// The venue panics as it prepares a transaction.
    PreparePanics = "prepare-panics",
    /// The venue panics as it sends, or is asked.
    ObservePanics = "observe-panics",
    /// Calls of the router fail or stall.
    RouterErrors = "router-errors",
    /// Calls of the router panic.
    RouterPanics = "router-panics",
    /// Sinks refuse, or take events and say that they did not.
    SinkErrors = "sink-errors",
    /// Sinks hang.
    SinkStalls = "sink-stalls",
    /// Sinks panic.
    SinkPanics = "sink-panics",
    /// Sources of hints panic. Hints are lost, doubled, delayed and reordered in any case.
    SourcePanics = "source-panics",
    /// A little time passes in every call.
    Delays = "delays",
    /// Processes are killed.
    Kills = "kills",
    /// Processes die in the middle of a call: before its effect, or after it.
    Crashes = "crashes",
    /// Processes are suspended in the middle of a call, and go on beyond their leases.
    Zombies = "zombies",
    /// Processes are suspended beyond their leases, and resumed.
    Suspensions = "suspensions",
    /// Processes shut down.
    Shutdowns = "shutdowns",
    /// Clocks are hours apart, and run fast or slow.
    Clocks = "clocks",
    /// The network and the chain misbehave: what the site knows of that.
    Chain = "chain",
    /// Orders have deadlines.
    Deadlines = "deadlines",
    /// Orders are cancelled.
    Cancels = "cancels",
    /// Subscribers leave and come back elsewhere.
    Subscribers = "subscribers",
    /// An order kills every process, or makes every worker panic, that prepares it.
    Killers = "killers",
    /// An order that nothing but bad luck befell must not be in quarantine at the end.
    Quarantine = "quarantine",
    /// No task of an engine may end by a panic.
    Tasks = "tasks",
    /// In the end each process is tried alone.
    Alone = "alone",
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no hazard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no hazard")]
pub struct UnknownHazard(String);

impl FromStr for Hazard {
    type Err = UnknownHazard;

    fn from_str(text: &str) -> Result<Self, UnknownHazard> {
        let hazard = Self::ALL.iter().find(|hazard| hazard.as_str() == text);
        hazard.copied().ok_or_else(|| UnknownHazard(text.to_owned()))
    }
}

/// Runs one seed to its end.
///
/// `open` makes the site of the run; it is called once.
///
/// # Errors
/// If the site cannot be opened.
pub fn explore<S: Site, E>(
    exploration: &Exploration,
    open: impl FnOnce(&Surroundings) -> Result<S, E>,
) -> Result<Report, E> {
    Ok(World::new(exploration, open)?.run())
}
