//! One observation: the venue is asked about a batch of transactions, and what follows is done.
//!
//! A call that fails may fail because of one of its transactions. Those that were asked about together are
//! asked about in two halves next time, until the one that fails stands alone and harms no other.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{join, join_all};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::commit::committer::CommitError;
use crate::domain::event::{OrderEvent, UnknownReason};
use crate::domain::fee_bump::{Need, Waiting};
use crate::domain::ids::{AccountId, TxId};
use crate::domain::order::Order;
use crate::domain::phase::{Phase, Stage};
use crate::domain::retry_policy::is_expired;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::transaction::{AccountView, Certainty, ChainView, Observation};
use crate::domain::verdict::{Inclusion, Verdict, verdict};
use crate::execution::context::Context;
use crate::execution::leased_order::LeasedOrder;
use crate::execution::venues::KnownVenue;
use crate::planted::planted;
use crate::ports::controls::Activity;
use crate::ports::order_store::write::AppendError;
use crate::ports::venue::{ReplaceRequest, VenueError};
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
    /// The transaction that was signed last, and at which height it was first seen to be its account's next.
    pub(super) waits_since: Option<(TxId, u64)>,
    /// Before this no sibling is signed: the last one could not be.
    pub(super) rests_until: Option<DateTime<Utc>>,
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
            waits_since: None,
            rests_until: None,
            batch_max: usize::MAX,
            _slots: slots,
        }
    }

    pub(super) fn siblings(&self) -> Option<&Siblings> {
        self.order.order().state.siblings()
    }

    /// Returns for how many heights the transaction that was signed last has been its account's next one.
    fn heights_waited(&mut self, is_first: bool, processed: u64) -> u64 {
        let latest = self.siblings().map(|siblings| siblings.latest().tx.id.clone());
        let Some(latest) = latest.filter(|_| is_first) else {
            self.waits_since = None;
            return 0;
        };
        match &self.waits_since {
            Some((known, since)) if *known == latest => processed.saturating_sub(*since),
            _ => {
                self.waits_since = Some((latest, processed));
                0
            }
        }
    }
}

/// The orders that are still observed after an observation, and how soon each is observed again.
pub(super) type Observed = Vec<(ObservedOrder, Duration)>;

/// What the venue knows: how far its chain and the accounts had come, and then what it knew of each transaction.
#[derive(Debug)]
struct Report {
    view: ChainView,
    accounts: BTreeMap<AccountId, AccountView>,
    observations: BTreeMap<TxId, Observation>,
}

impl Report {
    /// Returns what it says of an attempt's transactions, in their order; nothing if it does not say all.
    fn of(&self, siblings: &Siblings) -> Option<(Option<&AccountView>, Vec<Observation>)> {
        let account = match siblings.nonce() {
            Some(nonce) => Some(self.accounts.get(&nonce.account)?),
            None => None,
        };
        let observations = siblings.ids().map(|id| self.observations.get(id).cloned());
        Some((account, observations.collect::<Option<_>>()?))
    }
}

/// What there is to ask about.
#[derive(Debug)]
struct Question {
    accounts: Vec<AccountId>,
    tx_ids: Vec<TxId>,
}

impl Question {
    fn about(batch: &[ObservedOrder]) -> Self {
        let siblings = || batch.iter().filter_map(ObservedOrder::siblings);
        let accounts: BTreeSet<_> =
            siblings().filter_map(Siblings::nonce).map(|nonce| nonce.account.clone()).collect();
        let tx_ids = siblings().flat_map(Siblings::ids).cloned().collect();
        Self { accounts: accounts.into_iter().collect(), tx_ids }
    }
}

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
                Need::Sibling(purpose) if observed.rests_until.is_none_or(|until| until <= now) => {
                    acts.push((observed, Act::Replace(purpose)));
                }
                _ if self.is_to_be_resent(&observed, now) => acts.push((observed, Act::Resend)),
                _ => stays.push(self.with_interval(observed)),
            }
        }
        self.act(acts);
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
    async fn ask(&self, Question { accounts, tx_ids }: Question) -> Result<Report, Unanswered> {
        telemetry::timed(StepName::Observe, &self.context.tasks.runtime, async {
            let early =
                if planted!(SearchBeforeHeight) { Some(self.observe_ids(&tx_ids).await?) } else { None };
            let venue = &self.venue.venue;
            let view = self.ask_one("venue.view", venue.view()).await.map_err(Unanswered::View)?;
            self.venue.learn(view);
            let views = if accounts.is_empty() {
                Vec::new()
            } else {
                self.ask_one("venue.accounts", venue.accounts(&accounts)).await.map_err(Unanswered::View)?
            };
            let accounts = accounts.into_iter().zip(views).collect();
            let observations = match early {
                Some(early) => early.into_iter().map(trusted).collect(),
                None => self.observe_ids(&tx_ids).await?,
            };
            Ok(Report { view, accounts, observations: tx_ids.into_iter().zip(observations).collect() })
        })
        .await
    }

    async fn observe_ids(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, Unanswered> {
        self.ask_one("venue.observe", self.venue.venue.observe(tx_ids)).await.map_err(Unanswered::Observe)
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
        let Some((account, observations)) = report.of(siblings) else { return Ok(()) };
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
        let Some((Some(account), _)) = report.of(siblings) else { return Need::Nothing };
        let is_first = siblings.nonce().is_some_and(|nonce| nonce.value == account.latest);
        let heights = observed.heights_waited(is_first, report.view.processed);
        let is_past_height =
            siblings.original().validity.until_height().is_some_and(|height| report.view.finalized > height);
        let is_to_end =
            order.state.is_cancel_requested() || is_expired(&order, self.context.now()) || is_past_height;
        let need = self.venue.fee_bumps.need(&Waiting { siblings, account, heights, is_to_end });
        match need {
            Need::Sibling(Purpose::FeeBump) if !self.venue.capabilities.replaces => Need::Nothing,
            Need::Operator => {
                if order.state.attention().is_none() {
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
            Ok(()) if observed.siblings().is_some() => Some(observed),
            Ok(()) => {
                self.context.wakers.wake_for(observed.order.order());
                None
            }
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The lease is still ours: go on from what is there now.
                let order = self.context.load(order_id).await.ok()?;
                observed.order.reset(order);
                observed.siblings().is_some().then_some(observed)
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

    /// Sends again, or sends siblings, beside the observing; the orders come back to the observer.
    fn act(self: &Arc<Self>, acts: Vec<(ObservedOrder, Act)>) {
        if acts.is_empty() {
            return;
        }
        let batches = Arc::clone(self);
        let task = stream::iter(acts)
            .for_each_concurrent(RESENDS, move |(observed, act)| Arc::clone(&batches).act_for(observed, act));
        self.context.tasks.spawn("resend", Box::pin(task));
    }

    async fn act_for(self: Arc<Self>, mut observed: ObservedOrder, act: Act) {
        let context = &self.context;
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
        let goes_on = match act {
            Act::Resend => {
                // Also if it is held back: it is not looked at again before its time.
                observed.last_sent = Some(context.local_now());
                let may_send = is_sendable(&order.state) && !is_paused;
                !may_send || self.send_again(&mut observed, &order).await
            }
            // What takes an order's place moves no money: a pause does not keep it.
            Act::Replace(purpose) => {
                observed.rests_until = Some(context.local_now() + context.config.resend_interval);
                (purpose.is_swap() && is_paused) || self.replace(&mut observed, &order, purpose).await
            }
        };
        if goes_on {
            // Without the observer the engine has shut down; dropping the order releases its lease.
            let _ = self.incoming.send(observed);
        }
    }

    /// Sends the transaction again that was signed last. Returns whether the order is observed further.
    async fn send_again(&self, observed: &mut ObservedOrder, order: &Order) -> bool {
        let context = &self.context;
        let Some(tx) = order.state.live_transaction() else { return true };
        let is_accepted = context.send(&self.venue, tx).await;
        let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
        !(is_accepted && is_new)
            || observed.order.record(OrderEvent::SubmissionAccepted, context.now()).is_ok()
    }

    /// Signs a sibling of the transaction that was signed last, commits it, and only then sends it. Returns
    /// whether the order is observed further.
    async fn replace(&self, observed: &mut ObservedOrder, order: &Order, purpose: Purpose) -> bool {
        let context = &self.context;
        if !self.is_still_needed(order, purpose).await {
            return true;
        }
        let Some(siblings) = order.state.siblings() else { return true };
        let (latest, percent) = (&siblings.latest().tx, self.venue.fee_bumps.fee_percent);
        let request = ReplaceRequest::new(order, latest, percent, observed.order.fence());
        let venue = &self.venue.venue;
        let signing = match purpose {
            Purpose::Cancel => venue.cancel_transaction(request),
            _ => venue.replace(request),
        };
        let signed = context.in_time(context.tasks.supervisor.guard("venue.replace", signing)).await;
        let tx = match signed {
            Some(Ok(Ok(tx))) => Arc::new(tx),
            Some(Ok(Err(error))) => {
                tracing::warn!(order.id = %order.id, error = %telemetry::chain(&error), "a sibling could not be signed");
                return true;
            }
            Some(Err(_)) | None => return true,
        };
        if planted!(SiblingBeforeCommit) {
            context.send(&self.venue, &tx).await;
        }
        let event = OrderEvent::SiblingSigned { purpose, tx: Arc::clone(&tx) };
        if let Err(illegal) = observed.order.record(event, context.now()) {
            tracing::error!(order.id = %order.id, tx.id = %tx.id, error = %illegal, "the venue signed what is no sibling");
            return true;
        }
        match observed.order.commit(&context.committer).await {
            Ok(()) => {}
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The next observation decides anew.
                return match context.load(order.id).await {
                    Ok(order) => {
                        observed.order.reset(order);
                        true
                    }
                    Err(_) => false,
                };
            }
            Err(error) => {
                tracing::warn!(order.id = %order.id, error = %telemetry::chain(&error), "a sibling could not be committed");
                return false;
            }
        }
        observed.last_sent = Some(context.local_now());
        observed.rests_until = None;
        observed.quiet_observations = 0;
        context.send(&self.venue, &tx).await;
        true
    }

    /// Whether a sibling is still wanted by what the store has. A deadline decides by the store's clock.
    async fn is_still_needed(&self, order: &Order, purpose: Purpose) -> bool {
        let is_to_end = order.state.is_cancel_requested();
        let Some(siblings) = order.state.siblings() else { return false };
        match purpose {
            Purpose::Cancel if is_to_end || order.expires_at().is_none() => true,
            // Its last height has passed for good.
            Purpose::Cancel if siblings.original().validity.until_height().is_some() => true,
            Purpose::Cancel => self.context.deadline_now(order).await.is_ok_and(|now| is_expired(order, now)),
            _ => !is_to_end,
        }
    }
}

/// What is done for an order beside its observation.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The committed bytes are sent again.
    Resend,
    /// A sibling takes their place.
    Replace(Purpose),
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

/// Whether the transaction that was signed last may be sent: a swap only while the order is not to end.
fn is_sendable(state: &OrderState) -> bool {
    let Phase::Submitted { siblings, cancel_requested, .. } = state.phase() else { return false };
    !cancel_requested || !siblings.latest().purpose.is_swap() || planted!(CancelledIsSentAgain)
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
