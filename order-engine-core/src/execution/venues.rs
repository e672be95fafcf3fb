//! The venues of an engine, by name, and what this process knows of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::fee_bump::FeeBumpPolicy;
use crate::domain::ids::VenueName;
use crate::domain::transaction::ChainView;
use crate::ports::runtime::Runtime;
use crate::ports::venue::{Venue, VenueCapabilities};
use crate::resilience::breaker::{BreakerConfig, Breakers};

/// The venues of an engine.
#[derive(Debug)]
pub(crate) struct Venues {
    by_name: BTreeMap<VenueName, Arc<KnownVenue>>,
    /// Those that orders wait for, and this process does not have.
    missing: Mutex<BTreeSet<VenueName>>,
}

/// A venue, what stands in front of it, and what it last said.
#[derive(Debug)]
pub(crate) struct KnownVenue {
    pub(crate) name: VenueName,
    pub(crate) venue: Arc<dyn Venue>,
    pub(crate) capabilities: VenueCapabilities,
    pub(crate) fee_bumps: FeeBumpPolicy,
    /// In front of its building of transactions.
    pub(crate) building: Breakers<()>,
    /// In front of its answers about transactions.
    pub(crate) observing: Breakers<()>,
    view: Mutex<Option<ChainView>>,
}

impl Venues {
    pub(crate) fn new(
        venues: BTreeMap<VenueName, Arc<dyn Venue>>,
        fee_bumps: &BTreeMap<VenueName, FeeBumpPolicy>,
        breaker: BreakerConfig,
        runtime: &Runtime,
    ) -> Self {
        let known = |(name, venue): (VenueName, Arc<dyn Venue>)| {
            let known = KnownVenue {
                name: name.clone(),
                capabilities: venue.capabilities(),
                fee_bumps: fee_bumps.get(&name).copied().unwrap_or_default(),
                venue,
                building: Breakers::new(breaker, runtime.clone()),
                observing: Breakers::new(breaker, runtime.clone()),
                view: Mutex::default(),
            };
            (name, Arc::new(known))
        };
        Self { by_name: venues.into_iter().map(known).collect(), missing: Mutex::default() }
    }

    pub(crate) fn get(&self, name: &VenueName) -> Option<&Arc<KnownVenue>> {
        self.by_name.get(name)
    }

    /// Returns all venues, in the order of their names.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<KnownVenue>> {
        self.by_name.values()
    }

    /// Returns the venue that every route is for, if the engine has one venue only.
    pub(crate) fn only(&self) -> Option<&Arc<KnownVenue>> {
        let mut all = self.all();
        if all.len() == 1 { all.next() } else { None }
    }

    /// Notes that an order waits for a venue that this process does not have. Says so once for each venue: all
    /// of its orders wait.
    pub(crate) fn miss(&self, name: &VenueName) {
        if self.missing_names().insert(name.clone()) {
            tracing::error!(venue = %name, "orders wait for a venue that this process does not have");
        }
    }

    /// Returns the venues that orders have waited for, and this process does not have.
    pub(crate) fn missing(&self) -> Vec<VenueName> {
        self.missing_names().iter().cloned().collect()
    }

    fn missing_names(&self) -> MutexGuard<'_, BTreeSet<VenueName>> {
        // Nothing in here panics while the lock is held.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownVenue {
    /// Notes how far the venue's chain has come.
    pub(crate) fn learn(&self, view: ChainView) {
        *self.known_view() = Some(view);
    }

    /// Returns how far the venue's chain had come when it last said so.
    pub(crate) fn view(&self) -> Option<ChainView> {
        *self.known_view()
    }

    fn known_view(&self) -> MutexGuard<'_, Option<ChainView>> {
        // As above.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
