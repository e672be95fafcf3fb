//! The engine: what a host holds.

pub(crate) mod admin;
pub(crate) mod apalis;
pub(crate) mod builder;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod due_orders;
mod quarantine;
pub(crate) mod read;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod shutdown;
pub(crate) mod submit;

use std::sync::{Arc, Mutex, PoisonError};

use crate::delivery::heads::Heads;
use crate::delivery::publisher::Publisher;
use crate::domain::state::step::Lane;
use crate::execution::claimer::{self, ClaimedOrder};
use crate::execution::context::Context;
use crate::execution::executor::Executor;
use crate::execution::observed_order::{ObserveQueue, ObservedOrder};
use crate::execution::observer::Observer;
use crate::ports::source::StatusSource;

/// Executes orders durably. Cheap to clone; every clone is the same engine.
///
/// When the last clone is dropped, the engine stops as if it had crashed: nothing is lost, but
/// leases have to expire before others go on. [`shutdown`](Self::shutdown) releases them.
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
    observe_queue: ObserveQueue,
    /// The observer, until it is started.
    observer: Mutex<Option<Arc<Observer>>>,
    publisher: Arc<Publisher>,
    heads: Heads,
    sources: Vec<Arc<dyn StatusSource>>,
}

impl Drop for Inner {
    /// Ends the background tasks: the host has dropped its last clone.
    fn drop(&mut self) {
        self.context.tasks.close();
        self.publisher.hub.close();
    }
}

impl Engine {
    fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }

    /// Starts the observer and the claimer of its lane, unless they run already.
    fn ensure_observer(&self) {
        let observer = self.inner.observer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(observer) = observer else { return };
        let tasks = &self.context().tasks;
        tasks.keep_running("observer", move || Arc::clone(&observer).run());
        let (context, queue) = (Arc::clone(self.context()), self.inner.observe_queue.clone());
        tasks.keep_running("observe claimer", move || {
            let queue = queue.clone();
            let slots = Arc::clone(queue.slots());
            let deliver = move |ClaimedOrder { order, slot }| {
                queue.push_observed(ObservedOrder::new(order, None, slot))
            };
            claimer::run(Arc::clone(&context), Lane::Observe, slots, deliver)
        });
    }
}
