//! An order's events, from any point of its history into its future, without a gap.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::delivery::heads::Heads;
use crate::delivery::hub::{ListenEnd, Listener};
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::resilience::supervisor::Supervisor;

/// How many events of the history are read at once. The whole history of nearly every order fits.
const PAGE: u32 = 256;

/// The events of one order: history after a point, then live, in order, without gap or duplicate.
///
/// ```
/// # use order_engine_core::testing::{self, ScriptedRouter, ScriptedVenue};
/// # use order_engine_core::{Engine, MemoryStore, Submission};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (store, router, venue) = (MemoryStore::new(), ScriptedRouter::new(), ScriptedVenue::new());
/// # let engine = Engine::builder().store(store).router(router).venue(venue).build().await?;
/// let Submission::Created(order) = engine.submit(testing::request()).await? else { unreachable!() };
/// let mut events = engine.subscribe(order.id, 0).await?.expect("it was just created");
/// let first = events.next().await.expect("an order has events")?;
/// assert_eq!((first.seq, first.event.kind()), (1, "accepted"));
///
/// // A client that lost its connection goes on after the last event that it has seen.
/// drop(events);
/// let mut events = engine.subscribe(order.id, first.seq).await?.expect("it is still there");
/// tokio::spawn(engine.run(1));
/// let mut last = first;
/// while let Some(event) = events.next().await {
///     let event = event?;
///     assert_eq!(event.seq, last.seq + 1);
///     last = event;
/// }
/// assert!(last.status.is_terminal());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription {
    store: Arc<dyn OrderStore>,
    supervisor: Arc<Supervisor>,
    listener: Listener,
    order_id: OrderId,
    last_seq: u64,
    /// The number of the next event to return.
    next_seq: u64,
    /// Events read from the store and not yet returned.
    read: VecDeque<Arc<EventRecord>>,
    /// Whether the store may have events that will not be published to the listener.
    behind: bool,
    ended: bool,
}

/// Why a subscription has no next event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The subscriber was too slow: more events waited than its queue holds.
    #[error("the subscriber fell behind; resume after event {resume_after}")]
    Lagged {
        /// The number of the last event that was returned; subscribe again after it.
        resume_after: u64,
    },
    /// The store could not be read. The subscription goes on; the next call tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine shuts down; subscribe again, elsewhere or later, after `resume_after`.
    #[error("the engine shuts down; resume after event {resume_after}")]
    Closed {
        /// The number of the last event that was returned.
        resume_after: u64,
    },
}

impl Subscription {
    /// Begins a subscription. Returns nothing if there is no such order. The listener is already listening, so
    /// that no event is missed between the reading and the listening.
    ///
    /// Without `heads`, what this process remembers of an order needs no comparison with the store: whoever adds
    /// to it tells this process.
    pub(crate) async fn begin(
        (store, supervisor): (Arc<dyn OrderStore>, Arc<Supervisor>),
        heads: Option<&Heads>,
        listener: Listener,
        order_id: OrderId,
        after: u64,
    ) -> Result<Option<Self>, StoreError> {
        let mut begun = Self {
            store,
            supervisor,
            listener,
            order_id,
            last_seq: 0,
            next_seq: after.saturating_add(1),
            read: VecDeque::new(),
            behind: true,
            ended: false,
        };
        if begun.recall(heads).await {
            return Ok(Some(begun));
        }
        // If there are events to return, the same read also finds the last one.
        begun.read_page().await?;
        begun.last_seq = match begun.read.back() {
            Some(last) if !begun.behind => last.seq,
            _ => match begun.read_last_seq().await? {
                Some(last_seq) => last_seq,
                None => return Ok(None),
            },
        };
        if begun.read.is_empty() {
            begun.behind = begun.cursor() < begun.last_seq;
            begun.ended = !begun.behind && begun.is_past_the_end().await?;
        }
        Ok(Some(begun))
    }

    /// Begins from the history that this process remembers, if it is complete. Returns whether it is.
    async fn recall(&mut self, heads: Option<&Heads>) -> bool {
        if !self.listener.is_recent() {
            return false;
        }
        // The store is asked first, so that what is published meanwhile is remembered by now.
        let last_seq = match heads {
            Some(heads) => heads.of(self.order_id).await,
            None => Some(1),
        };
        let Some(last_seq) = last_seq else { return false };
        let Some((history, last)) = self.listener.history(self.cursor(), last_seq) else { return false };
        self.listener.note(last.seq);
        self.last_seq = last.seq;
        self.behind = false;
        self.ended = history.is_empty() && last.status.is_terminal();
        self.read = history.into();
        true
    }

    /// Returns the number of the order's last event when the subscription began.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Returns the number of the last event that was returned: where to resume.
    pub const fn cursor(&self) -> u64 {
        self.next_seq - 1
    }

    /// Waits for the next event. Returns nothing after the terminal event.
    ///
    /// Safe to drop: no event is lost.
    ///
    /// # Errors
    /// [`SubscribeError::Lagged`] and [`SubscribeError::Closed`] end the subscription;
    /// [`SubscribeError::Store`] does not.
    pub async fn next(&mut self) -> Option<Result<Arc<EventRecord>, SubscribeError>> {
        while !self.ended {
            if let Some(event) = self.read.pop_front() {
                if let Some(event) = self.take(event) {
                    return Some(Ok(event));
                }
            } else if self.behind {
                if let Err(error) = self.catch_up().await {
                    return Some(Err(error.into()));
                }
            } else {
                match self.listener.next().await {
                    Ok(event) if event.seq > self.next_seq && !planted!(SubscriptionSkipsGaps) => {
                        self.behind = true;
                    }
                    Ok(event) => {
                        if let Some(event) = self.take(event) {
                            return Some(Ok(event));
                        }
                    }
                    Err(end) => {
                        self.ended = true;
                        return Some(Err(self.end(&end)));
                    }
                }
            }
        }
        None
    }

    /// Returns the subscription as a stream. It ends as [`next`](Self::next) does.
    pub fn into_stream(self) -> BoxStream<'static, Result<Arc<EventRecord>, SubscribeError>> {
        stream::unfold(self, |mut events| async move { Some((events.next().await?, events)) }).boxed()
    }

    /// Returns an event if it is the next one. An older event was returned before, or the subscriber is ahead
    /// of the order; an older terminal event ends the subscription all the same.
    fn take(&mut self, event: Arc<EventRecord>) -> Option<Arc<EventRecord>> {
        if event.seq != self.next_seq && !(planted!(SubscriptionSkipsGaps) && event.seq > self.next_seq) {
            self.ended = event.seq < self.next_seq && event.status.is_terminal();
            return None;
        }
        self.next_seq = event.seq + 1;
        self.ended = event.status.is_terminal();
        Some(event)
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        self.read_page().await?;
        if self.read.is_empty() && self.cursor() >= self.last_seq && self.is_past_the_end().await? {
            self.ended = true;
        }
        Ok(())
    }

    /// Reads the events after the last one returned.
    async fn read_page(&mut self) -> Result<(), StoreError> {
        let page = self.store.events(self.order_id, self.cursor(), PAGE);
        let page = self.supervisor.store("store.events", page).await?;
        self.behind = page.len() == PAGE as usize;
        if let Some(last) = page.last() {
            self.listener.note(last.seq);
        }
        self.read.extend(page.into_iter().map(Arc::new));
        Ok(())
    }

    /// Returns the number of the order's last event.
    async fn read_last_seq(&self) -> Result<Option<u64>, StoreError> {
        let last_seqs = self.store.last_seqs(std::slice::from_ref(&self.order_id));
        Ok(self.supervisor.store("store.last_seqs", last_seqs).await?.pop().flatten())
    }

    /// Whether the subscriber already has the terminal event, so that nothing will ever follow.
    async fn is_past_the_end(&self) -> Result<bool, StoreError> {
        let order = self.supervisor.store("store.load", self.store.load(self.order_id)).await?;
        Ok(order.is_some_and(|order| order.status().is_terminal() && order.seq <= self.cursor()))
    }

    fn end(&self, end: &ListenEnd) -> SubscribeError {
        let resume_after = self.cursor();
        match end {
            ListenEnd::Lagged => SubscribeError::Lagged { resume_after },
            ListenEnd::Closed => SubscribeError::Closed { resume_after },
        }
    }
}
