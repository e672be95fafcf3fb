//! What a fan-out needs of a message broker.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::ports::order_store::error::StoreError;

/// A channel of a message broker, which carries messages from any process to all others.
///
/// # Contract
/// - Messages may be lost while a process is not connected, and come in the order of their publication
///   while it is.
/// - Every call returns in bounded time, except [`MessageStream::next`], and is safe to drop.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// Returns a stable name, for logs and metrics.
    fn name(&self) -> &'static str;

    /// Returns the size of the largest message, in bytes.
    fn max_message_bytes(&self) -> usize;

    /// Publishes messages, in order. After an error some of them may have been published.
    async fn publish(&self, messages: Vec<String>) -> Result<(), StoreError>;

    /// Subscribes on a new connection. The stream has every message that is published after this returns.
    async fn subscribe(&self) -> Result<Box<dyn MessageStream>, StoreError>;
}

/// The messages of a channel, as one connection receives them.
#[async_trait]
pub trait MessageStream: Send + 'static {
    /// Waits for the next message. A call that is dropped loses none.
    ///
    /// # Errors
    /// If the connection has failed. The stream is not used any more then.
    async fn next(&mut self) -> Result<String, StoreError>;

    /// Checks that the server still answers on this connection and still sends what others publish.
    /// Messages that arrive during the check are kept for [`next`](Self::next).
    ///
    /// # Errors
    /// If it does not. The stream is not used any more then.
    async fn ping(&mut self) -> Result<(), StoreError>;
}
