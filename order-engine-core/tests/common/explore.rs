//! Running a scenario under every schedule: a deterministic executor of our own, and a search through
//! all choices that it leaves open.
//!
//! Whoever reads or changes what others share (the store, the chain) waits at a gate. Between two gates
//! a schedule has no influence, because tasks share nothing else; so opening the gates in every order is
//! trying every interleaving. Quoting, signing and looking change nothing that anybody else sees; they
//! only take a turn, so that what led to them is written meanwhile.
#![allow(unreachable_pub)] // A part of the test that includes it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use order_engine_core::testing::{Call, Intercept};
use order_engine_core::{Candidate, DexRouter, QuoteRequest, Spawner, StepError, StoreError};
use tokio::sync::oneshot;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs tasks one after another, in the order in which they were woken. A clone is the same.
#[derive(Clone, Default)]
pub struct Executor {
    tasks: Arc<Mutex<Vec<Option<Task>>>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

impl Spawner for Executor {
    fn spawn(&self, _name: &'static str, task: Task) {
        let mut tasks = lock(&self.tasks);
        lock(&self.ready).push_back(tasks.len());
        tasks.push(Some(task));
    }
}

impl Executor {
    /// Runs until every task waits.
    pub fn run_until_stalled(&self) {
        loop {
            let Some(id) = lock(&self.ready).pop_front() else { return };
            let Some(mut task) = lock(&self.tasks)[id].take() else { continue };
            let waker = Waker::from(Arc::new(TaskWaker { task: id, ready: Arc::clone(&self.ready) }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
                lock(&self.tasks)[id] = Some(task);
            }
        }
    }

    /// Drops all tasks where they stand, as a killed process does.
    pub fn kill(&self) {
        let tasks: Vec<_> = lock(&self.tasks).iter_mut().filter_map(Option::take).collect();
        drop(tasks);
        lock(&self.ready).clear();
    }

    /// Runs a future that waits for nothing outside.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.spawn("block_on", Box::pin(async move { *lock(&slot) = Some(future.await) }));
        self.run_until_stalled();
        lock(&result).take().expect("the future waits for nothing outside")
    }
}

/// The name of a call, and how it is let through.
type Gate = (&'static str, oneshot::Sender<()>);

/// Where calls wait until they are let through.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    waiting: Arc<Mutex<Vec<Gate>>>,
    are_open: Arc<Mutex<bool>>,
}

impl Gates {
    /// Lets everybody through from now on.
    pub fn open_all(&self) {
        *lock(&self.are_open) = true;
        lock(&self.waiting).clear();
    }

    /// The calls that wait, in the order in which they came.
    pub fn waiting(&self) -> Vec<&'static str> {
        let mut waiting = lock(&self.waiting);
        // Whoever waited may have been dropped.
        waiting.retain(|(_, gate)| !gate.is_closed());
        waiting.iter().map(|(name, _)| *name).collect()
    }

    /// Lets one of those that wait through.
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
            Call::Prepare(_) | Call::Observe(_) => take_a_turn().await,
            _ => {}
        }
        Ok(())
    }
}

/// Lets whoever else is ready go first, once.
async fn take_a_turn() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// A router whose quotes take a turn, so that what led to them is written meanwhile.
#[derive(Debug)]
pub struct SlowRouter(pub Arc<dyn DexRouter>);

#[async_trait]
impl DexRouter for SlowRouter {
    fn dexes(&self) -> Vec<String> {
        self.0.dexes()
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        take_a_turn().await;
        self.0.quote(request).await
    }
}

/// Answers what a scenario leaves open. The first run takes the first choice everywhere; each further
/// run changes the last choice that has another answer left.
#[derive(Debug, Default)]
pub struct Choices {
    /// What was chosen, among how many.
    path: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// One of so many.
    pub fn choose(&mut self, among: usize) -> usize {
        assert!(among > 0);
        if self.next == self.path.len() {
            self.path.push((0, among));
        }
        let (chosen, expected) = self.path[self.next];
        assert_eq!(expected, among, "the scenario is not deterministic");
        self.next += 1;
        chosen
    }

    /// Moves on to the next schedule; whether there is one.
    fn advance(&mut self) -> bool {
        self.path.truncate(self.next);
        self.next = 0;
        while let Some((chosen, among)) = self.path.pop() {
            if chosen + 1 < among {
                self.path.push((chosen + 1, among));
                return true;
            }
        }
        false
    }
}

/// Runs a scenario once for each schedule, and gives their number.
pub fn explore(mut scenario: impl FnMut(&mut Choices)) -> usize {
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
