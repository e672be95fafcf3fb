//! A deterministic executor on virtual time.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::clock::ManualClock;
use super::dice::Dice;
use crate::ports::runtime::{Clock, Spawner};

/// After this many polls at one time, tasks are taken to wake each other for ever.
const MAX_POLLS_AT_ONE_TIME: u64 = 200_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while a lock is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An executor that runs tasks one after another on the calling thread, on a clock that jumps.
///
/// Dice choose which of the ready tasks runs next: different seeds try different interleavings, and one seed
/// is always the same run. Clones are one executor.
///
/// ```
/// use order_engine_core::Clock;
/// use order_engine_core::testing::{Executor, ManualClock};
/// use std::time::Duration;
///
/// let (clock, executor) = (ManualClock::new(), Executor::seeded(7));
/// let sleeper = clock.clone();
/// let begin = clock.now();
/// let task = executor.block_on(&clock, async move { sleeper.sleep(Duration::from_secs(3600)).await });
/// assert_eq!(task, Some(()));
/// assert_eq!((clock.now() - begin).num_hours(), 1, "an hour has passed, and no time");
/// ```
#[derive(Clone, Debug)]
pub struct Executor {
    ready: Arc<Ready>,
}

/// The tasks that are ready to run.
#[derive(Debug)]
struct Ready {
    /// By number. The order in which tasks were woken must not matter, because tokio's watch channel wakes
    /// its receivers in a random order.
    tasks: Mutex<BTreeMap<u64, Arc<Task>>>,
    spawned: AtomicU64,
    dice: Dice,
}

impl Ready {
    fn add(&self, task: Arc<Task>) {
        lock(&self.tasks).insert(task.number, task);
    }
}

struct Task {
    number: u64,
    name: &'static str,
    /// `None` while the task runs, and after it has ended.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Whether the task is ready to run, or waits until its process is resumed.
    is_queued: AtomicBool,
    process: Arc<Inner>,
    ready: Arc<Ready>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            Arc::clone(&self.ready).add(self);
        }
    }
}

/// The tasks of one simulated process, which can be killed, or suspended and resumed. Clones are one process.
#[derive(Clone, Debug)]
pub struct SimulatedProcess {
    inner: Arc<Inner>,
    ready: Arc<Ready>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: Mutex<Vec<Weak<Task>>>,
    is_suspended: AtomicBool,
    /// The tasks that were woken while the process was suspended.
    held_up: Mutex<Vec<Arc<Task>>>,
    /// The number of tasks of each name that ended with a panic.
    panicked: Mutex<BTreeMap<&'static str, u64>>,
}

impl Executor {
    /// Returns an executor whose schedule follows from a seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            ready: Arc::new(Ready {
                tasks: Mutex::default(),
                spawned: AtomicU64::new(0),
                dice: Dice::new(seed),
            }),
        }
    }

    /// Returns a process without tasks.
    pub fn process(&self) -> SimulatedProcess {
        SimulatedProcess { inner: Arc::default(), ready: Arc::clone(&self.ready) }
    }

    /// Runs until every task waits. Returns `false` if tasks wake each other for ever.
    pub fn run_until_stalled(&self) -> bool {
        for _ in 0..MAX_POLLS_AT_ONE_TIME {
            let Some(task) = self.next() else { return true };
            task.run();
        }
        false
    }

    /// Runs until a condition holds, and for `limit` at the longest. Whenever every task waits, advances the
    /// clock to the next sleeper. Returns whether the condition holds.
    pub fn run_until(&self, clock: &ManualClock, limit: Duration, mut is_met: impl FnMut() -> bool) -> bool {
        let end = clock.now() + limit;
        loop {
            let is_stalled = self.run_until_stalled();
            if is_met() {
                return true;
            }
            if !is_stalled || !clock.advance_to_next(end) {
                return false;
            }
        }
    }

    /// Runs a future to its end on virtual time, and returns its output. Returns `None` if it takes a year.
    pub fn block_on<T: Send + 'static>(
        &self,
        clock: &ManualClock,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let process = self.process();
        process.spawn("block_on", Box::pin(async move { *lock(&slot) = Some(future.await) }));
        self.run_until(clock, Duration::from_hours(24 * 365), || lock(&result).is_some());
        process.kill();
        lock(&result).take()
    }

    fn next(&self) -> Option<Arc<Task>> {
        let mut tasks = lock(&self.ready.tasks);
        let chosen = match tasks.len() {
            0 => return None,
            1 => 0,
            among => self.ready.dice.choose(among),
        };
        let number = *tasks.keys().nth(chosen)?;
        tasks.remove(&number)
    }
}

impl Task {
    fn run(self: Arc<Self>) {
        if self.process.is_suspended.load(Ordering::SeqCst) {
            let process = Arc::clone(&self.process);
            lock(&process.held_up).push(self);
            return;
        }
        self.is_queued.store(false, Ordering::SeqCst);
        let Some(mut future) = lock(&self.future).take() else { return };
        let waker = Waker::from(Arc::clone(&self));
        let mut context = Context::from_waker(&waker);
        // A panic ends its task alone, as on tokio.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => *lock(&self.future) = Some(future),
            Ok(Poll::Ready(())) => {}
            Err(_) => *lock(&self.process.panicked).entry(self.name).or_default() += 1,
        }
    }

    /// Drops the future of the task.
    fn end(&self) {
        let future = lock(&self.future).take();
        // The drop may wake tasks, this one among them, so it must not hold the lock.
        drop(future);
    }
}

impl SimulatedProcess {
    /// Ends all tasks at once, without a release or a write.
    ///
    /// A task must not call this on its own process.
    pub fn kill(&self) {
        let tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        for task in tasks.iter().filter_map(Weak::upgrade) {
            task.end();
        }
        lock(&self.inner.held_up).clear();
        self.inner.is_suspended.store(false, Ordering::SeqCst);
    }

    /// Suspends all tasks.
    pub fn suspend(&self) {
        self.inner.is_suspended.store(true, Ordering::SeqCst);
    }

    /// Resumes all tasks.
    pub fn resume(&self) {
        self.inner.is_suspended.store(false, Ordering::SeqCst);
        let held_up = std::mem::take(&mut *lock(&self.inner.held_up));
        for task in held_up {
            self.ready.add(task);
        }
    }

    /// Returns the number of tasks of each name that ended with a panic so far.
    pub fn panicked(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.inner.panicked).clone()
    }
}

impl Spawner for SimulatedProcess {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let task = Arc::new(Task {
            number: self.ready.spawned.fetch_add(1, Ordering::Relaxed),
            name,
            future: Mutex::new(Some(task)),
            is_queued: AtomicBool::new(true),
            process: Arc::clone(&self.inner),
            ready: Arc::clone(&self.ready),
        });
        let mut tasks = lock(&self.inner.tasks);
        if tasks.len() == tasks.capacity() {
            tasks.retain(|task| task.strong_count() > 0);
        }
        tasks.push(Arc::downgrade(&task));
        drop(tasks);
        self.ready.add(task);
    }
}

/// Yields to the other tasks once.
pub async fn yield_once() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers that tasks wrote between their sleeps, in the order in which they wrote them.
    fn run(seed: u64) -> Vec<u64> {
        let (clock, executor) = (ManualClock::new(), Executor::seeded(seed));
        let written = Arc::new(Mutex::new(Vec::new()));
        let process = executor.process();
        for number in 0..8 {
            let (clock, written) = (clock.clone(), Arc::clone(&written));
            let task = async move {
                for _ in 0..3 {
                    lock(&written).push(number);
                    clock.sleep(Duration::from_secs(1)).await;
                }
            };
            process.spawn("writer", Box::pin(task));
        }
        let begin = clock.now();
        executor.run_until(&clock, Duration::from_mins(1), || lock(&written).len() == 24);
        assert_eq!((clock.now() - begin).num_seconds(), 2);
        process.kill();
        lock(&written).clone()
    }

    #[test]
    fn one_seed_is_one_schedule_and_another_seed_is_another() {
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_suspended_process_goes_on_where_it_stood_and_a_killed_one_never() {
        let (clock, executor) = (ManualClock::new(), Executor::seeded(1));
        let ticks = Arc::new(Mutex::new(0));
        let process = executor.process();
        let (ticker, counted) = (clock.clone(), Arc::clone(&ticks));
        let task = async move {
            loop {
                ticker.sleep(Duration::from_secs(1)).await;
                *lock(&counted) += 1;
            }
        };
        process.spawn("ticker", Box::pin(task));
        let pass = |seconds| executor.run_until(&clock, Duration::from_secs(seconds), || false);
        pass(3);
        assert_eq!(*lock(&ticks), 3);
        process.suspend();
        pass(10);
        assert_eq!(*lock(&ticks), 3);
        process.resume();
        pass(1);
        assert_eq!(*lock(&ticks), 5, "the tick that was due at last, and another");
        process.kill();
        pass(10);
        assert_eq!(*lock(&ticks), 5);
        assert_eq!(Arc::strong_count(&ticks), 1, "the task is gone");
    }

    #[test]
    fn a_panic_ends_its_task_alone() {
        let (clock, executor) = (ManualClock::new(), Executor::seeded(1));
        let process = executor.process();
        process.spawn("bad", Box::pin(async { std::panic::resume_unwind(Box::new("as planned")) }));
        assert_eq!(executor.block_on(&clock, async { 1 }), Some(1));
        assert_eq!(process.panicked(), BTreeMap::from([("bad", 1)]));
    }

    #[test]
    fn what_never_ends_is_noticed() {
        let (clock, executor) = (ManualClock::new(), Executor::seeded(1));
        assert_eq!(executor.block_on(&clock, std::future::pending::<()>()), None);
        let process = executor.process();
        let spinning = std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        process.spawn("spinning", Box::pin(spinning));
        assert!(!executor.run_until_stalled());
        process.kill();
        assert!(executor.run_until_stalled());
    }
}
