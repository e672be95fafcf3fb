//! How an engine comes to its end: it drains, then closes.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// How far an engine has come towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lifecycle {
    /// It works.
    Running,
    /// It begins nothing new; what is in flight ends or is given back.
    Draining,
    /// Everything ends.
    Closing,
}

/// The way of an engine from running to its end.
#[derive(Debug)]
pub(crate) struct Shutdown {
    progress: Arc<Progress>,
    executions: Gauge,
    tasks: Gauge,
}

/// How far an engine has come, and who waits for it to come further.
#[derive(Debug)]
struct Progress {
    lifecycle: Mutex<Lifecycle>,
    /// Notifies of each change. It wakes in the order of waiting, as a watch channel does not.
    changed: Notify,
}

/// Counts what is running, and lets others wait until nothing is.
#[derive(Debug)]
struct Gauge(watch::Sender<usize>);

/// Counts as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(watch::Sender<usize>);

/// Comes when the engine drains, or when it closes.
#[derive(Debug)]
pub(crate) struct StopSignal {
    progress: Arc<Progress>,
    at: Lifecycle,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let gauge = || Gauge(watch::Sender::new(0));
        let progress = Progress { lifecycle: Mutex::new(Lifecycle::Running), changed: Notify::new() };
        Self { progress: Arc::new(progress), executions: gauge(), tasks: gauge() }
    }

    /// Begins the end: nothing new is begun from here on.
    pub(crate) fn drain(&self) {
        self.progress.reach(Lifecycle::Draining);
    }

    /// Ends everything.
    pub(crate) fn close(&self) {
        self.progress.reach(Lifecycle::Closing);
    }

    /// Whether nothing new is to be begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.progress.has_reached(Lifecycle::Draining)
    }

    /// Whether everything ends.
    pub(crate) fn is_closing(&self) -> bool {
        self.progress.has_reached(Lifecycle::Closing)
    }

    /// Comes when nothing new is to be begun.
    pub(crate) fn draining(&self) -> StopSignal {
        StopSignal { progress: Arc::clone(&self.progress), at: Lifecycle::Draining }
    }

    /// Comes when everything ends.
    pub(crate) fn closing(&self) -> StopSignal {
        StopSignal { progress: Arc::clone(&self.progress), at: Lifecycle::Closing }
    }

    /// Counts an execution of an order.
    pub(crate) fn enter_execution(&self) -> Running {
        self.executions.enter()
    }

    /// Counts a background task.
    pub(crate) fn enter_task(&self) -> Running {
        self.tasks.enter()
    }

    /// Waits until no order is being executed.
    pub(crate) async fn executions_ended(&self) {
        self.executions.zero().await;
    }

    /// Waits until no background task runs.
    pub(crate) async fn tasks_ended(&self) {
        self.tasks.zero().await;
    }
}

impl Drop for Shutdown {
    /// Without it the engine is gone, which is an end too.
    fn drop(&mut self) {
        self.close();
    }
}

impl Progress {
    fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        // Nothing in here panics while the lock is held.
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on to here, unless it has come further.
    fn reach(&self, at: Lifecycle) {
        {
            let mut lifecycle = self.lifecycle();
            if *lifecycle >= at {
                return;
            }
            *lifecycle = at;
        }
        self.changed.notify_waiters();
    }

    fn has_reached(&self, at: Lifecycle) -> bool {
        *self.lifecycle() >= at
    }
}

impl Gauge {
    fn enter(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.0.clone())
    }

    async fn zero(&self) {
        // The sender lives as long as this gauge, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl StopSignal {
    /// Waits until it comes. Safe to drop.
    pub(crate) async fn wait(&mut self) {
        let Self { progress, at } = self;
        loop {
            let mut changed = pin!(progress.changed.notified());
            // What comes between the look and the wait is not missed.
            changed.as_mut().enable();
            if progress.has_reached(*at) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    /// Waits in one task for so many signals, of both kinds by turns, and returns the order in which they come.
    fn order_of_coming(shutdown: &Shutdown, waits: usize, ends: impl FnOnce(&Shutdown)) -> Vec<usize> {
        let waiting = (0..waits).map(|number| {
            let mut signal = if number % 2 == 0 { shutdown.closing() } else { shutdown.draining() };
            async move {
                signal.wait().await;
                number
            }
        });
        let mut waiting: FuturesUnordered<_> = waiting.collect();
        assert_eq!(waiting.next().now_or_never(), None, "nothing has come");
        ends(shutdown);
        let mut came = Vec::new();
        while let Some(Some(number)) = waiting.next().now_or_never() {
            came.push(number);
        }
        came
    }

    #[test]
    fn signals_come_in_the_order_of_waiting() {
        let shutdown = Shutdown::new();
        let drained = order_of_coming(&shutdown, 32, Shutdown::drain);
        assert_eq!(drained, (0..32).filter(|number| number % 2 == 1).collect::<Vec<_>>());
        assert!(shutdown.is_draining() && !shutdown.is_closing());
        let shutdown = Shutdown::new();
        assert_eq!(order_of_coming(&shutdown, 100, Shutdown::close), (0..100).collect::<Vec<_>>());
        assert!(shutdown.is_draining() && shutdown.is_closing());
    }

    #[test]
    fn an_engine_that_is_gone_has_ended() {
        let shutdown = Shutdown::new();
        let mut closing = shutdown.closing();
        assert_eq!(closing.wait().now_or_never(), None);
        drop(shutdown);
        assert_eq!(closing.wait().now_or_never(), Some(()));
    }
}
