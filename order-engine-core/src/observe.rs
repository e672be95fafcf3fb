//! The other half of an order's path: from a transaction that may have been sent to its outcome.
//!
//! One task watches all transactions of the process, many in one call of the venue. A watched
//! order takes no worker slot; its lease stays with this process, so that nothing is written while
//! nothing changes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::active::ActiveOrder;
use crate::committer::CommitError;
use crate::engine::Inner;
use crate::execute::ExecuteError;
use crate::telemetry::{self, StepName};
use crate::{
    AppendError, Certainty, ChainView, IllegalTransition, Observation, OrderEvent, OrderId, Phase, SignedTx,
    Stage, TxId, UnknownReason, VenueError, Verdict, verdict,
};

/// After so many looks without news a transaction is looked at more rarely.
const QUIET_LOOKS: u32 = 40;
/// How much more rarely.
const QUIET_FACTOR: u32 = 8;
/// How many transactions are sent again at a time.
const RESENDS: usize = 16;

/// An order whose transaction is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) active: ActiveOrder,
    /// When this process last sent the transaction.
    pub(crate) last_sent: Option<DateTime<Utc>>,
    /// Looks in a row that brought no news.
    quiet_looks: u32,
    /// Whether the venue did not know the transaction at the last look, and it may still land.
    is_absent: bool,
    /// Since when the transaction should be dead, but the venue cannot prove it.
    unknown_since: Option<DateTime<Utc>>,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    pub(crate) const fn new(
        active: ActiveOrder,
        last_sent: Option<DateTime<Utc>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { active, last_sent, quiet_looks: 0, is_absent: false, unknown_since: None, _permit: permit }
    }

    fn transaction(&self) -> Option<&SignedTx> {
        self.active.order().state.live_transaction()
    }
}

impl Inner {
    /// Hands an order to the observer. Where it has no room, the order waits in the store.
    pub(crate) async fn watch(
        &self,
        mut active: ActiveOrder,
        last_sent: Option<DateTime<Utc>>,
    ) -> Result<(), ExecuteError> {
        match Arc::clone(&self.observe_slots).try_acquire_owned() {
            Ok(permit) => {
                // Without an observer the engine has shut down; dropping gives the lease back.
                let _ = self.arrivals.send(Watch::new(active, last_sent, permit));
                Ok(())
            }
            Err(_) => match active.give_back(&self.committer, self.config.observe_interval).await {
                Ok(()) => Ok(()),
                Err(CommitError::Closed) => Err(ExecuteError::Closed),
                Err(CommitError::Store(error)) => Err(ExecuteError::Store(error)),
                Err(_) => Err(ExecuteError::LeaseLost),
            },
        }
    }
}

/// Watches transactions until the engine stops.
pub(crate) async fn run(engine: Arc<Inner>, mut arrivals: mpsc::UnboundedReceiver<Watch>) {
    let mut observer = Observer { engine, watched: BTreeMap::new() };
    let mut stop = observer.engine.closing();
    loop {
        while let Ok(watch) = arrivals.try_recv() {
            observer.admit(watch, Duration::ZERO);
        }
        let batch = observer.take_due();
        if !batch.is_empty() {
            observer.look(batch).await;
            // Stopping is looked at between batches: a batch that began is brought to its end.
            if stop.is_stopping() {
                break;
            }
            continue;
        }
        let idle = observer.until_next_look();
        tokio::select! {
            biased;
            () = stop.wait() => break,
            watch = arrivals.recv() => match watch {
                Some(watch) => observer.admit(watch, Duration::ZERO),
                None => break,
            },
            () = observer.engine.runtime.clock.sleep(idle) => {}
        }
    }
    observer.give_back(arrivals).await;
}

struct Observer {
    engine: Arc<Inner>,
    /// By the time of the next look.
    watched: BTreeMap<(DateTime<Utc>, OrderId), Watch>,
}

/// What a venue says: how far its chain had come, and then what it knew of each transaction.
type Report = Result<(ChainView, BTreeMap<TxId, Observation>), VenueError>;

impl Observer {
    fn admit(&mut self, watch: Watch, look_in: Duration) {
        let look_at = self.engine.runtime.now() + look_in;
        self.watched.insert((look_at, watch.active.order().id), watch);
    }

    /// Takes the orders that are due for a look, and are still ours.
    fn take_due(&mut self) -> Vec<Watch> {
        let now = self.engine.runtime.now();
        let mut due = Vec::new();
        while due.len() < self.engine.config.observe_batch {
            match self.watched.first_entry() {
                Some(entry) if entry.key().0 <= now => due.push(entry.remove()),
                _ => break,
            }
        }
        due.retain(|watch| !watch.active.lease().is_lost());
        due
    }

    fn until_next_look(&self) -> Duration {
        let now = self.engine.runtime.now();
        self.watched.first_key_value().map_or(self.engine.config.poll_interval, |((look_at, _), _)| {
            // A wait that is cut to whole milliseconds must not end just before its time.
            (*look_at - now).to_std().unwrap_or_default() + Duration::from_millis(1)
        })
    }

    /// Looks at a batch of transactions and does what follows.
    async fn look(&mut self, batch: Vec<Watch>) {
        let (mut batch, report) = self.ask_alongside(batch).await;
        let now = self.engine.runtime.now();
        match report {
            Ok((view, mut observations)) => {
                for watch in &mut batch {
                    let observation = watch.transaction().and_then(|tx| observations.remove(&tx.id));
                    let Some(observation) = observation else { continue };
                    if let Err(illegal) = self.conclude(watch, &view, &observation, now) {
                        tracing::error!(order.id = %watch.active.order().id, error = %illegal, "defect in the observer");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(transactions = batch.len(), %error, "transactions could not be observed");
            }
        }
        let batch = self.commit(batch).await;
        let (absent, present): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|watch| self.is_to_be_resent(watch, now));
        for watch in present {
            self.admit_again(watch);
        }
        self.resend(absent);
    }

    /// Asks the venue. Events that wait to be written ride with the conclusions if it answers at
    /// once, and are written meanwhile if not.
    async fn ask_alongside(&self, batch: Vec<Watch>) -> (Vec<Watch>, Report) {
        let ids = batch.iter().filter_map(|watch| Some(watch.transaction()?.id.clone())).collect();
        let mut asked = pin!(self.ask(ids));
        if let Some(report) = asked.as_mut().now_or_never() {
            (batch, report)
        } else {
            futures_util::join!(self.commit(batch), asked)
        }
    }

    /// Asks the venue for the facts from which verdicts are drawn: the view first.
    async fn ask(&self, ids: Vec<TxId>) -> Report {
        let venue = &self.engine.venue;
        let asked = telemetry::timed(StepName::Observe, &self.engine.runtime, async {
            let view = venue.view().await?;
            let observations = venue.observe(&ids).await?;
            Ok((view, observations))
        });
        let asked = self.engine.in_time(asked);
        let (view, observations) =
            asked.await.unwrap_or_else(|| Err(VenueError::new("no answer in time")))?;
        Ok((view, ids.into_iter().zip(observations).collect()))
    }

    /// Records what follows from a report.
    fn conclude(
        &self,
        watch: &mut Watch,
        view: &ChainView,
        observation: &Observation,
        now: DateTime<Utc>,
    ) -> Result<(), IllegalTransition> {
        let Some(tx) = watch.transaction() else { return Ok(()) };
        let conclusion = verdict(tx, view, observation);
        watch.quiet_looks += 1;
        watch.is_absent =
            conclusion == Verdict::Pending(None) && matches!(observation, Observation::NotFound { .. });
        match conclusion {
            Verdict::Landed(fill) => watch.active.record(OrderEvent::Confirmed { fill }, now)?,
            Verdict::Dead(proof, failure, class) => {
                watch.active.record(OrderEvent::TransactionDied { proof, failure, class }, now)?;
                if let Some(event) = self.engine.settle(watch.active.order()) {
                    watch.active.record(event, now)?;
                }
            }
            Verdict::Pending(Some(certainty)) if is_news(watch, certainty) => {
                watch.quiet_looks = 0;
                watch.active.record(OrderEvent::InclusionObserved { certainty }, now)?;
            }
            Verdict::Pending(_) => watch.unknown_since = None,
            Verdict::Unknown => {
                let since = *watch.unknown_since.get_or_insert(now);
                let is_told = watch.active.order().state.attention().is_some();
                // A venue whose history lags answers in a moment; an operator is told if it does not.
                if !is_told && since + self.engine.config.unknown_after <= now {
                    tracing::warn!(order.id = %watch.active.order().id, "the outcome of a transaction is unknown");
                    watch
                        .active
                        .record(OrderEvent::OutcomeUnknown { reason: UnknownReason::Unproven }, now)?;
                }
            }
        }
        Ok(())
    }

    /// Writes what is to be written; gives those that are still to be watched.
    async fn commit(&self, batch: Vec<Watch>) -> Vec<Watch> {
        let written = batch.into_iter().map(|watch| self.commit_one(watch));
        join_all(written).await.into_iter().flatten().collect()
    }

    async fn commit_one(&self, mut watch: Watch) -> Option<Watch> {
        let order_id = watch.active.order().id;
        match watch.active.commit(&self.engine.committer).await {
            Ok(()) if watch.transaction().is_some() => Some(watch),
            Ok(()) => {
                self.engine.wake_for(watch.active.order());
                None
            }
            Err(CommitError::Append(AppendError::StaleRevision { .. })) => {
                // A cancel, for instance. The lease is still ours: go on from what is there now.
                let order = self.engine.reload(order_id).await.ok()?;
                watch.active.reset(order);
                watch.transaction().is_some().then_some(watch)
            }
            Err(error) => {
                tracing::warn!(order.id = %order_id, %error, "a watched order is given up");
                None
            }
        }
    }

    fn admit_again(&mut self, watch: Watch) {
        let factor = if watch.quiet_looks > QUIET_LOOKS { QUIET_FACTOR } else { 1 };
        self.admit(watch, self.engine.config.observe_interval * factor);
    }

    /// Whether sending a transaction again can help. A cancelled one is left to die.
    fn is_to_be_resent(&self, watch: &Watch, now: DateTime<Utc>) -> bool {
        watch.is_absent
            && !watch.active.order().state.is_cancel_requested()
            && watch.last_sent.is_none_or(|at| at + self.engine.config.resend_interval <= now)
    }

    /// Sends the committed bytes again, beside the looking; the orders come back as arrivals.
    fn resend(&self, absent: Vec<Watch>) {
        if absent.is_empty() {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let task = stream::iter(absent)
            .for_each_concurrent(RESENDS, move |watch| resend_one(Arc::clone(&engine), watch));
        self.engine.spawn("resend", Box::pin(task));
    }

    /// Writes what is still to be written and gives all leases back.
    async fn give_back(self, mut arrivals: mpsc::UnboundedReceiver<Watch>) {
        arrivals.close();
        let mut remaining: Vec<Watch> = self.watched.into_values().collect();
        while let Some(watch) = arrivals.recv().await {
            remaining.push(watch);
        }
        let committer = &self.engine.committer;
        let given_back = remaining.iter_mut().map(|watch| watch.active.give_back(committer, Duration::ZERO));
        for error in join_all(given_back).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a watched order could not be given back; its lease will expire");
        }
    }
}

fn is_news(watch: &Watch, certainty: Certainty) -> bool {
    let seen = match certainty {
        Certainty::Processed => Stage::Processed,
        Certainty::Confirmed => Stage::Confirmed,
        // A final inclusion is an outcome, and never pending.
        Certainty::Finalized => return false,
    };
    matches!(watch.active.order().state.phase(), Phase::Submitted { stage, .. } if *stage < seen)
}

async fn resend_one(engine: Arc<Inner>, mut watch: Watch) {
    let now = engine.runtime.now();
    watch.last_sent = Some(now);
    // Somebody without a lease may have asked for a cancel since this process last wrote.
    match engine.reload(watch.active.order().id).await {
        Ok(order) => watch.active.reset(order),
        Err(error) => {
            tracing::warn!(order.id = %watch.active.order().id, %error, "an order could not be read before it is sent again");
            return;
        }
    }
    let order = Arc::clone(watch.active.order());
    if let Some(tx) = order.state.live_transaction().filter(|_| !order.state.is_cancel_requested()) {
        let accepted = engine.send(tx).await;
        let is_new = matches!(order.state.phase(), Phase::Submitted { stage: Stage::Sending, .. });
        if accepted
            && is_new
            && watch.active.record(OrderEvent::SubmissionAccepted, engine.runtime.now()).is_err()
        {
            return;
        }
    }
    // Without an observer the engine has shut down; dropping gives the lease back.
    let _ = engine.arrivals.send(watch);
}
