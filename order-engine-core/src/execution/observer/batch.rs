//! One observation: the venue is asked about a batch of transactions, and what follows is done.
//!
//! A call that fails may fail because of one of its transactions. Those that were asked about together are
//! asked about in two halves next time, until the one that fails stands alone and harms no other.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tokio::sync::mpsc;

use super::acts::{Act, Acts, is_sendable};
use super::observed::{Observed, ObservedOrder, Written};
use super::report::{Question, Report};
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::fee_bump::{Addition, Need, Waiting};
use crate::domain::ids::TxId;
use crate::domain::phase::{Phase, Stage};
use crate::domain::retry_policy::is_expired;
use crate::domain::siblings::Purpose;
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::{Certainty, Observation, TxRef, Validity};
use crate::domain::verdict::{Inclusion, Verdict, verdict};
use crate::execution::context::Context;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::venue::VenueError;
use crate::resilience::breaker::Admission;
use crate::telemetry::{self, StepName};

/// After this many observations without news a transaction is observed more rarely.
const QUIET_OBSERVATIONS: u32 = 40;
/// How much more rarely.
const QUIET_FACTOR: u32 = 8;
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
    acts: Arc<Acts>,
}

impl BatchObserver {
    pub(super) fn new(
        context: Arc<Context>,
        venue: Arc<KnownVenue>,
        incoming: mpsc::UnboundedSender<ObservedOrder>,
    ) -> Self {
        let acts = Acts::new(Arc::clone(&context), Arc::clone(&venue), incoming);
        Self { context, venue, acts: Arc::new(acts) }
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
        match &report {
            Ok(report) => {
                for observed in &mut batch {
                    observed.batch_max = usize::MAX;
                    if let Err(illegal) = self.conclude(observed, report, now) {
                        log_defect(observed, &illegal);
                    }
                }
            }
            Err(unanswered) => {
                tracing::warn!(venue = %self.venue.name, transactions = asked, error = %telemetry::chain(unanswered), "transactions could not be observed");
                if matches!(unanswered, Unanswered::Observe(_)) {
                    for observed in &mut batch {
                        self.halve(observed, asked, now);
                    }
                }
            }
        }
        let mut stays = Vec::new();
        let mut acts = Vec::new();
        for mut observed in self.commit(batch).await {
            let need = report.as_ref().map_or(Need::Nothing, |report| self.need(&mut observed, report));
            match need {
                Need::Addition(addition) if observed.rests_until.is_none_or(|until| until <= now) => {
                    acts.push((observed, Act::Sign(addition)));
                }
                _ if self.is_to_be_resent(&observed, now) => acts.push((observed, Act::Resend)),
                _ => stays.push(self.with_interval(observed)),
            }
        }
        self.acts.begin(acts);
        stays
    }

    /// Asks the venue. Events that wait to be written are written with the conclusions if the venue answers
    /// at once, and meanwhile if not.
    async fn ask_while_committing(
        &self,
        batch: Vec<ObservedOrder>,
    ) -> (Vec<ObservedOrder>, Result<Report, Unanswered>) {
        let mut asked = pin!(self.ask(Question::about(&batch)));
        if let Some(report) = asked.as_mut().now_or_never() {
            (batch, report)
        } else {
            join(self.commit(batch), asked).await
        }
    }

    /// Asks the venue for the facts that verdicts are drawn from: the heights and the accounts first.
    async fn ask(&self, Question { accounts, txs }: Question) -> Result<Report, Unanswered> {
        telemetry::timed(StepName::Observe, &self.context.tasks.runtime, async {
            let early = if planted!(SearchBeforeHeight) { Some(self.observe_txs(&txs).await?) } else { None };
            let venue = &self.venue.venue;
            let view = self.ask_one("venue.view", venue.view()).await.map_err(Unanswered::View)?;
            self.venue.learn(view);
            let early = match early {
                None if planted!(SearchBeforeNonce) => Some(self.observe_txs(&txs).await?),
                early => early,
            };
            let views = if accounts.is_empty() {
                Vec::new()
            } else {
                self.ask_one("venue.accounts", venue.accounts(&accounts)).await.map_err(Unanswered::View)?
            };
            let accounts = accounts.into_iter().zip(views).collect();
            let observations = match early {
                Some(early) => early.into_iter().map(trusted).collect(),
                None => self.observe_txs(&txs).await?,
            };
            let ids = txs.into_iter().map(|(id, _)| id);
            Ok(Report { view, accounts, observations: ids.zip(observations).collect() })
        })
        .await
    }

    async fn observe_txs(&self, txs: &[(TxId, Validity)]) -> Result<Vec<Observation>, Unanswered> {
        let txs: Vec<TxRef<'_>> = txs.iter().map(|(id, validity)| TxRef::new(id, validity)).collect();
        self.ask_one("venue.observe", self.venue.venue.observe(&txs)).await.map_err(Unanswered::Observe)
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

    /// Records what follows from the report about an order's transactions.
    fn conclude(
        &self,
        observed: &mut ObservedOrder,
        report: &Report,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let Some(siblings) = observed.siblings() else { return Ok(()) };
        let Some(observations) = report.observations(siblings) else { return Ok(()) };
        let account = report.account(siblings);
        if siblings.nonce().is_some() && account.is_none() {
            return Ok(());
        }
        let at = self.context.now();
        let conclusion = verdict(siblings, &report.view, account, &observations);
        let is_undone = is_undone(&observed.order.order().state, &observations);
        observed.quiet_observations += 1;
        observed.is_absent = conclusion == Verdict::Pending(None) && observations.iter().all(is_not_found);
        match conclusion {
            Verdict::Landed(tx_id, fill) => {
                observed.order.record(OrderEvent::Confirmed { tx_id, fill }, at)?;
            }
            Verdict::Dead(proof, failure, class) => {
                observed.order.record(OrderEvent::TransactionDied { proof, failure, class }, at)?;
                if let Some(event) = self.context.retry_unless_late(observed.order.order()) {
                    observed.order.record(event, at)?;
                }
            }
            Verdict::Pending(Some(inclusion)) if is_news(observed, inclusion) => {
                observed.quiet_observations = 0;
                observed.doubt = None;
                let Inclusion { certainty, height, .. } = inclusion;
                observed.order.record(OrderEvent::InclusionObserved { certainty, height }, at)?;
            }
            Verdict::Pending(None) if is_undone => {
                observed.quiet_observations = 0;
                observed.order.record(OrderEvent::InclusionUndone, at)?;
            }
            Verdict::Pending(None) if observed.is_absent => {
                self.doubt(observed, UnknownReason::Absent, now)?;
            }
            Verdict::Pending(_) => observed.doubt = None,
            Verdict::Unknown => self.doubt(observed, UnknownReason::Unproven, now)?,
        }
        Ok(())
    }

    /// Returns what an order's transactions need, if they are not included.
    fn need(&self, observed: &mut ObservedOrder, report: &Report) -> Need {
        let order = Arc::clone(observed.order.order());
        let Some(siblings) = order.state.siblings() else { return Need::Nothing };
        let Some(account) = report.account(siblings) else { return Need::Nothing };
        let heights = observed.heights_waited(&account.latest, report.view.processed);
        let is_past_height =
            siblings.original().validity.until_height().is_some_and(|height| report.view.finalized > height);
        let is_to_end =
            order.state.is_cancel_requested() || is_expired(&order, self.context.now()) || is_past_height;
        let need = self.venue.fee_bumps.need(&Waiting { siblings, account, heights, is_to_end });
        match need {
            Need::Addition(Addition::Sibling(Purpose::FeeBump)) if !self.venue.capabilities.replaces => {
                Need::Nothing
            }
            Need::Operator => {
                if order.state.may_be_unknown(UnknownReason::Stuck) {
                    self.call_operator(observed);
                }
                Need::Nothing
            }
            need => need,
        }
    }

    /// Records that an operator has to look at a transaction that is stuck. It is written with the next
    /// observation.
    fn call_operator(&self, observed: &mut ObservedOrder) {
        let stuck = OrderEvent::OutcomeUnknown { reason: UnknownReason::Stuck };
        tracing::warn!(order.id = %observed.order.order().id, "a transaction is stuck, and its fee may not be raised any further");
        if let Err(illegal) = observed.order.record(stuck, self.context.now()) {
            log_defect(observed, &illegal);
        }
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
            UnknownReason::Unproven
            | UnknownReason::Unobservable
            | UnknownReason::NoVenue
            | UnknownReason::Stuck => self.context.config.unknown_after,
        };
        let may_be_said = observed.order.order().state.may_be_unknown(reason);
        if !may_be_said || since + patience > now {
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
        let written = observed.commit(&self.context).await;
        if written == Written::Done && observed.siblings().is_none() {
            self.context.wakers.wake_for(observed.order.order());
        }
        (written != Written::GivenUp && observed.siblings().is_some()).then_some(observed)
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
}

/// Returns what a search found before the heights were read, as if it had been made afterwards.
fn trusted(observation: Observation) -> Observation {
    match observation {
        Observation::NotFound { searched_through: Some(_), seen_through } => {
            Observation::NotFound { searched_through: Some(u64::MAX), seen_through }
        }
        other => other,
    }
}

const fn is_not_found(observation: &Observation) -> bool {
    matches!(observation, Observation::NotFound { .. })
}

/// Whether the block in which a transaction was seen is no longer part of the chain: nodes that have seen as many
/// blocks know none of the transactions.
fn is_undone(state: &OrderState, observations: &[Observation]) -> bool {
    let Phase::Submitted { included_at: Some(height), .. } = state.phase() else { return false };
    observations.iter().all(|observation| {
        matches!(observation, Observation::NotFound { seen_through: Some(seen), .. } if seen >= height)
    })
}

fn log_defect(observed: &ObservedOrder, illegal: &IllegalTransition) {
    tracing::error!(order.id = %observed.order.order().id, error = %illegal, "defect in the observer");
}

fn is_news(observed: &ObservedOrder, inclusion: Inclusion) -> bool {
    let stage_seen = match inclusion.certainty {
        Certainty::Processed => Stage::Processed,
        Certainty::Confirmed => Stage::Confirmed,
        // A final inclusion is an outcome, and never pending.
        Certainty::Finalized => return false,
    };
    let Phase::Submitted { stage, included_at, .. } = observed.order.order().state.phase() else {
        return false;
    };
    *stage < stage_seen || included_at.is_some_and(|known| known != inclusion.height)
}
