use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::domain::order::OrderUpdate;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};

/// A sink that records the events it takes, and can be made to fail. Clones are one sink.
#[derive(Clone, Debug)]
pub struct RecordingSink {
    name: Arc<str>,
    guarantee: SinkGuarantee,
    state: Arc<Mutex<State>>,
    /// The number of events that it has taken.
    taken: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    updates: Vec<OrderUpdate>,
    refusals: usize,
    mood: Mood,
}

/// What a sink does with a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Takes,
    Refuses,
    Panics,
    Hangs,
}

impl RecordingSink {
    /// Returns a best-effort sink.
    pub fn best_effort(name: &str) -> Self {
        Self::new(name, SinkGuarantee::BestEffort)
    }

    /// Returns a durable sink.
    pub fn durable(name: &str) -> Self {
        Self::new(name, SinkGuarantee::Durable)
    }

    fn new(name: &str, guarantee: SinkGuarantee) -> Self {
        Self { name: name.into(), guarantee, state: Arc::default(), taken: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it refuse every delivery from now on.
    pub fn refuse(&self) {
        self.state().mood = Mood::Refuses;
    }

    /// Makes it panic at every delivery from now on.
    pub fn panic(&self) {
        self.state().mood = Mood::Panics;
    }

    /// Makes it hang at every delivery from now on.
    pub fn hang(&self) {
        self.state().mood = Mood::Hangs;
    }

    /// Makes it take every delivery from now on.
    pub fn take(&self) {
        self.state().mood = Mood::Takes;
    }

    /// Returns the number of deliveries that it did not take.
    pub fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// Returns the events that it has taken, in order.
    pub fn events(&self) -> Vec<Arc<EventRecord>> {
        self.state().updates.iter().map(|update| Arc::clone(&update.event)).collect()
    }

    /// Returns the events of one order that it has taken, in order.
    pub fn events_of(&self, id: OrderId) -> Vec<Arc<EventRecord>> {
        let mut events = self.events();
        events.retain(|event| event.order_id == id);
        events
    }

    /// Returns the events that it has taken, in order, each with its order.
    pub fn updates(&self) -> Vec<OrderUpdate> {
        self.state().updates.clone()
    }

    /// Waits until it has taken this many events in all.
    pub async fn has_taken(&self, events: usize) {
        // The sender is here, so this cannot fail.
        let _ = self.taken.subscribe().wait_for(|taken| *taken >= events).await;
    }
}

#[async_trait]
impl StatusSink for RecordingSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantee(&self) -> SinkGuarantee {
        self.guarantee
    }

    /// # Panics
    /// If it was made to.
    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let mood = {
            let mut state = self.state();
            if state.mood == Mood::Takes {
                state.updates.extend(updates.iter().cloned());
            } else {
                state.refusals += 1;
            }
            state.mood
        };
        match mood {
            Mood::Takes => {
                self.taken.send_modify(|taken| *taken += updates.len());
                Ok(())
            }
            Mood::Refuses => Err(SinkError::new("the test makes it refuse")),
            Mood::Panics => panic!("the test makes it panic"),
            Mood::Hangs => std::future::pending().await,
        }
    }
}
