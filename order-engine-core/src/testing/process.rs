use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::ports::runtime::{Runtime, Spawner};

/// The tasks of one engine, which can be killed like a process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Process {
    /// Returns a process without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the runtime of tokio, with its tasks in this process.
    pub fn runtime(&self) -> Runtime {
        self.within(Runtime::tokio())
    }

    /// Returns this runtime, with its tasks in this process.
    pub fn within(&self, runtime: Runtime) -> Runtime {
        runtime.with_spawner(self.clone())
    }

    /// Ends all tasks at once, without a release or a write.
    pub async fn kill(&self) {
        let tasks: Vec<_> = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // An error says that the task was aborted.
            let _ = task.await;
        }
    }
}

impl Spawner for Process {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        #[allow(clippy::disallowed_methods)] // A spawner has to spawn.
        let task = tokio::spawn(task);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}
