//! A venue that looks at what it is given to send.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::plan::Killer;
use super::world::Shared;
use crate::testing::invariants::{Violation, kinds};
use crate::{
    ChainView, EventRecord, Observation, OrderEvent, PrepareRequest, SignedTx, StepError, SubmitReport, TxId,
    Venue, VenueError,
};

/// Whose orders kill.
pub(super) const KILLS: &str = "kills";
/// Whose orders let workers panic.
pub(super) const PANICS: &str = "panics";

impl Killer {
    /// The user whose orders do so.
    pub(super) const fn user(self) -> &'static str {
        match self {
            Self::Kills => KILLS,
            Self::Panics => PANICS,
        }
    }
}

/// A process' venue under observation: whatever is sent must have been committed.
pub(super) struct Spy {
    process: usize,
    inner: Arc<dyn Venue>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Spy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spy").field(&self.inner).finish()
    }
}

impl Spy {
    pub(super) const fn new(process: usize, inner: Arc<dyn Venue>, shared: Arc<Shared>) -> Self {
        Self { process, inner, shared }
    }

    fn check(&self, tx: &SignedTx) {
        const PROMISE: &str = "what is sent was committed before";
        let Some(order_id) = self.shared.order_of(&tx.id) else {
            self.shared.violate(Violation::new(PROMISE, format!("{} was never prepared", tx.id)));
            return;
        };
        // The store is asked directly, and answers at once.
        let Some(Ok(history)) = self.shared.store.events(order_id, 0, u32::MAX).now_or_never() else {
            return;
        };
        let signed = |record: &EventRecord| matches!(&record.event, OrderEvent::TransactionSigned { tx: signed } if **signed == *tx);
        let is_meant = history
            .iter()
            .skip_while(|record| !signed(record))
            .any(|record| record.event == OrderEvent::SubmissionStarted);
        if !is_meant {
            self.shared.violate(Violation::of(order_id, PROMISE, kinds(&history)));
        }
    }
}

#[async_trait]
impl Venue for Spy {
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let order_id = request.order.id;
        match request.order.request.user_id.as_str() {
            KILLS => {
                self.shared.wish_death(self.process);
                std::future::pending::<()>().await;
            }
            PANICS => std::panic::resume_unwind(Box::new("an order that panics")),
            _ => {}
        }
        let tx = self.inner.prepare(request).await?;
        self.shared.note_signed(&tx.id, order_id);
        Ok(tx)
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.check(tx);
        let report = self.inner.submit(tx).await;
        self.shared.trace.note(format_args!("p{} sends {}: {report:?}", self.process, tx.id));
        report
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.inner.view().await
    }

    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
        self.inner.observe(tx_ids).await
    }
}
