//! What a builder takes for a port: the implementation itself, or a shared one.

use std::sync::Arc;

use crate::ports::order_store::OrderStore;
use crate::ports::router::DexRouter;
use crate::ports::sink::StatusSink;
use crate::ports::source::StatusSource;
use crate::ports::venue::Venue;

/// What can become a port of an engine: any implementation of it, or an `Arc` of one. Implemented for all of
/// them; there is nothing to implement.
pub trait IntoPort<P: ?Sized> {
    /// Returns the port.
    fn into_port(self) -> Arc<P>;
}

/// Lets a builder take any implementation of a port, or an `Arc` of one.
macro_rules! into_port {
    ($($port:ident),+) => {
        $(
            impl<T: $port> IntoPort<dyn $port> for T {
                fn into_port(self) -> Arc<dyn $port> {
                    Arc::new(self)
                }
            }

            impl<T: $port> IntoPort<dyn $port> for Arc<T> {
                fn into_port(self) -> Arc<dyn $port> {
                    self
                }
            }

            impl IntoPort<dyn $port> for Arc<dyn $port> {
                fn into_port(self) -> Self {
                    self
                }
            }
        )+
    };
}
pub(crate) use into_port;

into_port!(OrderStore, DexRouter, Venue, StatusSink, StatusSource);
