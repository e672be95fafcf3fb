use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::amount::Amount;
use crate::domain::ids::TxId;
use crate::domain::order::Order;
use crate::domain::route::Route;
use crate::domain::transaction::{ChainView, Observation, SignedTx};
use crate::ports::order_store::lease::Fence;
use crate::ports::router::StepError;

/// Builds, signs, sends and observes transactions.
///
/// # Contract
/// - [`prepare`](Self::prepare) sends nothing. It simulates before it signs, so that ordinary
///   slippage is quoted again before anything is committed. Each call may sign another transaction;
///   the engine commits one of them before anything is sent, and forgets the others.
/// - [`submit`](Self::submit) sends exactly the given bytes. Sending the same bytes again has no
///   second effect: a venue that cannot promise this must not be driven by this engine.
/// - The methods report facts. The engine draws the conclusions, in one pure function.
/// - One address may have many nodes behind it, and some lag. Different nodes may answer
///   [`view`](Self::view) and [`observe`](Self::observe), so absence carries its evidence: the height up to
///   which the node that searched held the chain as final *itself*, when it searched. The answer of another
///   node, or an earlier answer, is no substitute; nor is the newest height that the node has seen, since on
///   a minority fork it may lack the majority's block. A venue that does not know this height says `None`.
/// - Every call ends by itself in bounded time.
/// - Safe to drop at every await. A dropped `submit` may or may not have sent.
///
/// # Example
///
/// ```
/// use async_trait::async_trait;
/// use order_engine_core::testing::ScriptedVenue;
/// use order_engine_core::{
///     ChainView, Observation, PrepareRequest, SignedTx, StepError, SubmitReport, TxId, Venue, VenueError,
/// };
///
/// /// Sends through a private relay, and asks a node of its own about everything else.
/// #[derive(Debug)]
/// struct Relayed<R, N> {
///     relay: R,
///     node: N,
/// }
///
/// #[async_trait]
/// impl<R: Venue, N: Venue> Venue for Relayed<R, N> {
///     async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
///         self.node.prepare(request).await
///     }
///
///     async fn submit(&self, tx: &SignedTx) -> SubmitReport {
///         self.relay.submit(tx).await
///     }
///
///     async fn view(&self) -> Result<ChainView, VenueError> {
///         self.node.view().await
///     }
///
///     async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
///         self.node.observe(tx_ids).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let venue = Relayed { relay: ScriptedVenue::new(), node: ScriptedVenue::new() };
/// let unknown = venue.observe(&[TxId::from("never sent")]).await?;
/// assert!(matches!(unknown[..], [Observation::NotFound { .. }]));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Venue: Debug + Send + Sync + 'static {
    /// Builds and signs the transaction for a route, without sending it.
    ///
    /// # Errors
    /// If it cannot be built, or would fail now. The class says whether trying again can help.
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError>;

    /// Sends a transaction.
    async fn submit(&self, tx: &SignedTx) -> SubmitReport;

    /// Returns how far the chain has come.
    ///
    /// # Errors
    /// If the venue does not answer.
    async fn view(&self) -> Result<ChainView, VenueError>;

    /// Returns what the venue knows of each transaction, in the order asked, one entry each.
    ///
    /// # Errors
    /// If the venue does not answer. An unknown transaction is no error but
    /// [`Observation::NotFound`], with the height through which the node that answered had searched.
    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError>;
}

/// What a transaction is built from.
#[derive(Clone, Copy, Debug)]
pub struct PrepareRequest<'a> {
    /// The order.
    pub order: &'a Order,
    /// The route to execute.
    pub route: &'a Route,
    /// The least output to accept, in base units; the transaction must enforce it.
    pub min_amount_out: Amount,
    /// The lease under which it is built, for venues that can enforce fences themselves.
    pub fence: Fence,
}

/// What came of sending a transaction.
///
/// None of these is a proof that the transaction will not land.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitReport {
    /// The venue took it.
    Accepted,
    /// The venue already had it.
    AlreadyKnown,
    /// The venue refused it. Other nodes may still hold the bytes, so this is no proof of death.
    DefinitelyNotAccepted {
        /// Why, in words.
        message: String,
    },
    /// It may have been taken: a time-out, a lost reply.
    Ambiguous {
        /// Why, in words.
        message: String,
    },
}

/// Why a venue did not answer.
#[derive(Clone, Debug)]
pub struct VenueError {
    /// Why, in words.
    pub message: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl VenueError {
    /// Returns an error with this reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Returns the same error with what caused it, which its message does not repeat.
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }
}

impl fmt::Display for VenueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the venue did not answer: {}", self.message)
    }
}

impl Error for VenueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
