//! An order's events, from any point of its history into its future, without a gap.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::delivery::heads::Heads;
use crate::delivery::hub::{ListenEnd, Listener};
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::planted::planted;
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::resilience::supervisor::Supervisor;

/// How many events of the history are read at once. An order's whole life fits, but for the most
/// troubled ones.
const PAGE: u32 = 256;

/// The events of one order: history after a point, then live, in order, without gap or duplicate.
#[derive(Debug)]
pub struct Subscription {
    store: Arc<dyn OrderStore>,
    supervisor: Arc<Supervisor>,
    listener: Listener,
    order_id: OrderId,
    last_seq: u64,
    /// The number of the next event to give.
    next_seq: u64,
    /// Events read from the store and not yet given.
    read: VecDeque<Arc<EventRecord>>,
    /// Whether the store may have events that nobody will tell of.
    behind: bool,
    ended: bool,
}

/// Why a subscription has no next event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The subscriber was too slow, and more events waited than it may hold.
    #[error("the subscriber fell behind; resume after event {resume_after}")]
    Lagged {
        /// The number of the last event that was given; subscribe again after it.
        resume_after: u64,
    },
    /// The store could not be read. The subscription goes on; asking again tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine shuts down; subscribe again, elsewhere or later, after `resume_after`.
    #[error("the engine shuts down; resume after event {resume_after}")]
    Closed {
        /// The number of the last event that was given.
        resume_after: u64,
    },
}

impl Subscription {
    /// Reads where the order stands; nothing if there is no such order. The listener is already
    /// listening, so that nothing falls between the two.
    pub(crate) async fn begin(
        (store, supervisor): (Arc<dyn OrderStore>, Arc<Supervisor>),
        heads: &Heads,
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
        // Where there is something to be given, it also says where the end is, in one read.
        begun.read_page().await?;
        begun.last_seq = match begun.read.back() {
            Some(last) if !begun.behind => last.seq,
            _ => match begun.head().await? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        if begun.read.is_empty() {
            begun.behind = begun.cursor() < begun.last_seq;
            begun.ended = !begun.behind && begun.is_past_the_end().await?;
        }
        Ok(Some(begun))
    }

    /// Begins from what this process was told lately, if that is all there is: whether it was.
    async fn recall(&mut self, heads: &Heads) -> bool {
        if !self.listener.is_recent() {
            return false;
        }
        // The store is asked first, so that what is told meanwhile is remembered by now.
        let Some(head) = heads.of(self.order_id).await else { return false };
        let Some((history, last)) = self.listener.history(self.cursor(), head) else { return false };
        self.listener.note(last.seq);
        self.last_seq = last.seq;
        self.behind = false;
        self.ended = history.is_empty() && last.status.is_terminal();
        self.read = history.into();
        true
    }

    /// The number of the order's last event when the subscription began.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The number of the last event that was given: where to resume.
    pub const fn cursor(&self) -> u64 {
        self.next_seq - 1
    }

    /// The next event. Nothing once the terminal event was given.
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

    /// Gives an event if it is the next one; an older one was given before, or the subscriber is ahead of
    /// the order, and then ends with it all the same.
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

    /// Reads the events after the last one given.
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

    /// The number of the order's last event.
    async fn head(&self) -> Result<Option<u64>, StoreError> {
        let heads = self.store.last_seqs(std::slice::from_ref(&self.order_id));
        Ok(self.supervisor.store("store.last_seqs", heads).await?.pop().flatten())
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
