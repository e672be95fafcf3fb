//! One observation: the venue is asked about a batch of transactions, and what follows is done.
//!
//! A call that fails may fail because of one of its transactions. Those that were asked about together are
//! asked about in two halves next time, until the one that fails stands alone and harms no other.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{join, join_all};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::commit::committer::CommitError;
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::ids::TxId;
use crate::domain::phase::{Phase, Stage};
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::{Certainty, ChainView, Observation, SignedTx, Verdict, verdict};
use crate::execution::context::Context;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::write::AppendError;
use crate::ports::venue::VenueError;
use crate::resilience::breaker::Admission;
use crate::telemetry::{self, StepName};

/// After this many observations without news a transaction is observed more rarely.
const QUIET_OBSERVATIONS: u32 = 40;
/// How much more rarely.
const QUIET_FACTOR: u32 = 8;
/// How many transactions are sent again at a time.
const RESENDS: usize = 16;

/// An order whose transaction is observed.
#[derive(Debug)]
pub(super) struct ObservedOrder {
    pub(super) order: LeasedOrder,
    /// When this process last sent the transaction.
    pub(super) last_sent: Option<DateTime<Utc>>,
    /// How many observations in a row brought no news.
    pub(super) quiet_observations: u32,
    /// Whether the venue did not know the transaction at the last observation, and it may still land.
    pub(super) is_absent: bool,
    /// Since when the outcome of the transaction has been in doubt, and why.
    pub(super) doubt: Option<(UnknownReason, DateTime<Utc>)>,
    /// With how many others at most the venue may be asked about the transaction, this one included.
    pub(super) batch_max: usize,
    _slots: ObserverSlots,
}

/// The slots that an observed order takes.
#[derive(Debug)]
pub(super) struct ObserverSlots {
    pub(super) _any: OwnedSemaphorePermit,
    pub(super) _of_venue: OwnedSemaphorePermit,
}

impl ObservedOrder {
    pub(super) const fn new(
        order: LeasedOrder,
        last_sent: Option<DateTime<Utc>>,
        slots: ObserverSlots,
    ) -> Self {
        Self {
            order,
            last_sent,
            quiet_observations: 0,
            is_absent: false,
            doubt: None,
            batch_max: usize::MAX,
            _slots: slots,
        }
    }

    pub(super) fn transaction(&self) -> Option<&SignedTx> {
        self.order.order().state.live_transaction()
    }
}

/// The orders that are still observed after an observation, and how soon each is observed again.
pub(super) type Observed = Vec<(ObservedOrder, Duration)>;

/// What the venue knows: how far its chain had come, and then what it knew of each transaction.
type Report = Result<(ChainView, BTreeMap<TxId, Observation>), Unanswered>;

/// Which question the venue did not answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// How far its chain has come.
    #[error(transparent)]
    View(VenueError),
    /// What became of these transactions.
    #[error(transparent)]
    Observe(VenueError),
}

/// Observes batches of transactions on a venue.
#[derive(Debug)]
pub(super) struct BatchObserver {
    context: Arc<Context>,
    venue: Arc<KnownVenue>,
    /// Takes the orders back whose transactions were sent again.
    incoming: mpsc::UnboundedSender<ObservedOrder>,
}

impl BatchObserver {
    pub(super) const fn new(
        context: Arc<Context>,
        venue: Arc<KnownVenue>,
        incoming: mpsc::UnboundedSender<ObservedOrder>,
    ) -> Self {
        Self { context, venue, incoming }
    }

    /// Observes a batch and does what follows. A defect in here costs the batch its leases, and nothing else.
    pub(super) async fn observe(
        self: Arc<Self>,
        batch: Vec<ObservedOrder>,
        admission: Admission<()>,
    ) -> Observed {
        let supervisor = Arc::clone(&self.context.tasks.supervisor);
        supervisor.guard("observation", self.try_observe(batch, admission)).await.unwrap_or_default()
    }

    /// Writes events of transactions that are not observed for a while.
    pub(super) async fn write(self: Arc<Self>, unwritten: Vec<ObservedOrder>) -> Observed {
        let supervisor = &self.context.tasks.supervisor;
        let written = supervisor.guard("observation", self.commit(unwritten)).await.unwrap_or_default();
        written.into_iter().map(|observed| self.with_interval(observed)).collect()
    }

    async fn try_observe(self: Arc<Self>, batch: Vec<ObservedOrder>, admission: Admission<()>) -> Observed {
        let asked = batch.len();
        let (mut batch, report) = self.ask_while_committing(batch).await;
        match &report {
            // The failure is about this transaction, and must not keep the venue from being asked about others.
            Err(Unanswered::Observe(_)) if asked == 1 => drop(admission),
            report => admission.report(report.is_ok()),
        }
        let now = self.context.local_now();
        match report {
            Ok((view, mut observations)) => {
                for observed in &mut batch {
                    observed.batch_max = usize::MAX;
                    let observation = observed.transaction().and_then(|tx| observations.remove(&tx.id));
                    let Some(observation) = observation else { continue };
                    if let Err(illegal) = self.conclude(observed, &view, &observation, now) {
                        log_defect(observed, &illegal);
                    }
                }
            }
            Err(unanswered) => {
                tracing::warn!(venue = %self.venue.name, transactions = asked, error = %telemetry::chain(&unanswered), "transactions could not be observed");
                if matches!(unanswered, Unanswered::Observe(_)) {
                    for observed in &mut batch {
                        self.halve(observed, asked, now);
                    }
                }
            }
        }
        let batch = self.commit(batch).await;
        let (absent, present): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|observed| self.is_to_be_resent(observed, now));
        self.resend(absent);
        present.into_iter().map(|observed| self.with_interval(observed)).collect()
    }

    /// Asks the venue. Events that wait to be written are written with the conclusions if the venue answers
    /// at once, and meanwhile if not.
    async fn ask_while_committing(&self, batch: Vec<ObservedOrder>) -> (Vec<ObservedOrder>, Report) {
        let ids = batch.iter().filter_map(|observed| Some(observed.transaction()?.id.clone())).collect();
        let mut asked = pin!(self.ask(ids));
        if let Some(report) = asked.as_mut().now_or_never() {
            (batch, report)
        } else {
            join(self.commit(batch), asked).await
        }
    }

    /// Asks the venue for the facts that verdicts are drawn from: the view first.
    async fn ask(&self, ids: Vec<TxId>) -> Report {
        telemetry::timed(StepName::Observe, &self.context.tasks.runtime, async {
            let venue = &self.venue.venue;
            let early = if planted!(SearchBeforeHeight) {
                Some(self.ask_one("venue.observe", venue.observe(&ids)).await.map_err(Unanswered::Observe)?)
            } else {
                None
            };
            let view = self.ask_one("venue.view", venue.view()).await.map_err(Unanswered::View)?;
            self.venue.learn(view);
            if let Some(early) = early {
                let trusted = early.into_iter().map(|observation| match observation {
                    Observation::NotFound { searched_through: Some(_) } => {
                        Observation::NotFound { searched_through: Some(u64::MAX) }
                    }
                    other => other,
                });
                return Ok((view, ids.into_iter().zip(trusted).collect()));
            }
            let observations = self.ask_one("venue.observe", venue.observe(&ids)).await;
            let observations = observations.map_err(Unanswered::Observe)?;
            Ok((view, ids.into_iter().zip(observations).collect()))
        })
        .await
    }

    async fn ask_one<T: Send>(
        &self,
        part: &'static str,
        question: impl Future<Output = Result<T, VenueError>> + Send,
    ) -> Result<T, VenueError> {
        match self.context.in_time(self.context.tasks.supervisor.guard(part, question)).await {
            Some(Ok(answer)) => answer,
            Some(Err(panicked)) => Err(VenueError::new(panicked.to_string())),
            None => Err(VenueError::new("no answer in time")),
        }
    }

    /// Records what follows from the report about a transaction.
    fn conclude(
        &self,
        observed: &mut ObservedOrder,
        view: &ChainView,
        observation: &Observation,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let Some(tx) = observed.transaction() else { return Ok(()) };
        let at = self.context.now();
        let conclusion = verdict(tx, view, observation);
        observed.quiet_observations += 1;
        observed.is_absent =
            conclusion == Verdict::Pending(None) && matches!(observation, Observation::NotFound { .. });
        match conclusion {
            Verdict::Landed(fill) => observed.order.record(OrderEvent::Confirmed { fill }, at)?,
            Verdict::Dead(proof, failure, class) => {
                observed.order.record(OrderEvent::TransactionDied { proof, failure, class }, at)?;
                if let Some(event) = self.context.retry_unless_late(observed.order.order()) {
                    observed.order.record(event, at)?;
                }
            }
            Verdict::Pending(Some(certainty)) if is_news(observed, certainty) => {
                observed.quiet_observations = 0;
                observed.doubt = None;
                observed.order.record(OrderEvent::InclusionObserved { certainty }, at)?;
            }
            Verdict::Pending(None) if observed.is_absent => {
                self.doubt(observed, UnknownReason::Absent, now)?;
            }
            Verdict::Pending(_) => observed.doubt = None,
            Verdict::Unknown => self.doubt(observed, UnknownReason::Unproven, now)?,
        }
        Ok(())
    }

    /// Notes a doubt about the outcome of a transaction, and calls for an operator if it has lasted too long.
    fn doubt(
        &self,
        observed: &mut ObservedOrder,
        reason: UnknownReason,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let since = match observed.doubt {
            Some((known, since)) if known == reason => since,
            _ => now,
        };
        observed.doubt = Some((reason, since));
        let patience = match reason {
            UnknownReason::Absent => self.context.config.absent_after,
            // A venue whose history lags answers in a moment.
            UnknownReason::Unproven | UnknownReason::Unobservable | UnknownReason::NoVenue => {
                self.context.config.unknown_after
            }
        };
        let is_recorded = observed.order.order().state.attention().is_some();
        if is_recorded || since + patience > now {
            return Ok(());
        }
        tracing::warn!(order.id = %observed.order.order().id, %reason, "the outcome of a transaction is unknown");
        observed.order.record(OrderEvent::OutcomeUnknown { reason }, self.context.now())
    }

    /// Halves the batch that a transaction may be asked about in, after a call that was not answered. One
    /// that was asked about alone is in doubt.
    fn halve(&self, observed: &mut ObservedOrder, asked: usize, now: DateTime<Utc>) {
        observed.is_absent = false;
        observed.batch_max = if planted!(BatchStaysTogether) { usize::MAX } else { (asked / 2).max(1) };
        if asked > 1 {
            return;
        }
        observed.quiet_observations = QUIET_OBSERVATIONS + 1;
        if let Err(illegal) = self.doubt(observed, UnknownReason::Unobservable, now) {
            log_defect(observed, &illegal);
        }
    }

    /// Writes what is not yet written. Returns the orders that are still to be observed.
    async fn commit(&self, batch: Vec<ObservedOrder>) -> Vec<ObservedOrder> {
        let written = batch.into_iter().map(|observed| self.commit_one(observed));
        join_all(written).await.into_iter().flatten().collect()
    }

    async fn commit_one(&self, mut observed: ObservedOrder) -> Option<ObservedOrder> {
        let order_id = observed.order.order().id;
        match observed.order.commit(&self.context.committer).await {
            Ok(()) if observed.transaction().is_some() => Some(observed),
            Ok(()) => {
                self.context.wakers.wake_for(observed.order.order());
                None
            }
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The lease is still ours: go on from what is there now.
                let order = self.context.load(order_id).await.ok()?;
                observed.order.reset(order);
                observed.transaction().is_some().then_some(observed)
            }
            Err(error) => {
                tracing::warn!(order.id = %order_id, error = %telemetry::chain(&error), "an observed order is given up");
                None
            }
        }
    }

    fn with_interval(&self, observed: ObservedOrder) -> (ObservedOrder, Duration) {
        let factor = if observed.quiet_observations > QUIET_OBSERVATIONS { QUIET_FACTOR } else { 1 };
        (observed, self.context.config.observe_interval * factor)
    }

    /// Whether sending a transaction again can help. A cancelled one is left to die, and so is one without a
    /// committed intent to send it.
    fn is_to_be_resent(&self, observed: &ObservedOrder, now: DateTime<Utc>) -> bool {
        observed.is_absent
            && is_sendable(&observed.order.order().state)
            && observed.last_sent.is_none_or(|at| at + self.context.config.resend_interval <= now)
    }

    /// Sends the committed bytes again, beside the observing; the orders come back to the observer.
    fn resend(self: &Arc<Self>, absent: Vec<ObservedOrder>) {
        if absent.is_empty() {
            return;
        }
        let batches = Arc::clone(self);
        let task = stream::iter(absent)
            .for_each_concurrent(RESENDS, move |observed| Arc::clone(&batches).resend_one(observed));
        self.context.tasks.spawn("resend", Box::pin(task));
    }

    async fn resend_one(self: Arc<Self>, mut observed: ObservedOrder) {
        let context = &self.context;
        observed.last_sent = Some(context.local_now());
        // A cancel may have been committed since this process last wrote.
        match context.load(observed.order.order().id).await {
            Ok(order) => observed.order.reset(order),
            Err(error) => {
                tracing::warn!(order.id = %observed.order.order().id, error = %telemetry::chain(&error), "an order could not be read before its transaction is sent again");
                return;
            }
        }
        let order = Arc::clone(observed.order.order());
        let is_paused =
            context.pauses.covering(&[Activity::Sending], &order.request, Some(&self.venue.name)).is_some();
        let may_send = is_sendable(&order.state) && !is_paused;
        if let Some(tx) = order.state.live_transaction().filter(|_| may_send) {
            let is_accepted = context.send(&self.venue, tx).await;
            let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
            if is_accepted
                && is_new
                && observed.order.record(OrderEvent::SubmissionAccepted, context.now()).is_err()
            {
                return;
            }
        }
        // Without the observer the engine has shut down; dropping the order releases its lease.
        let _ = self.incoming.send(observed);
    }
}

fn log_defect(observed: &ObservedOrder, illegal: &IllegalTransition) {
    tracing::error!(order.id = %observed.order.order().id, error = %illegal, "defect in the observer");
}

fn is_sendable(state: &OrderState) -> bool {
    matches!(state.phase(), Phase::Submitted { cancel_requested, .. } if !cancel_requested || planted!(CancelledIsSentAgain))
}

fn is_news(observed: &ObservedOrder, certainty: Certainty) -> bool {
    let stage_seen = match certainty {
        Certainty::Processed => Stage::Processed,
        Certainty::Confirmed => Stage::Confirmed,
        // A final inclusion is an outcome, and never pending.
        Certainty::Finalized => return false,
    };
    matches!(observed.order.order().state.phase(), Phase::Submitted { stage, .. } if *stage < stage_seen)
}
