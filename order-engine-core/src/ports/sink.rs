use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::order::OrderUpdate;

/// Takes committed events: a fan-out to other processes, a socket registry, a webhook, a log.
///
/// # Contract
/// - Called after the commit, oldest event first, never with events of one order at the same time.
///   A slow, failing or panicking sink delays no order and no other sink.
/// - A [best-effort](SinkGuarantee::BestEffort) sink is called by one task. Its queue is bounded, and
///   events that do not fit are dropped; a crash may also lose some. An event is a hint here; the store has
///   the truth.
/// - A [durable](SinkGuarantee::Durable) sink receives every event at least once and in order for each
///   order, also after a crash: one call has events of one order, and several orders are delivered
///   at a time. An event may come twice, rarely also after its successors, when a relay was slow and another
///   one took over; the receiver recognises it by `(order_id, seq)`.
/// - Safe to drop at every await.
///
/// # Example
///
/// ```
/// use async_trait::async_trait;
/// # use order_engine_core::testing::{self, ScriptedRouter, ScriptedVenue};
/// # use order_engine_core::{Engine, MemoryStore};
/// use order_engine_core::{OrderUpdate, SinkError, SinkGuarantee, StatusSink};
/// use tokio::sync::mpsc;
///
/// /// Tells users what happens to their orders.
/// #[derive(Debug)]
/// struct Messages(mpsc::UnboundedSender<String>);
///
/// #[async_trait]
/// impl StatusSink for Messages {
///     fn name(&self) -> &str { "messages" }
///
///     fn guarantee(&self) -> SinkGuarantee { SinkGuarantee::Durable }
///
///     async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
///         for OrderUpdate { order, event, .. } in updates {
///             let message = format!("{}: {}", order.request.user_id, event.message());
///             // What is refused comes again.
///             self.0.send(message).map_err(|_| SinkError::new("nobody reads the messages"))?;
///         }
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (store, router, venue) = (MemoryStore::new(), ScriptedRouter::new(), ScriptedVenue::new());
/// # let builder = Engine::builder().store(store).router(router).venue(venue);
/// let (sender, mut messages) = mpsc::unbounded_channel();
/// let engine = builder.sink(Messages(sender)).build().await?;
/// engine.submit(testing::request()).await?;
/// assert_eq!(messages.recv().await.as_deref(), Some("alice: Order accepted"));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait StatusSink: Debug + Send + Sync + 'static {
    /// Returns a stable name, for logs and metrics. A durable sink's outbox entries are kept under it.
    fn name(&self) -> &str;

    /// Returns the guarantee that the sink needs.
    fn guarantee(&self) -> SinkGuarantee;

    /// Takes events, oldest first, each with what never changes of its order: the user, the tokens and
    /// amounts, the host's metadata.
    ///
    /// # Errors
    /// If the sink could not take them. A best-effort sink misses them; a durable sink receives them again,
    /// after a growing wait.
    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError>;
}

/// The guarantee that a sink needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinkGuarantee {
    /// Each event once as a rule. Events may be missing, and one may come twice after the store's reply was
    /// lost; the receiver recognises it by `(order_id, seq)`. It costs no write.
    BestEffort,
    /// Each event at least once, in order for each order. It costs a row for each order with events that wait
    /// to be delivered.
    Durable,
}

/// Why a sink could not take events.
#[derive(Clone, Debug)]
pub struct SinkError {
    /// Why, in words.
    pub message: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// Returns an error with this reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Returns the same error with what caused it, which its message does not repeat.
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sink refused: {}", self.message)
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
