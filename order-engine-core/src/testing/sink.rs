use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::domain::event::EventRecord;
use crate::domain::ids::OrderId;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};

/// A sink that remembers what it was told, and refuses when told to. Clones are one sink.
#[derive(Clone, Debug)]
pub struct RecordingSink {
    name: Arc<str>,
    guarantee: SinkGuarantee,
    state: Arc<Mutex<State>>,
    /// How many events it has taken.
    taken: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Arc<EventRecord>>,
    refusals: usize,
    mood: Mood,
}

/// What a sink does with the next delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Takes,
    Refuses,
    Panics,
    Hangs,
}

impl RecordingSink {
    /// A sink that gets what it can.
    pub fn best_effort(name: &str) -> Self {
        Self::new(name, SinkGuarantee::BestEffort)
    }

    /// A sink that gets everything.
    pub fn durable(name: &str) -> Self {
        Self::new(name, SinkGuarantee::Durable)
    }

    fn new(name: &str, guarantee: SinkGuarantee) -> Self {
        Self { name: name.into(), guarantee, state: Arc::default(), taken: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it refuses every delivery.
    pub fn refuse(&self) {
        self.state().mood = Mood::Refuses;
    }

    /// From now on it panics at every delivery.
    pub fn panic(&self) {
        self.state().mood = Mood::Panics;
    }

    /// From now on its deliveries never end.
    pub fn hang(&self) {
        self.state().mood = Mood::Hangs;
    }

    /// From now on it takes every delivery.
    pub fn take(&self) {
        self.state().mood = Mood::Takes;
    }

    /// How many deliveries it did not take.
    pub fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// Everything that it has taken, in the order in which it came.
    pub fn events(&self) -> Vec<Arc<EventRecord>> {
        self.state().events.clone()
    }

    /// What it has taken of one order.
    pub fn events_of(&self, id: OrderId) -> Vec<Arc<EventRecord>> {
        self.state().events.iter().filter(|event| event.order_id == id).cloned().collect()
    }

    /// Waits until it has taken so many events in all.
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
    /// If it was told to.
    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
        let mood = {
            let mut state = self.state();
            if state.mood == Mood::Takes {
                state.events.extend(events.iter().cloned());
            } else {
                state.refusals += 1;
            }
            state.mood
        };
        match mood {
            Mood::Takes => {
                self.taken.send_modify(|taken| *taken += events.len());
                Ok(())
            }
            Mood::Refuses => Err(SinkError::new("it was told to refuse")),
            Mood::Panics => panic!("it was told to panic"),
            Mood::Hangs => std::future::pending().await,
        }
    }
}
