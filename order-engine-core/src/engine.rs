//! The engine: what a host holds.

pub(crate) mod admin;
#[cfg(feature = "apalis")]
pub(crate) mod apalis;
pub(crate) mod builder;
pub(crate) mod cancel;
pub(crate) mod change;
mod controls;
pub(crate) mod due_orders;
pub(crate) mod execute;
mod fair_share;
mod feed;
pub(crate) mod find;
mod quarantine;
pub(crate) mod read;
pub(crate) mod resolve;
pub(crate) mod retry;
mod run;
pub(crate) mod shutdown;
pub(crate) mod submit;
pub(crate) mod uncommitted;
mod wait;

use std::sync::{Arc, Once};

use crate::delivery::feed::tail::FeedTail;
use crate::delivery::heads::Heads;
use crate::delivery::publisher::Publisher;
use crate::domain::state::step::Lane;
use crate::execution::claimer;
use crate::execution::context::Context;
use crate::execution::executor::Executor;
use crate::execution::observer::Observers;
use crate::ports::source::StatusSource;
use fair_share::FairShare;

/// Executes orders durably. Cheap to clone; every clone is the same engine.
///
/// When the last clone is dropped, the engine stops as if it had crashed: nothing is lost, but
/// leases have to expire before others go on. [`shutdown`](Self::shutdown) releases them.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use order_engine_core::testing::{self, ScriptedRouter, ScriptedVenue};
/// use order_engine_core::{Engine, MemoryStore, Status, Submission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .store(MemoryStore::new())
///     .router(ScriptedRouter::new())
///     .venue(ScriptedVenue::new())
///     .build()
///     .await?;
/// tokio::spawn(engine.run(10));
///
/// let request = testing::request().with_client_order_id("2026-11-21/17");
/// let Submission::Created(order) = engine.submit(request.clone()).await? else { unreachable!() };
/// // A client that got no answer asks again. It is the same order.
/// assert!(matches!(engine.submit(request).await?, Submission::Existing(same) if same.id == order.id));
///
/// let ended = engine.wait(order.id).await?.expect("it was just created");
/// assert_eq!(ended.status(), Status::Confirmed);
/// engine.shutdown(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A method that reads or writes the store fails with the store's error if the store does not answer. A
/// failed read had no effect; a failed write may have been made, and calling again is safe.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// The parts of an engine.
#[derive(Debug)]
struct Inner {
    context: Arc<Context>,
    executor: Executor,
    observers: Arc<Observers>,
    /// Starts the observers with the first worker.
    observer_start: Once,
    publisher: Arc<Publisher>,
    heads: Heads,
    feed_tail: Arc<FeedTail>,
    fair_share: FairShare,
    sources: Vec<Arc<dyn StatusSource>>,
}

impl Drop for Inner {
    /// Ends the background tasks: the host has dropped its last clone.
    fn drop(&mut self) {
        self.context.tasks.close();
        self.publisher.hub.close();
        self.feed_tail.close();
    }
}

impl Engine {
    fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }

    /// Starts the observers and the claimer of their lane, unless they run already.
    fn ensure_observer(&self) {
        self.inner.observer_start.call_once(|| {
            let (context, observers) = (Arc::clone(self.context()), Arc::clone(&self.inner.observers));
            observers.start();
            self.context().tasks.keep_running("observe claimer", move || {
                let (observers, slots) = (Arc::clone(&observers), Arc::clone(observers.slots()));
                let deliver = Arc::new(move |claimed| observers.take_claimed(claimed));
                claimer::run(Arc::clone(&context), Lane::Observe, slots, deliver)
            });
        });
    }
}
