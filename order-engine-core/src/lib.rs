#![doc = include_str!("../README.md")]

mod active;
pub mod amount;
mod batch;
mod breaker;
mod bulkhead;
pub mod codec;
mod committer;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dispatch;
mod engine;
mod event;
mod execute;
mod failure;
mod fanout;
mod heads;
pub mod hints;
mod hub;
mod ids;
mod lease;
mod observe;
mod order;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod port;
mod recent;
mod relay;
mod retry;
mod route;
mod sink;
mod state;
mod store;
mod store_clock;
mod subscription;
mod supervise;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transaction;
mod worker;

pub use amount::{Amount, AmountError};
pub use breaker::BreakerConfig;
pub use config::EngineConfig;
pub use engine::{
    BuildError, Cancellation, ChangeError, Engine, EngineBuilder, Health, NAME_RETENTION, Quotation,
    Resolution, Resolved, Retry, RetryError, ShutdownTimedOut, Submission, SubmitError,
};
pub use event::*;
pub use execute::ExecuteError;
pub use failure::*;
pub use ids::*;
pub use order::*;
pub use port::*;
pub use retry::{Backoff, Budget, OutagePolicy, RetryPolicy};
pub use route::*;
pub use sink::{ChannelSink, TracingSink};
pub use state::*;
pub use store::MemoryStore;
pub use subscription::{SubscribeError, Subscription};
pub use supervise::PartHealth;
pub use transaction::*;
pub use worker::{OrderBackend, OrderTask, execute_order, sweep};

/// The job framework that hosts run workers with, in the version this engine is built for.
pub use apalis;
