//! Gates at the ports, and a search through every order in which they can be opened.
//!
//! A call that reads or changes the state of an order (in the store, on the chain) waits at a gate. Opening
//! the gates in every order tries every interleaving of these calls; the order of everything else follows
//! from the executor's seed. Quoting, preparing and observing change nothing that another task sees. They
//! only yield, so that the events before them are written meanwhile.
#![allow(unreachable_pub)] // This is a module of the test that includes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use order_engine_core::testing::{Call, Intercept, yield_once};
use order_engine_core::{Candidate, DexRouter, QuoteRequest, StepError, StoreError};
use tokio::sync::oneshot;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A waiting call: its name, and the channel that lets it go on.
type Gate = (&'static str, oneshot::Sender<()>);

/// The gates at which calls wait.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    waiting: Arc<Mutex<Vec<Gate>>>,
    are_open: Arc<Mutex<bool>>,
}

impl Gates {
    /// Opens all gates, for later calls as well.
    pub fn open_all(&self) {
        *lock(&self.are_open) = true;
        lock(&self.waiting).clear();
    }

    /// Returns the names of the waiting calls, in the order in which they arrived.
    pub fn waiting(&self) -> Vec<&'static str> {
        let mut waiting = lock(&self.waiting);
        // A waiting call may have been dropped.
        waiting.retain(|(_, gate)| !gate.is_closed());
        waiting.iter().map(|(name, _)| *name).collect()
    }

    /// Opens the gate of one waiting call.
    pub fn open(&self, index: usize) {
        let (_, gate) = lock(&self.waiting).remove(index);
        let _ = gate.send(());
    }

    async fn pass(&self, name: &'static str) {
        if *lock(&self.are_open) {
            return;
        }
        let (gate, opened) = oneshot::channel();
        lock(&self.waiting).push((name, gate));
        // An error says that all gates were opened.
        let _ = opened.await;
    }
}

#[async_trait]
impl Intercept for Gates {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::Append(_) => self.pass("append").await,
            Call::Load(_) => self.pass("load").await,
            Call::Submit(_) => self.pass("submit").await,
            Call::Prepare(_) | Call::Observe(_) => yield_once().await,
            _ => {}
        }
        Ok(())
    }
}

/// A router that yields before it quotes, so that the events before the quote are written meanwhile.
#[derive(Debug)]
pub struct YieldingRouter(pub Arc<dyn DexRouter>);

#[async_trait]
impl DexRouter for YieldingRouter {
    fn dexes(&self) -> Vec<String> {
        self.0.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        yield_once().await;
        self.0.quote(request).await
    }
}

/// The choices of a schedule. The first run takes the first alternative everywhere. Each further run changes
/// the last choice that has another alternative left.
#[derive(Debug, Default)]
pub struct Choices {
    /// The chosen alternatives, each with the number of alternatives.
    path: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// Returns the index of one of these alternatives.
    pub fn choose(&mut self, alternatives: usize) -> usize {
        assert!(alternatives > 0);
        if self.next == self.path.len() {
            self.path.push((0, alternatives));
        }
        let (chosen, expected) = self.path[self.next];
        assert_eq!(expected, alternatives, "the scenario is not deterministic");
        self.next += 1;
        chosen
    }

    /// Moves on to the next schedule. Returns whether there is one.
    fn advance(&mut self) -> bool {
        self.path.truncate(self.next);
        self.next = 0;
        while let Some((chosen, alternatives)) = self.path.pop() {
            if chosen + 1 < alternatives {
                self.path.push((chosen + 1, alternatives));
                return true;
            }
        }
        false
    }
}

/// Runs a scenario once for each schedule. Returns the number of schedules.
pub fn run_every_schedule(mut scenario: impl FnMut(&mut Choices)) -> usize {
    let mut choices = Choices::default();
    let mut schedules = 0;
    loop {
        scenario(&mut choices);
        schedules += 1;
        if !choices.advance() {
            return schedules;
        }
    }
}
