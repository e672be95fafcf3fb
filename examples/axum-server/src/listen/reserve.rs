//! The connections beyond all bounds, which are kept so that whoever asks whether the server lives gets an answer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::AbortHandle;

/// How many connections the reserve has.
const RESERVE_CONNECTIONS: usize = 16;
/// How long one of them may last.
pub(crate) const RESERVE_TIME_MAX: Duration = Duration::from_secs(5);

/// The connections of the reserve, oldest first. The newest always has a place: the oldest gives way, which has had time
/// for a short answer, unless thousands come in a second.
#[derive(Debug, Default)]
pub(crate) struct Reserve(VecDeque<AbortHandle>);

impl Reserve {
    /// Keeps the task of a connection, and ends the oldest one if there are too many.
    pub(crate) fn admit(&mut self, task: AbortHandle) {
        self.0.retain(|task| !task.is_finished());
        if self.0.len() >= RESERVE_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_to_the_newest() {
        let mut reserve = Reserve::default();
        let tasks: Vec<_> = (0..=RESERVE_CONNECTIONS)
            .map(|_| {
                let task = tokio::spawn(std::future::pending::<()>());
                reserve.admit(task.abort_handle());
                task
            })
            .collect();
        let mut tasks = tasks.into_iter();
        assert!(tasks.next().unwrap().await.unwrap_err().is_cancelled());
        assert!(tasks.all(|task| !task.is_finished()));
    }
}
