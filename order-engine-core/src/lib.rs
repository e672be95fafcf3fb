#![doc = include_str!("../README.md")]

pub mod backend;
mod batch;
mod commit;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod delivery;
mod domain;
mod engine;
mod execution;
mod memory_store;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod ports;
mod resilience;
mod setters;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod venue_routers;

pub use config::EngineConfig;
pub use delivery::feed::{Feed, FeedError, FeedEvent};
pub use delivery::sinks::{ChannelSink, TracingSink};
pub use delivery::subscription::{SubscribeError, Subscription};
pub use delivery::{fanout, hints};
pub use domain::amount::{self, Amount, AmountError};
pub use domain::codec::{self, DecodeError, ItemRejected};
pub use domain::event::{EventRecord, OrderEvent, Status, UnknownReason};
pub use domain::failure::{Failure, FailureClass, FailureCode};
pub use domain::fee_bump::FeeBumpPolicy;
pub use domain::ids::{AccountId, ClientOrderId, OrderId, Tag, TxId, UserId, VenueName};
pub use domain::metadata::Metadata;
pub use domain::order::{
    Deadline, InvalidRequest, Order, OrderHead, OrderRequest, OrderUpdate, PriceProtection,
};
pub use domain::phase::{FailedAt, Phase, Quote, Stage};
pub use domain::priority::Priority;
pub use domain::retry_policy::{Backoff, Budget, OutagePolicy, RetryPolicy};
pub use domain::route::{Candidate, CandidateOutcome, Leg, QuoteRequest, Route, RouteAnalysis, best};
pub use domain::siblings::{Purpose, Sibling, Siblings};
pub use domain::state::step::{Lane, Step};
pub use domain::state::transition::{IllegalTransition, ReplayError};
pub use domain::state::{Attention, FailedAttempts, OrderState, Suspicion};
pub use domain::token::Token;
pub use domain::transaction::{
    AccountNonce, AccountView, Certainty, ChainView, Fill, NonceValue, Observation, OpaqueNonce, SignedTx,
    TxRef, Validity,
};
pub use domain::verdict::{DeathProof, Inclusion, Verdict, verdict};
pub use engine::Engine;
pub use engine::admin::{Health, NAME_RETENTION, VenueHealth};
#[cfg(feature = "apalis")]
pub use engine::apalis::{OrderBackend, execute_order};
pub use engine::builder::{BuildError, EngineBuilder};
pub use engine::cancel::Cancellation;
pub use engine::change::ChangeError;
pub use engine::due_orders::{enqueue_due_orders, until_queue_stalls};
pub use engine::execute::OrderTask;
pub use engine::find::{FindError, FoundTransaction};
pub use engine::read::Quotation;
pub use engine::resolve::{Resolution, Resolved};
pub use engine::retry::{Retry, RetryDraft, RetryError};
pub use engine::shutdown::ShutdownTimedOut;
pub use engine::submit::{Submission, SubmitError};
pub use engine::uncommitted::Uncommitted;
pub use execution::error::ExecuteError;
pub use memory_store::MemoryStore;
pub use ports::controls::{Activity, Pause, PauseScope};
pub use ports::feed::{FeedCursor, FeedScope, InvalidCursor};
pub use ports::into_port::IntoPort;
pub use ports::order_store::error::{StoreError, StoreErrorKind};
pub use ports::order_store::lease::Fence;
pub use ports::order_store::query::{Backlog, LaneBacklog, OrderQuery, SinkBacklog, Sort, UndecodableOrder};
pub use ports::order_store::write::NewOrder;
pub use ports::order_store::{Durability, OrderStore};
pub use ports::router::{DexRouter, StepError};
pub use ports::runtime::{Clock, Entropy, Runtime, Spawner, TokioClock};
pub use ports::sink::{SinkError, SinkGuarantee, StatusSink};
pub use ports::source::{Hint, StatusSource};
pub use ports::venue::{
    FillRequest, NonceSource, PrepareRequest, ReplaceRequest, SubmitReport, TransactionBound, Venue,
    VenueCapabilities, VenueError,
};
pub use resilience::breaker::BreakerConfig;
pub use resilience::supervisor::PartHealth;
pub use venue_routers::VenueRouters;

/// What authors of stores need besides [`OrderStore`] itself: its arguments and results, and its further
/// ports. Hosts use the [`Engine`] instead.
pub mod store {
    pub use crate::ports::controls::{Controls, PauseRequest};
    pub use crate::ports::feed::{EventFeed, FeedItem, FeedPage, FeedRequest};
    pub use crate::ports::order_store::lease::{
        Claim, ClaimRequest, ClaimScope, Claims, Lease, Release, ReleaseReason,
    };
    pub use crate::ports::order_store::query::{PurgeRequest, Purged};
    pub use crate::ports::order_store::write::{
        Append, AppendError, CreateError, Creation, FirstLease, Guard, NonceReservation, SequenceNumber, Then,
    };
    pub use crate::ports::outbox::{
        Deliveries, Delivery, DeliveryAck, DeliveryOutcome, DeliveryRequest, Outbox,
    };
}

/// A job framework that hosts may run workers with, in the version this engine is built for.
#[cfg(feature = "apalis")]
pub use apalis;
