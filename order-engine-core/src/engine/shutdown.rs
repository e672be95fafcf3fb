//! How an engine comes to its end: it drains, then closes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use std::pin::pin;
use tokio::sync::watch;

use super::{Engine, Inner};

/// How far an engine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It works.
    Running,
    /// It takes nothing new; what is in flight ends or is given back.
    Draining,
    /// Everything ends.
    Closing,
}

#[derive(Debug)]
pub(super) struct Lifecycle {
    stage: watch::Sender<Stage>,
    executions: Gauge,
    tasks: Gauge,
}

/// Counts what is running, and can be waited upon to reach zero.
#[derive(Clone, Debug)]
struct Gauge(watch::Sender<usize>);

/// One that is running.
#[derive(Debug)]
pub(crate) struct Running(watch::Sender<usize>);

/// Tells when an engine has come to a stage.
#[derive(Debug)]
pub(crate) struct StopSignal {
    stage: watch::Receiver<Stage>,
    at: Stage,
}

/// The engine could not end everything in time.
///
/// Nothing is lost: the leases of what did not end expire, and others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine could not finish within {0:?}")]
pub struct ShutdownTimedOut(pub Duration);

impl Lifecycle {
    pub(super) fn new() -> Self {
        let gauge = || Gauge(watch::Sender::new(0));
        Self { stage: watch::Sender::new(Stage::Running), executions: gauge(), tasks: gauge() }
    }

    pub(super) fn close(&self) {
        self.stage.send_replace(Stage::Closing);
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.stage.borrow() == Stage::Closing
    }

    pub(super) fn enter_execution(&self) -> Running {
        self.executions.enter()
    }

    fn signal(&self, at: Stage) -> StopSignal {
        StopSignal { stage: self.stage.subscribe(), at }
    }
}

impl Gauge {
    fn enter(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.0.clone())
    }

    async fn zero(&self) {
        // The sender is alive as long as this gauge is.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl StopSignal {
    /// Whether it has come.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stage.borrow() >= self.at
    }

    /// Waits until it comes. Safe to drop.
    pub(crate) async fn wait(&mut self) {
        let at = self.at;
        // Without a sender the engine is gone, which is an end too.
        let _ = self.stage.wait_for(|stage| *stage >= at).await;
    }
}

impl Engine {
    /// Ends the engine: nothing new is accepted or claimed, what a worker has in hand comes to the
    /// end of its step, what waits is given back, and subscriptions end with
    /// [`SubscribeError::Closed`](crate::delivery::subscription::SubscribeError::Closed).
    ///
    /// Stop the host's workers as well; their handlers return by themselves.
    ///
    /// # Errors
    /// If it took longer than `timeout`. Nothing is lost: leases expire.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownTimedOut> {
        let inner = self.inner();
        let lifecycle = &inner.lifecycle;
        lifecycle.stage.send_if_modified(|stage| {
            let changes = *stage < Stage::Draining;
            *stage = (*stage).max(Stage::Draining);
            changes
        });
        let drained = async {
            lifecycle.executions.zero().await;
            lifecycle.close();
            inner.supervisor.hurry();
            lifecycle.tasks.zero().await;
            inner.keeper.flush().await;
        };
        let result = inner.within(timeout, drained).await;
        lifecycle.close();
        inner.supervisor.hurry();
        inner.fanout.hub.close();
        result.ok_or(ShutdownTimedOut(timeout))
    }
}

impl Inner {
    /// Whether nothing new is to be begun.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.lifecycle.stage.borrow() >= Stage::Draining
    }

    /// Comes when nothing new is to be begun.
    pub(crate) fn stopping(&self) -> StopSignal {
        self.lifecycle.signal(Stage::Draining)
    }

    /// Comes when everything is to end.
    pub(crate) fn closing(&self) -> StopSignal {
        self.lifecycle.signal(Stage::Closing)
    }

    /// Starts a task that the shutdown waits for. It ends with its first panic, which is counted.
    pub(crate) fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let running = self.lifecycle.tasks.enter();
        let supervisor = Arc::clone(&self.supervisor);
        let task = async move {
            // What ended it is counted and logged.
            let _ = supervisor.guard(name, task).await;
            drop(running);
        };
        self.runtime.spawner.spawn(name, task.boxed());
    }

    /// Starts a task that the shutdown waits for, and that begins again after a panic.
    pub(crate) fn keep_running<F, Fut>(&self, name: &'static str, start: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, Box::pin(Arc::clone(&self.supervisor).keep_running(name, start)));
    }

    /// Waits for a step of a router or a venue, for as long as the host allows.
    pub(crate) async fn in_time<T>(&self, step: impl Future<Output = T> + Send) -> Option<T> {
        self.within(self.config.step_timeout, step).await
    }

    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send,
    ) -> Option<T> {
        let mut future = pin!(future);
        // Most futures are ready at once in tests and simulations; they need no timer.
        if let Some(result) = future.as_mut().now_or_never() {
            return Some(result);
        }
        match select(future, self.runtime.clock.sleep(limit)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(((), _)) => None,
        }
    }
}
