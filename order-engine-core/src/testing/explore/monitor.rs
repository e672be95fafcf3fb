//! Monitors at the ports of a process: of what it commits, and of what it submits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::hazard::Hazard;
use super::plan::{KILLS, PANICS};
use super::shared::{ProcessFault, Shared};
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::failure::FailureCode;
use crate::domain::ids::{AccountId, OrderId, TxId};
use crate::domain::transaction::{AccountView, ChainView, Observation, SignedTx, TxRef};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::write::Append;
use crate::ports::router::StepError;
use crate::ports::runtime::Clock;
use crate::ports::venue::{
    FillRequest, PrepareRequest, ReplaceRequest, SubmitReport, Venue, VenueCapabilities, VenueError,
};
use crate::testing::executor::yield_once;
use crate::testing::intercept::{Call, Intercept, Reply};
use crate::testing::invariants::{Violation, kinds};

/// The venue of a process, which checks that a transaction is committed before it is submitted.
pub(super) struct MonitoredVenue {
    process: usize,
    inner: Arc<dyn Venue>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for MonitoredVenue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MonitoredVenue").field(&self.inner).finish()
    }
}

impl MonitoredVenue {
    pub(super) const fn new(process: usize, inner: Arc<dyn Venue>, shared: Arc<Shared>) -> Self {
        Self { process, inner, shared }
    }

    fn check(&self, tx: &SignedTx) {
        const PROMISE: &str = "what is sent was committed before";
        let Some(order_id) = self.shared.order_of(&tx.id) else {
            self.shared.violate(Violation::new(PROMISE, format!("{} was never prepared", tx.id)));
            return;
        };
        let Some(history) = self.shared.events(order_id, 0, u32::MAX) else { return };
        // A sibling is signed to be sent, and so is a filler.
        let is_submission_committed = history.iter().any(|record| signs_sibling(record, tx))
            || history
                .iter()
                .skip_while(|record| !signs(record, tx))
                .any(|record| record.event == OrderEvent::SubmissionStarted);
        if !is_submission_committed {
            self.shared.violate(Violation::of(order_id, PROMISE, kinds(&history)));
        }
    }
}

fn signs(record: &EventRecord, tx: &SignedTx) -> bool {
    matches!(&record.event, OrderEvent::TransactionSigned { tx: signed } if **signed == *tx)
}

fn signs_sibling(record: &EventRecord, tx: &SignedTx) -> bool {
    matches!(&record.event, OrderEvent::SiblingSigned { tx: signed, .. } | OrderEvent::NonceFilled { tx: signed } if **signed == *tx)
}

#[async_trait]
impl Venue for MonitoredVenue {
    fn capabilities(&self) -> VenueCapabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let order_id = request.order.id;
        match request.order.request.user_id.as_str() {
            KILLS => {
                self.shared.inject(self.process, ProcessFault::Crash, "order kills its process");
                std::future::pending::<()>().await;
            }
            PANICS => std::panic::resume_unwind(Box::new("an order that panics")),
            _ => {}
        }
        fault_point(&self.shared, self.process, 3_000).await;
        let tx = self.inner.prepare(request).await?;
        self.shared.record_signed(&tx.id, order_id);
        Ok(tx)
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        fault_point(&self.shared, self.process, 3_000).await;
        let tx = self.inner.replace(request).await?;
        self.shared.record_signed(&tx.id, request.order.id);
        Ok(tx)
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        fault_point(&self.shared, self.process, 3_000).await;
        let tx = self.inner.cancel_transaction(request).await?;
        self.shared.record_signed(&tx.id, request.order.id);
        Ok(tx)
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        fault_point(&self.shared, self.process, 3_000).await;
        let tx = self.inner.fill_nonce(request).await?;
        self.shared.record_signed(&tx.id, request.order.id);
        Ok(tx)
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        self.inner.accounts(accounts).await
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        self.inner.find(order).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        // A process may crash between the commit and the effect, and after the effect.
        fault_point(&self.shared, self.process, 20_000).await;
        self.check(tx);
        let report = self.inner.submit(tx).await;
        fault_point(&self.shared, self.process, 20_000).await;
        self.shared.trace.note(format_args!("p{} sends {}: {report:?}", self.process, tx.id));
        report
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.inner.view().await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        self.inner.observe(txs).await
    }
}

/// A point at which a process may crash, or be suspended until its leases have expired.
async fn fault_point(shared: &Shared, process: usize, probability_ppm: u32) {
    if shared.has(Hazard::Crashes) && shared.dice.happens(probability_ppm) {
        shared.inject(process, ProcessFault::Crash, "process dies in a call");
        std::future::pending::<()>().await;
    }
    if shared.has(Hazard::Zombies) && shared.dice.happens(probability_ppm) {
        shared.inject(process, ProcessFault::Suspension, "process stands still in a call");
        // The process is suspended as soon as no task runs, and goes on from here.
        shared.world.sleep(Duration::from_millis(1)).await;
    }
}

/// Returns the probability of a fault before or after a call of the store, in millionths.
const fn fault_ppm(call: Call<'_>) -> u32 {
    match call {
        Call::Create(_) | Call::Append(_) | Call::AckDeliveries(_) => 3_000,
        Call::Claim(_) | Call::Release(_) | Call::Renew(_) => 200,
        _ => 0,
    }
}

/// The interceptor next to the store of a process, which checks what was committed while no time passes.
pub(super) struct StoreMonitor {
    process: usize,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for StoreMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreMonitor").field("process", &self.process).finish_non_exhaustive()
    }
}

impl StoreMonitor {
    pub(super) const fn new(process: usize, shared: Arc<Shared>) -> Self {
        Self { process, shared }
    }

    fn check(&self, append: &Append) {
        let (id, before) = (append.order.id, append.expected_seq);
        let limit = u32::try_from(append.events.len()).unwrap_or(u32::MAX);
        let Some(written) = self.shared.events(id, before, limit) else { return };
        let is_committed = written.iter().eq(append.events.iter().map(AsRef::as_ref));
        if !is_committed || !self.shared.record_committed(id, append.order.seq) {
            return;
        }
        self.shared.trace.note(format_args!(
            "p{} commits {id} {}: {}",
            self.process,
            before + 1,
            kinds(&written)
        ));
        let signs_or_submits = |record: &EventRecord| {
            matches!(record.event, OrderEvent::TransactionSigned { .. } | OrderEvent::SubmissionStarted)
        };
        let now = self.shared.store_clock.now();
        let expires = |record: &EventRecord| {
            let failure = record.event.failure().filter(|_| record.status.is_terminal());
            failure.is_some_and(|failure| failure.code == FailureCode::EXPIRED)
        };
        if written.iter().any(expires) && append.order.expires_at().is_none_or(|deadline| now < deadline) {
            let found = format!("it expires at {:?}, and it is {now}", append.order.expires_at());
            self.shared.violate(Violation::of(id, "no order expires before its deadline", found));
        }
        if written.iter().any(signs_or_submits)
            && append.order.expires_at().is_some_and(|deadline| deadline < now)
        {
            let promise = "nothing is signed or sent for the first time after the deadline";
            self.shared.violate(Violation::of(id, promise, format!("{} at {now}", kinds(&written))));
        }
    }
}

#[async_trait]
impl Intercept for StoreMonitor {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        // Other tasks may run in between, and a task that calls the store for ever is noticed.
        yield_once().await;
        fault_point(&self.shared, self.process, fault_ppm(call)).await;
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        if let Call::Append(appends) = call {
            for append in appends {
                self.check(append);
            }
        }
        fault_point(&self.shared, self.process, fault_ppm(call)).await;
        Ok(())
    }
}
