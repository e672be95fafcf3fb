use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::ports::runtime::{Runtime, Spawner};

/// The tasks of one engine, which can be killed as a process is: without a farewell.
#[derive(Clone, Debug, Default)]
pub struct Process {
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Process {
    /// A process without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// The real surroundings, with the tasks kept here.
    pub fn runtime(&self) -> Runtime {
        self.within(Runtime::tokio())
    }

    /// These surroundings, with the tasks kept here.
    pub fn within(&self, surroundings: Runtime) -> Runtime {
        Runtime { spawner: Arc::new(self.clone()), ..surroundings }
    }

    /// Ends all tasks where they stand. Nothing is given back and nothing is written any more.
    pub async fn kill(&self) {
        let tasks: Vec<_> = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // An error says that the task was ended, which is what was asked for.
            let _ = task.await;
        }
    }
}

impl Spawner for Process {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        #[allow(clippy::disallowed_methods)] // A spawner is where tasks come from.
        let task = tokio::spawn(task);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}
