//! Points at which a test stops a process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::intercept::{Call, Intercept, Reply};
use crate::domain::event::OrderEvent;
use crate::ports::order_store::error::StoreError;

/// A point in the life of an order at which a process may crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashPoint {
    /// The order is being created.
    Create,
    /// The order is being claimed.
    Claim,
    /// An event of this [kind](OrderEvent::kind) is being appended, maybe with others.
    Append(&'static str),
    /// The transaction is being prepared: built and signed.
    Prepare,
    /// A sibling of the transaction is being signed, or one that uses up a nonce before it.
    Replace,
    /// The transaction is being submitted.
    Submit,
    /// The transaction is being observed.
    Observe,
    /// A lease is being released.
    Release,
    /// Outbox entries of a durable sink are being claimed.
    ClaimDeliveries,
    /// Deliveries are being acknowledged.
    AckDeliveries,
}

/// The side of a call's effect on which the process crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call has had no effect.
    Before,
    /// The call has had its effect, and its caller does not know.
    After,
}

/// An [`Intercept`] that stops the first call at an armed point for ever. A test waits until the point is
/// [reached](Self::reached) and then [kills](super::Process::kill) the process.
#[derive(Clone, Debug)]
pub struct CrashPoints {
    armed: Arc<Mutex<Option<(CrashPoint, When)>>>,
    reached: watch::Sender<bool>,
}

impl CrashPoints {
    /// Returns an interceptor without an armed point.
    pub fn new() -> Self {
        Self { armed: Arc::default(), reached: watch::Sender::new(false) }
    }

    fn armed(&self) -> MutexGuard<'_, Option<(CrashPoint, When)>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the next call at this point, and no further one.
    pub fn arm(&self, point: CrashPoint, when: When) {
        self.reached.send_replace(false);
        *self.armed() = Some((point, when));
    }

    /// Waits until a call is stopped at the armed point.
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
            | (Self::Replace, Call::Replace(_) | Call::CancelTransaction(_) | Call::FillNonce(_))
            | (Self::Submit, Call::Submit(_))
            | (Self::Observe, Call::Observe(_))
            | (Self::Release, Call::Release(_))
            | (Self::ClaimDeliveries, Call::ClaimDeliveries(_))
            | (Self::AckDeliveries, Call::AckDeliveries(_)) => true,
            (Self::Append(kind), Call::Append(appends)) => {
                let mut events = appends.iter().flat_map(|append| &append.events);
                events.any(|record| OrderEvent::kind(&record.event) == kind)
            }
            _ => false,
        }
    }
}
