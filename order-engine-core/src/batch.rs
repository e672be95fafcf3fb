//! Natural batching: whatever gathers while the last write is in flight is written together.
//!
//! There are no timers. A lone item is written at once; a thousand that arrive during a write
//! share the next one.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

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

/// The queue is closed: the engine has shut down.
#[derive(Debug)]
pub(crate) struct Closed;

impl<T, R> Batcher<T, R> {
    /// A queue that holds at most `capacity` items; senders wait while it is full.
    pub(crate) fn new(capacity: usize) -> (Self, mpsc::Receiver<Queued<T, R>>) {
        let (queue, items) = mpsc::channel(capacity);
        (Self { queue }, items)
    }

    /// Queues an item and waits for its result.
    pub(crate) async fn call(&self, item: T) -> Result<R, Closed> {
        let (reply, result) = oneshot::channel();
        self.queue.send(Queued { item, reply }).await.map_err(|_| Closed)?;
        result.await.map_err(|_| Closed)
    }
}

/// Writes batches until every sender is gone: `write` gets the items and gives one result each.
pub(crate) async fn run<T, R, F, Fut>(mut items: mpsc::Receiver<Queued<T, R>>, max_batch: usize, mut write: F)
where
    F: FnMut(Vec<T>) -> Fut,
    Fut: Future<Output = Vec<R>>,
{
    let mut gathered = Vec::new();
    while items.recv_many(&mut gathered, max_batch).await > 0 {
        let (batch, replies): (Vec<_>, Vec<_>) =
            gathered.drain(..).map(|queued| (queued.item, queued.reply)).unzip();
        for (reply, result) in replies.into_iter().zip(write(batch).await) {
            // Whoever asked may be gone; the write happened all the same.
            let _ = reply.send(result);
        }
    }
}
