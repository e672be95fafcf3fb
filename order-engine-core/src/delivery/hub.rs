//! Publication within the process: which listeners follow which order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::delivery::recent::Recent;
use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::planted::planted;

/// The listeners of this process, by order.
///
/// What is published here is a hint that carries the event: a listener takes it if it is the next one, and
/// reads the store if not.
#[derive(Debug)]
pub(crate) struct Hub {
    orders: Mutex<BTreeMap<OrderId, Topic>>,
    /// What was published lately, whether or not anything listened.
    recent: Mutex<Recent>,
    next_listener: AtomicU64,
    /// Changes when something may have been committed, by whatever process.
    commits: watch::Sender<()>,
    /// How many events may wait for one listener.
    capacity: usize,
}

#[derive(Debug, Default)]
struct Topic {
    /// By the numbers of the listeners.
    listeners: BTreeMap<u64, Channel>,
}

#[derive(Debug)]
struct Channel {
    /// The number of the last event that this listener was sent, or has read from the store. It says nothing
    /// of other listeners.
    last_published_seq: u64,
    events: mpsc::Sender<Arc<EventRecord>>,
    lagged: Arc<AtomicBool>,
}

/// The receiving end of a listener. Dropping it ends the listening.
#[derive(Debug)]
pub(crate) struct Listener {
    hub: Arc<Hub>,
    order_id: OrderId,
    id: u64,
    events: mpsc::Receiver<Arc<EventRecord>>,
    lagged: Arc<AtomicBool>,
}

/// Why a listener is sent nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListenEnd {
    /// More events waited than the listener may hold.
    Lagged,
    /// The hub was closed.
    Closed,
}

impl Hub {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            orders: Mutex::default(),
            recent: Mutex::default(),
            next_listener: AtomicU64::new(0),
            commits: watch::Sender::new(()),
            capacity: capacity.max(1),
        })
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<OrderId, Topic>> {
        // Nothing in here panics while the lock is held.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // As above.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen to an order.
    pub(crate) fn listen(self: &Arc<Self>, order_id: OrderId) -> Listener {
        let id = self.next_listener.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel(self.capacity);
        let lagged = Arc::new(AtomicBool::new(false));
        let channel = Channel { last_published_seq: 0, events: sender, lagged: Arc::clone(&lagged) };
        self.orders().entry(order_id).or_default().listeners.insert(id, channel);
        Listener { hub: Arc::clone(self), order_id, id, events, lagged }
    }

    /// Sends events to the listeners of their orders.
    pub(crate) fn publish<'a>(&self, events: impl IntoIterator<Item = &'a Arc<EventRecord>> + Clone) {
        self.note_commit();
        // First into the histories: a listener that begins between the two finds the events there.
        let mut recent = self.recent();
        events.clone().into_iter().for_each(|event| recent.note(event));
        drop(recent);
        let mut orders = self.orders();
        if orders.is_empty() {
            return;
        }
        for event in events {
            if let Some(topic) = orders.get_mut(&event.order_id) {
                topic.publish(event);
            }
        }
    }

    /// Forgets the histories, because another process may have gone on with them unnoticed.
    pub(crate) fn forget(&self) {
        self.recent().forget();
    }

    /// Forgets the history of an order unless it is known up to the event numbered `seq`.
    pub(crate) fn forget_before(&self, order_id: OrderId, seq: u64) {
        self.recent().forget_before(order_id, seq);
    }

    /// Notes that something may have been committed.
    pub(crate) fn note_commit(&self) {
        self.commits.send_replace(());
    }

    /// Returns a channel that changes when something may have been committed.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
    }

    /// Returns the orders that have listeners.
    pub(crate) fn topics(&self) -> Vec<OrderId> {
        self.orders().keys().copied().collect()
    }

    /// Returns the number of the last event that all listeners of an order have, if it has listeners.
    pub(crate) fn last_published_seq(&self, order_id: OrderId) -> Option<u64> {
        self.orders().get(&order_id)?.listeners.values().map(|channel| channel.last_published_seq).min()
    }

    /// Notes that a listener has read an order's events up to `seq` from the store.
    fn note(&self, order_id: OrderId, listener: u64, seq: u64) {
        if let Some(topic) = self.orders().get_mut(&order_id)
            && let Some(channel) = topic.listeners.get_mut(&listener)
        {
            channel.last_published_seq = channel.last_published_seq.max(seq);
            if planted!(OneListenerSpeaksForAll) {
                topic
                    .listeners
                    .values_mut()
                    .for_each(|channel| channel.last_published_seq = channel.last_published_seq.max(seq));
            }
        }
    }

    /// Ends all listening.
    pub(crate) fn close(&self) {
        self.orders().clear();
    }

    fn leave(&self, order_id: OrderId, listener: u64) {
        let mut orders = self.orders();
        if let Some(topic) = orders.get_mut(&order_id) {
            topic.listeners.remove(&listener);
            if topic.listeners.is_empty() {
                orders.remove(&order_id);
            }
        }
    }
}

impl Topic {
    /// Sends an event to those listeners that do not have it yet.
    fn publish(&mut self, event: &Arc<EventRecord>) {
        self.listeners.retain(|_, channel| {
            if channel.last_published_seq >= event.seq {
                return true;
            }
            channel.last_published_seq = event.seq;
            match channel.events.try_send(Arc::clone(event)) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    channel.lagged.store(true, Ordering::Release);
                    false
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }
}

impl Listener {
    /// Waits for the next event, or says why there will be none.
    pub(crate) async fn next(&mut self) -> Result<Arc<EventRecord>, ListenEnd> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            None if self.lagged.load(Ordering::Acquire) => Err(ListenEnd::Lagged),
            None => Err(ListenEnd::Closed),
        }
    }

    /// Whether the order's history is remembered.
    pub(crate) fn is_recent(&self) -> bool {
        self.hub.recent().history(self.order_id).is_some()
    }

    /// Returns the events after the one numbered `after`, and the last event, if the order's history is
    /// remembered up to the event numbered `last_seq` at least.
    pub(crate) fn history(
        &self,
        after: u64,
        last_seq: u64,
    ) -> Option<(Vec<Arc<EventRecord>>, Arc<EventRecord>)> {
        let recent = self.hub.recent();
        let history = recent.history(self.order_id)?;
        let last = history.last().filter(|last| last.seq >= last_seq)?;
        let events = history.iter().filter(|event| event.seq > after).cloned().collect();
        Some((events, Arc::clone(last)))
    }

    /// Notes that this listener has read the order's events up to `seq` from the store.
    pub(crate) fn note(&self, seq: u64) {
        self.hub.note(self.order_id, self.id, seq);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hub.leave(self.order_id, self.id);
    }
}
