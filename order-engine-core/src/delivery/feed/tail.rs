//! The end of the feed, read once for all feeds of this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::delivery::hub::Hub;
use crate::ports::feed::{FeedCursor, FeedItem, FeedRequest, FeedScope};
use crate::ports::order_store::OrderStore;
use crate::ports::order_store::error::StoreError;
use crate::resilience::supervisor::Supervisor;
use crate::resilience::tasks::Tasks;

/// How many events are read at once.
const PAGE: u32 = 512;
/// How many events may wait for one feed. A feed that falls further behind reads the store.
const CAPACITY: usize = 1_024;
/// How soon the end is read again when transactions that are under way hold events back.
const HELD_BACK: Duration = Duration::from_millis(20);
/// How often that is done before the next poll or commit.
const HELD_BACK_TRIES: u32 = 10;

/// Follows the end of the feed while anybody listens.
#[derive(Debug)]
pub(crate) struct FeedTail {
    store: Arc<dyn OrderStore>,
    supervisor: Arc<Supervisor>,
    state: Mutex<TailState>,
    /// Notifies when the first listener comes.
    listened_to: Notify,
}

#[derive(Debug, Default)]
struct TailState {
    listeners: BTreeMap<u64, Channel>,
    next_listener: u64,
    /// Through where the listeners were sent; none while there are none.
    sent_to: Option<FeedCursor>,
    is_closed: bool,
}

#[derive(Debug)]
struct Channel {
    scope: FeedScope,
    items: mpsc::Sender<Arc<FeedItem>>,
    lagged: Arc<AtomicBool>,
}

/// The receiving end of a feed's live events. Dropping it ends the listening.
#[derive(Debug)]
pub(crate) struct FeedListener {
    tail: Arc<FeedTail>,
    id: u64,
    begins_after: FeedCursor,
    items: mpsc::Receiver<Arc<FeedItem>>,
    lagged: Arc<AtomicBool>,
}

/// Why a listener is sent nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TailEnd {
    /// More events waited than the listener may hold.
    Lagged,
    /// The engine closed.
    Closed,
}

impl FeedTail {
    /// Starts the task that follows the end of the feed, woken by what the hub hears.
    pub(crate) fn start(
        store: Arc<dyn OrderStore>,
        hub: &Arc<Hub>,
        tasks: &Tasks,
        poll_interval: Duration,
    ) -> Arc<Self> {
        let tail = Arc::new(Self {
            store,
            supervisor: Arc::clone(&tasks.supervisor),
            state: Mutex::default(),
            listened_to: Notify::new(),
        });
        let (following, hub, shared) = (Arc::clone(&tail), Arc::clone(hub), tasks.clone());
        tasks.keep_running("feed tail", move || {
            let (tail, hub, tasks) = (Arc::clone(&following), Arc::clone(&hub), shared.clone());
            async move { tail.follow(&hub, &tasks, poll_interval).await }
        });
        tail
    }

    fn state(&self) -> MutexGuard<'_, TailState> {
        // Nothing in here panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen. The listener is sent every event of its scope behind the place where it begins.
    pub(crate) async fn listen(self: &Arc<Self>, scope: FeedScope) -> Result<FeedListener, StoreError> {
        let known = self.state().sent_to;
        let end = match known {
            Some(end) => end,
            None => self.supervisor.store("store.feed_end", self.store.feed_end()).await?,
        };
        let (sender, items) = mpsc::channel(CAPACITY);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut state = self.state();
        // Another listener may have come, or the tail have gone on, while the store was asked.
        let begins_after = *state.sent_to.get_or_insert(end);
        let id = state.next_listener;
        state.next_listener += 1;
        if !state.is_closed {
            let channel = Channel { scope, items: sender, lagged: Arc::clone(&lagged) };
            state.listeners.insert(id, channel);
        }
        drop(state);
        self.listened_to.notify_one();
        Ok(FeedListener { tail: Arc::clone(self), id, begins_after, items, lagged })
    }

    /// Ends all listening.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.listeners.clear();
    }

    async fn follow(&self, hub: &Hub, tasks: &Tasks, poll_interval: Duration) {
        let (mut closing, mut commits) = (tasks.shutdown.closing(), hub.commits());
        let mut tries_left = 0;
        loop {
            let sent_to = self.state().sent_to;
            let Some(after) = sent_to else {
                tokio::select! {
                    biased;
                    () = closing.wait() => return,
                    () = self.listened_to.notified() => continue,
                }
            };
            let wait = match self.send_page(after).await {
                Ok(Sent { is_last: false, .. }) => continue,
                // A commit was announced, and its events are not there yet.
                Ok(Sent { is_empty: true, .. }) if tries_left > 0 => {
                    tries_left -= 1;
                    HELD_BACK
                }
                Ok(_) => poll_interval,
                Err(error) => {
                    tracing::warn!(%error, "the end of the feed could not be read");
                    poll_interval
                }
            };
            tokio::select! {
                biased;
                () = closing.wait() => return,
                _ = commits.changed() => tries_left = HELD_BACK_TRIES,
                () = tasks.runtime.clock.sleep(wait) => {}
            }
        }
    }

    /// Reads a page and sends it to the listeners.
    async fn send_page(&self, after: FeedCursor) -> Result<Sent, StoreError> {
        let request = FeedRequest { scope: FeedScope::All, after, limit: PAGE };
        let page = self.supervisor.store("store.read_feed", self.store.read_feed(&request)).await?;
        let mut state = self.state();
        if state.sent_to != Some(after) {
            // All listeners have left, and others may have begun elsewhere.
            return Ok(Sent { is_last: false, is_empty: true });
        }
        let is_empty = page.items.is_empty();
        for item in page.items {
            let item = Arc::new(item);
            state.listeners.retain(|_, channel| channel.send(&item));
        }
        state.sent_to = Some(page.next);
        Ok(Sent { is_last: page.is_last, is_empty })
    }

    fn leave(&self, id: u64) {
        let mut state = self.state();
        state.listeners.remove(&id);
        if state.listeners.is_empty() {
            state.sent_to = None;
        }
    }
}

/// What a page brought.
struct Sent {
    is_last: bool,
    is_empty: bool,
}

impl Channel {
    /// Sends an item if it is in scope. Returns whether the listener stays.
    fn send(&self, item: &Arc<FeedItem>) -> bool {
        if !self.covers(item) {
            return true;
        }
        match self.items.try_send(Arc::clone(item)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Whether an item belongs to the listener. Nobody knows whose an order is that cannot be decoded, so it
    /// belongs to those only who listen to everything.
    fn covers(&self, item: &FeedItem) -> bool {
        match (&self.scope, &item.update) {
            (FeedScope::All, _) => true,
            (FeedScope::User(user), Ok(update)) => update.order.request.user_id == *user,
            (FeedScope::User(_), Err(_)) => false,
        }
    }
}

impl FeedListener {
    /// Returns the place behind which the listener is sent everything.
    pub(crate) const fn begins_after(&self) -> FeedCursor {
        self.begins_after
    }

    /// Waits for the next item, or says why there will be none.
    pub(crate) async fn next(&mut self) -> Result<Arc<FeedItem>, TailEnd> {
        match self.items.recv().await {
            Some(item) => Ok(item),
            None if self.lagged.load(Ordering::Acquire) => Err(TailEnd::Lagged),
            None => Err(TailEnd::Closed),
        }
    }
}

impl Drop for FeedListener {
    fn drop(&mut self) {
        self.tail.leave(self.id);
    }
}
