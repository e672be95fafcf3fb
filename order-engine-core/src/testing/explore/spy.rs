//! Who looks over the engine's shoulder: at what it writes, and at what it sends.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::Hazard;
use super::plan::Killer;
use super::world::{Fate, Shared};
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::failure::FailureCode;
use crate::domain::ids::TxId;
use crate::domain::transaction::{ChainView, Observation, SignedTx};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::write::Append;
use crate::ports::router::StepError;
use crate::ports::runtime::Clock;
use crate::ports::venue::{PrepareRequest, SubmitReport, Venue, VenueError};
use crate::testing::invariants::{Violation, kinds};
use crate::testing::{Call, Intercept, Reply};

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
                self.shared.befall(self.process, Fate::Dies, "order kills its process");
                std::future::pending::<()>().await;
            }
            PANICS => std::panic::resume_unwind(Box::new("an order that panics")),
            _ => {}
        }
        pass(&self.shared, self.process, 3_000).await;
        let tx = self.inner.prepare(request).await?;
        self.shared.note_signed(&tx.id, order_id);
        Ok(tx)
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        // Between the commit and the effect, and after the effect.
        pass(&self.shared, self.process, 20_000).await;
        self.check(tx);
        let report = self.inner.submit(tx).await;
        pass(&self.shared, self.process, 20_000).await;
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

/// Lets whoever else is ready go first, once.
async fn take_a_turn() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// A point at which a process may die, or stand still for so long that it loses its leases.
async fn pass(shared: &Shared, process: usize, probability_ppm: u32) {
    if shared.has(Hazard::Crashes) && shared.dice.happens(probability_ppm) {
        shared.befall(process, Fate::Dies, "process dies in a call");
        std::future::pending::<()>().await;
    }
    if shared.has(Hazard::Zombies) && shared.dice.happens(probability_ppm) {
        shared.befall(process, Fate::Freezes, "process stands still in a call");
        // It is suspended as soon as nobody is running, and goes on from here.
        shared.world.sleep(Duration::from_millis(1)).await;
    }
}

/// How often a process dies, or stands still, before or after a call of its store, in millionths.
const fn fatality_ppm(call: Call<'_>) -> u32 {
    match call {
        Call::Create(_) | Call::Append(_) | Call::AckDeliveries(_) => 3_000,
        Call::Claim(_) | Call::Release(_) | Call::Renew(_) => 200,
        _ => 0,
    }
}

/// Sits right at the store of a process, where no time passes, and looks at what was committed.
pub(super) struct Witness {
    process: usize,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Witness {
    pub(super) const fn new(process: usize, shared: Arc<Shared>) -> Self {
        Self { process, shared }
    }

    fn look(&self, append: &Append) {
        let (id, before) = (append.order.id, append.expected_seq);
        let limit = u32::try_from(append.events.len()).unwrap_or(u32::MAX);
        let Some(Ok(written)) = self.shared.store.events(id, before, limit).now_or_never() else { return };
        let is_committed = written.iter().eq(append.events.iter().map(AsRef::as_ref));
        if !is_committed || !self.shared.is_news(id, append.order.seq) {
            return;
        }
        self.shared.trace.note(format_args!(
            "p{} commits {id} {}: {}",
            self.process,
            before + 1,
            kinds(&written)
        ));
        let sends = |record: &EventRecord| {
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
        if written.iter().any(sends) && append.order.expires_at().is_some_and(|deadline| deadline < now) {
            let promise = "nothing is signed or sent for the first time after the deadline";
            self.shared.violate(Violation::of(id, promise, format!("{} at {now}", kinds(&written))));
        }
    }
}

#[async_trait]
impl Intercept for Witness {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        // Others may come in between, and whoever asks again and again without waiting is noticed.
        take_a_turn().await;
        pass(&self.shared, self.process, fatality_ppm(call)).await;
        Ok(())
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        if let Call::Append(appends) = call {
            for append in appends {
                self.look(append);
            }
        }
        pass(&self.shared, self.process, fatality_ppm(call)).await;
        Ok(())
    }
}
