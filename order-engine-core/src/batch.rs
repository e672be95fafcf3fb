//! Natural batching: the items that come while a write is in flight are written together.
//!
//! There are no timers. A lone item is written at once; a thousand that arrive during a write
//! share the next one.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::resilience::supervisor::Supervisor;

/// An item that waits to be written, and where its result goes.
pub(crate) struct Queued<T, R> {
    pub(crate) item: T,
    reply: oneshot::Sender<R>,
}

/// The sending end of a batch queue.
#[derive(Debug)]
pub(crate) struct Batcher<T, R> {
    queue: mpsc::Sender<Queued<T, R>>,
}

/// Where the items of a queue are taken from. A task that begins again goes on with the same queue.
pub(crate) type Queue<T, R> = Arc<Mutex<mpsc::Receiver<Queued<T, R>>>>;

/// Why an item has no result.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// The queue is closed: the engine has shut down.
    Closed,
    /// The write panicked. It may have happened.
    Panicked,
}

impl<T, R> Batcher<T, R> {
    /// Returns a queue that holds at most `capacity` items; senders wait while it is full.
    pub(crate) fn new(capacity: usize) -> (Self, Queue<T, R>) {
        let (queue, items) = mpsc::channel(capacity);
        (Self { queue }, Arc::new(Mutex::new(items)))
    }

    /// Queues an item and waits for its result.
    pub(crate) async fn call(&self, item: T) -> Result<R, NoResult> {
        let (reply, result) = oneshot::channel();
        self.queue.send(Queued { item, reply }).await.map_err(|_| NoResult::Closed)?;
        result.await.map_err(|_| if self.queue.is_closed() { NoResult::Closed } else { NoResult::Panicked })
    }
}

/// Writes batches until every sender is gone: `write` takes the items and returns one result each. The items
/// of a batch that panics get none. Several of these may share a queue; each has a batch under way.
pub(crate) async fn run<T, R, F, Fut>(
    supervisor: Arc<Supervisor>,
    name: &'static str,
    items: Queue<T, R>,
    max_batch: usize,
    write: F,
) where
    T: Send,
    R: Send,
    F: Fn(Vec<T>) -> Fut + Send + Sync,
    Fut: Future<Output = Vec<R>> + Send,
{
    let task = || async {
        let mut gathered = Vec::new();
        // The queue is held only while items are taken from it.
        while items.lock().await.recv_many(&mut gathered, max_batch).await > 0 {
            let (batch, replies): (Vec<_>, Vec<_>) =
                gathered.drain(..).map(|queued| (queued.item, queued.reply)).unzip();
            for (reply, result) in replies.into_iter().zip(write(batch).await) {
                // The caller may be gone; the write happened all the same.
                let _ = reply.send(result);
            }
        }
    };
    Arc::clone(&supervisor).keep_running(name, task).await;
}
