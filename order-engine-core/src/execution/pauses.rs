//! What is paused, as this process knows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::ids::VenueName;
use crate::domain::order::OrderRequest;
use crate::ports::controls::{Activity, Pause, PauseScope};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::resilience::supervisor::Supervisor;

/// How often the store is asked: every process obeys within a second.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// The pauses that the store had when it was last asked.
#[derive(Debug)]
pub(crate) struct Pauses {
    store: Arc<dyn OrderStore>,
    supervisor: Arc<Supervisor>,
    known: Mutex<Arc<Vec<Pause>>>,
    /// Changes with what is known.
    changes: watch::Sender<()>,
}

impl Pauses {
    /// Asks the store for the first time.
    pub(crate) async fn start(
        store: Arc<dyn OrderStore>,
        supervisor: Arc<Supervisor>,
    ) -> Result<Self, StoreError> {
        let known = Mutex::new(Arc::new(store.pauses().await?));
        Ok(Self { store, supervisor, known, changes: watch::Sender::new(()) })
    }

    fn known(&self) -> MutexGuard<'_, Arc<Vec<Pause>>> {
        // Nothing in here panics while the lock is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the store again. While it does not answer, what was known holds.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let pauses = self.supervisor.store("store.pauses", self.store.pauses()).await?;
        let mut known = self.known();
        if **known != pauses {
            *known = Arc::new(pauses);
            drop(known);
            self.changes.send_replace(());
        }
        Ok(())
    }

    /// Returns a channel that changes with what is paused.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether workers claim nothing: routing or sending is paused for all orders.
    pub(crate) fn stop_workers(&self) -> bool {
        let is_stop = |pause: &Pause| pause.activity != Activity::Accepting && pause.scope == PauseScope::All;
        self.known().iter().any(is_stop)
    }

    /// Returns a pause of one of these activities that covers an order, on its venue if that is known.
    pub(crate) fn covering(
        &self,
        activities: &[Activity],
        request: &OrderRequest,
        venue: Option<&VenueName>,
    ) -> Option<Pause> {
        self.find(activities, |scope| covers(scope, request) || is_venue(scope, venue))
    }

    /// Returns a pause of one of these activities on a venue.
    pub(crate) fn of_venue(&self, activities: &[Activity], venue: &VenueName) -> Option<Pause> {
        self.find(activities, |scope| is_venue(scope, Some(venue)))
    }

    fn find(&self, activities: &[Activity], covers: impl Fn(&PauseScope) -> bool) -> Option<Pause> {
        let known = Arc::clone(&self.known());
        known.iter().find(|pause| activities.contains(&pause.activity) && covers(&pause.scope)).cloned()
    }
}

fn is_venue(scope: &PauseScope, venue: Option<&VenueName>) -> bool {
    matches!((scope, venue), (PauseScope::Venue(paused), Some(venue)) if paused == venue)
}

/// Whether a scope covers an order on whichever venue it is executed.
fn covers(scope: &PauseScope, request: &OrderRequest) -> bool {
    match scope {
        PauseScope::All => true,
        PauseScope::Venue(_) => false,
        PauseScope::Pair { input, output } => *input == request.input.mint && *output == request.output.mint,
        PauseScope::User(user) => *user == request.user_id,
    }
}
