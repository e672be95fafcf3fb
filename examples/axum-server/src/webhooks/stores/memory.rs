//! Endpoints in the memory of the process, beside orders that are there as well.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{StoreError, UserId};
use tokio::time::Instant;
use uuid::Uuid;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress};
use crate::webhooks::lease::Lease;
use crate::webhooks::store::{LOG_ENTRIES, WebhookStore};

/// Keeps endpoints until the process ends.
#[derive(Debug, Default)]
pub(crate) struct MemoryWebhooks(Mutex<BTreeMap<EndpointId, Kept>>);

#[derive(Debug)]
struct Kept {
    endpoint: Endpoint,
    holder: Option<Uuid>,
    /// Until when nobody else takes it.
    until: Instant,
    log: VecDeque<(u64, Attempt)>,
    logged: u64,
}

impl MemoryWebhooks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EndpointId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    const fn lease(&self, holder: Uuid) -> Lease {
        Lease { id: self.endpoint.id, holder, revision: self.endpoint.revision }
    }

    fn is_held_by(&self, lease: &Lease) -> bool {
        self.holder == Some(lease.holder) && self.endpoint.revision == lease.revision
    }

    fn write(&mut self, attempts: &[Attempt]) {
        for attempt in attempts {
            self.logged += 1;
            self.log.push_front((self.logged, attempt.clone()));
        }
        self.log.truncate(usize::try_from(LOG_ENTRIES).unwrap_or(usize::MAX));
    }
}

#[async_trait]
impl WebhookStore for MemoryWebhooks {
    async fn create(&self, endpoint: &Endpoint, most: usize) -> Result<bool, StoreError> {
        let mut all = self.lock();
        let is_full = all.values().filter(|kept| kept.endpoint.user == endpoint.user).count() >= most;
        if !is_full {
            let kept = Kept {
                endpoint: endpoint.clone(),
                holder: None,
                until: Instant::now(),
                log: VecDeque::new(),
                logged: 0,
            };
            all.insert(endpoint.id, kept);
        }
        Ok(!is_full)
    }

    async fn endpoints(&self, user: &UserId) -> Result<Vec<Endpoint>, StoreError> {
        let all = self.lock();
        let theirs = all.values().map(|kept| &kept.endpoint).filter(|endpoint| endpoint.user == *user);
        let mut endpoints: Vec<Endpoint> = theirs.cloned().collect();
        endpoints.sort_by_key(|endpoint| (endpoint.created_at, endpoint.id));
        Ok(endpoints)
    }

    async fn all(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Endpoint>, StoreError> {
        let all = self.lock();
        let rest = all.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        Ok(rest.take(limit).map(|(_, kept)| kept.endpoint.clone()).collect())
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.lock().get(&id).map(|kept| kept.endpoint.clone()))
    }

    async fn update(&self, endpoint: &Endpoint, restart: bool) -> Result<bool, StoreError> {
        let mut all = self.lock();
        let Some(kept) = all.get_mut(&endpoint.id).filter(|kept| kept.endpoint.revision == endpoint.revision)
        else {
            return Ok(false);
        };
        kept.endpoint.settings = endpoint.settings.clone();
        kept.endpoint.revision += 1;
        if restart {
            kept.endpoint.progress = endpoint.progress.clone();
        }
        (kept.holder, kept.until) = (None, Instant::now());
        Ok(true)
    }

    async fn delete(&self, id: EndpointId) -> Result<bool, StoreError> {
        Ok(self.lock().remove(&id).is_some())
    }

    async fn lease(&self, holder: Uuid, duration: Duration, most: usize) -> Result<Vec<Lease>, StoreError> {
        let (mut all, now) = (self.lock(), Instant::now());
        let enabled = || |kept: &&mut Kept| kept.endpoint.is_enabled();
        let mut leases = Vec::new();
        for kept in all.values_mut().filter(enabled()).filter(|kept| kept.holder == Some(holder)) {
            kept.until = now + duration;
            leases.push(kept.lease(holder));
        }
        let free = most.saturating_sub(leases.len());
        let is_free = |kept: &&mut Kept| kept.holder != Some(holder) && kept.until <= now;
        for kept in all.values_mut().filter(enabled()).filter(is_free).take(free) {
            (kept.holder, kept.until) = (Some(holder), now + duration);
            leases.push(kept.lease(holder));
        }
        Ok(leases)
    }

    async fn release(&self, lease: &Lease, pause: Duration) -> Result<(), StoreError> {
        if let Some(kept) = self.lock().get_mut(&lease.id).filter(|kept| kept.is_held_by(lease)) {
            (kept.holder, kept.until) = (None, Instant::now() + pause);
        }
        Ok(())
    }

    async fn advance(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempts: &[Attempt],
    ) -> Result<bool, StoreError> {
        let mut all = self.lock();
        let Some(kept) = all.get_mut(&lease.id).filter(|kept| kept.is_held_by(lease)) else {
            return Ok(false);
        };
        kept.endpoint.progress = progress.clone();
        kept.write(attempts);
        Ok(true)
    }

    async fn log(&self, id: EndpointId, attempt: &Attempt) -> Result<(), StoreError> {
        if let Some(kept) = self.lock().get_mut(&id) {
            kept.write(std::slice::from_ref(attempt));
        }
        Ok(())
    }

    async fn attempts(
        &self,
        id: EndpointId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Attempt)>, StoreError> {
        let all = self.lock();
        let entries = all.get(&id).into_iter().flat_map(|kept| &kept.log);
        let wanted = entries.filter(|(number, _)| before.is_none_or(|before| *number < before));
        Ok(wanted.take(limit).cloned().collect())
    }
}
