//! Which endpoints this process delivers to: those whose leases it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Engine;
use order_engine_core::telemetry::chain;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::webhooks::deliverer::Deliverer;
use crate::webhooks::endpoint::EndpointId;
use crate::webhooks::lease::Lease;
use crate::webhooks::post::Post;
use crate::webhooks::store::WebhookStore;

/// How many endpoints one process delivers to.
const ENDPOINTS_MAX: usize = 10_000;
/// How often leases are renewed, in parts of their duration, and at the latest.
const RENEWALS: u32 = 5;
const RENEWAL_MAX: Duration = Duration::from_secs(2);

/// Takes leases, and starts and ends deliverers.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn WebhookStore>,
    pub(crate) post: Post,
    pub(crate) lease_duration: Duration,
    /// Wakes the dispatcher when an endpoint was added or changed.
    pub(crate) changed: Arc<Notify>,
}

/// A deliverer that runs.
#[derive(Debug)]
struct Running {
    lease: Lease,
    task: Task,
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Dispatcher {
    /// Delivers until `stop` completes, and then gives all leases back.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send) {
        let holder = Uuid::new_v4();
        let mut running = HashMap::new();
        tokio::select! {
            () = self.follow(holder, &mut running) => {}
            () = stop => {}
        }
        let leases: Vec<Lease> = running.drain().map(|(_, Running { lease, .. })| lease).collect();
        for lease in leases {
            if let Err(error) = self.store.release(&lease, Duration::ZERO).await {
                tracing::warn!(error = %chain(&error), "webhooks continue when their leases expire");
                break;
            }
        }
    }

    async fn follow(&self, holder: Uuid, running: &mut HashMap<EndpointId, Running>) {
        let pause = (self.lease_duration / RENEWALS).min(RENEWAL_MAX);
        let mut answers = true;
        loop {
            let found = self.refresh(holder, running).await;
            if let (Err(error), true) = (&found, answers) {
                tracing::warn!(error = %chain(error), "the store of the webhooks does not answer");
            }
            answers = found.is_ok();
            // It does not matter which of the two it was.
            let _ = timeout(pause, self.changed.notified()).await;
        }
    }

    /// Has a deliverer for each lease, and no other.
    async fn refresh(
        &self,
        holder: Uuid,
        running: &mut HashMap<EndpointId, Running>,
    ) -> Result<(), order_engine_core::StoreError> {
        let leases = self.store.lease(holder, self.lease_duration, ENDPOINTS_MAX).await?;
        let leases: HashMap<EndpointId, Lease> = leases.into_iter().map(|lease| (lease.id, lease)).collect();
        running.retain(|id, running| leases.get(id) == Some(&running.lease) && !running.task.0.is_finished());
        for (id, lease) in leases {
            if running.contains_key(&id) {
                continue;
            }
            let Some(endpoint) = self.store.endpoint(id).await? else { continue };
            // It has changed since, and the lease with it.
            if endpoint.revision != lease.revision {
                continue;
            }
            let (engine, store, post) = (self.engine.clone(), Arc::clone(&self.store), self.post.clone());
            let deliverer = Deliverer { engine, store, post, endpoint, lease };
            running.insert(id, Running { lease, task: Task(tokio::spawn(deliverer.run())) });
        }
        #[allow(clippy::cast_precision_loss)] // A gauge is a float.
        metrics::gauge!("order_engine_server_webhooks_held").set(running.len() as f64);
        Ok(())
    }
}
