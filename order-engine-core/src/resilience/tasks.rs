//! The background tasks of an engine: how they start, repeat, begin again after a panic, and end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::ports::runtime::Runtime;
use crate::resilience::shutdown::Shutdown;
use crate::resilience::supervisor::Supervisor;

/// Starts tasks for which the shutdown waits. Clones start tasks of the same engine.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) runtime: Runtime,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) shutdown: Arc<Shutdown>,
}

impl Tasks {
    pub(crate) fn new(runtime: Runtime) -> Self {
        let supervisor = Supervisor::new(runtime.clone());
        Self { runtime, supervisor, shutdown: Arc::new(Shutdown::new()) }
    }

    /// Starts a task. Its first panic ends it, and is counted.
    pub(crate) fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let running = self.shutdown.enter_task();
        let supervisor = Arc::clone(&self.supervisor);
        let task = async move {
            // The supervisor has counted and logged a panic.
            let _ = supervisor.guard(name, task).await;
            drop(running);
        };
        self.runtime.spawner.spawn(name, task.boxed());
    }

    /// Starts a task that begins again after a panic.
    pub(crate) fn keep_running<F, Fut>(&self, name: &'static str, start: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, Box::pin(Arc::clone(&self.supervisor).keep_running(name, start)));
    }

    /// Starts a task that does a job at an interval until the engine closes.
    pub(crate) fn repeat<F, Fut>(&self, name: &'static str, every: Duration, job: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (tasks, job) = (self.clone(), Arc::new(job));
        self.keep_running(name, move || {
            let (tasks, job) = (tasks.clone(), Arc::clone(&job));
            async move {
                let mut closing = tasks.shutdown.closing();
                loop {
                    tokio::select! {
                        biased;
                        () = closing.wait() => return,
                        () = tasks.runtime.clock.sleep(every) => job().await,
                    }
                }
            }
        });
    }

    /// Ends all tasks: those that work at once, and those that rest after a panic as soon as they have
    /// begun again.
    pub(crate) fn close(&self) {
        self.shutdown.close();
        self.supervisor.hurry();
    }
}
