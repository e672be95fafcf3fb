//! Stopping a process at a named point.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::intercept::{Call, Intercept, Reply};
use crate::domain::event::OrderEvent;
use crate::ports::order_store::error::StoreError;

/// A point in the path of an order at which a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashPoint {
    /// The order is being accepted.
    Create,
    /// The order is being leased.
    Claim,
    /// An event of this [kind](OrderEvent::kind) is being written, maybe with others.
    Append(&'static str),
    /// The transaction is being built and signed.
    Prepare,
    /// The transaction is being sent.
    Submit,
    /// The transaction is being looked at.
    Observe,
    /// A lease is being given back.
    Release,
    /// What a durable sink is owed is being leased.
    ClaimDeliveries,
    /// What was delivered is being recorded.
    SettleDeliveries,
}

/// Whether a call has had its effect when the process dies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It has not.
    Before,
    /// It has, and nobody was told.
    After,
}

/// An [`Intercept`] that stops whoever comes to an armed point, for ever. A test waits until it is
/// [reached](Self::reached) and then [kills](super::Process::kill) the process.
#[derive(Clone, Debug)]
pub struct CrashPoints {
    armed: Arc<Mutex<Option<(CrashPoint, When)>>>,
    reached: watch::Sender<bool>,
}

impl CrashPoints {
    /// No point is armed.
    pub fn new() -> Self {
        Self { armed: Arc::default(), reached: watch::Sender::new(false) }
    }

    fn armed(&self) -> MutexGuard<'_, Option<(CrashPoint, When)>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the next call that comes to this point, and then no more.
    pub fn arm(&self, point: CrashPoint, when: When) {
        self.reached.send_replace(false);
        *self.armed() = Some((point, when));
    }

    /// Waits until a call has come to the armed point.
    pub async fn reached(&self) {
        // The sender is here, so this cannot fail.
        let _ = self.reached.subscribe().wait_for(|reached| *reached).await;
    }

    async fn pass(&self, call: Call<'_>, when: When) {
        let stops = {
            let mut armed = self.armed();
            let stops = armed.is_some_and(|(point, at)| at == when && point.is_at(call));
            if stops {
                *armed = None;
            }
            stops
        };
        if stops {
            self.reached.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

impl Default for CrashPoints {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Intercept for CrashPoints {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        self.pass(call, When::Before).await;
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        self.pass(call, When::After).await;
        Ok(())
    }
}

impl CrashPoint {
    fn is_at(self, call: Call<'_>) -> bool {
        match (self, call) {
            (Self::Create, Call::Create(_))
            | (Self::Claim, Call::Claim(_))
            | (Self::Prepare, Call::Prepare(_))
            | (Self::Submit, Call::Submit(_))
            | (Self::Observe, Call::Observe(_))
            | (Self::Release, Call::Release(_))
            | (Self::ClaimDeliveries, Call::ClaimDeliveries(_))
            | (Self::SettleDeliveries, Call::AckDeliveries(_)) => true,
            (Self::Append(kind), Call::Append(appends)) => {
                let mut events = appends.iter().flat_map(|append| &append.events);
                events.any(|record| OrderEvent::kind(&record.event) == kind)
            }
            _ => false,
        }
    }
}
