use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, OrderId, TxId};
use crate::domain::order::Order;
use crate::domain::route::Route;
use crate::domain::transaction::{AccountNonce, AccountView, ChainView, Observation, SignedTx, TxRef};
use crate::ports::order_store::lease::Fence;
use crate::ports::router::StepError;
use crate::setters::setters;

/// Builds, signs, sends and observes transactions.
///
/// # Contract
/// - [`prepare`](Self::prepare) sends nothing. It simulates before it signs, so that ordinary
///   slippage is quoted again before anything is committed. Each call may sign another transaction;
///   the engine commits one of them before anything is sent, and forgets the others.
/// - [`submit`](Self::submit) sends exactly the given bytes. Sending the same bytes again has no
///   second effect: a venue that cannot promise this must not be driven by this engine.
/// - A transaction with a nonce has the one that [`PrepareRequest::nonces`] gave. Of an account with opaque values that is
///   one that the account had *at finality*. [`replace`](Self::replace) and
///   [`cancel_transaction`](Self::cancel_transaction) sign with the nonce of the transaction that they replace,
///   [`fill_nonce`](Self::fill_nonce) with the one that it is told.
/// - The methods report facts. The engine draws the conclusions, in one pure function.
/// - One address may have many nodes behind it, and some lag. Different nodes may answer
///   [`view`](Self::view), [`accounts`](Self::accounts) and [`observe`](Self::observe), so absence carries its evidence: the height up to
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
///     ChainView, Observation, PrepareRequest, SignedTx, StepError, SubmitReport, TxId, TxRef, Venue,
///     VenueCapabilities, VenueError,
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
///     fn capabilities(&self) -> VenueCapabilities {
///         self.node.capabilities()
///     }
///
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
///     async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
///         self.node.observe(txs).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let venue = Relayed { relay: ScriptedVenue::new(), node: ScriptedVenue::new() };
/// let unknown = venue.observe(&[TxRef::by_id(&TxId::from("never sent"))]).await?;
/// assert!(matches!(unknown[..], [Observation::NotFound { .. }]));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Venue: Debug + Send + Sync + 'static {
    /// Returns what the venue can do. It is always the same.
    fn capabilities(&self) -> VenueCapabilities;

    /// Builds and signs the transaction for a route, without sending it.
    ///
    /// # Errors
    /// If it cannot be built, or would fail now. The class says whether trying again can help.
    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError>;

    /// Signs a transaction that does what another one does and has its nonce, for a higher fee, so that the chain
    /// takes it instead. A venue that [can](VenueCapabilities::replaces).
    ///
    /// # Errors
    /// If it cannot be built.
    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let _ = request;
        Err(unsupported("replace transactions"))
    }

    /// Signs a transaction that does nothing and has the nonce of another one, for a higher fee, so that the chain
    /// takes it instead. A venue that [can](VenueCapabilities::cancels).
    ///
    /// # Errors
    /// If it cannot be built.
    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let _ = request;
        Err(unsupported("cancel transactions"))
    }

    /// Signs a transaction that does nothing and uses up this nonce, for a fee with which the chain takes it soon. A
    /// venue that [cancels](VenueCapabilities::cancels).
    ///
    /// # Errors
    /// If it cannot be built.
    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        let _ = request;
        Err(unsupported("use up nonces"))
    }

    /// Sends a transaction.
    async fn submit(&self, tx: &SignedTx) -> SubmitReport;

    /// Returns how far the chain has come.
    ///
    /// # Errors
    /// If the venue does not answer.
    async fn view(&self) -> Result<ChainView, VenueError>;

    /// Returns how far each account has come, in the order asked, one entry each. Asked of venues only whose
    /// transactions have nonces.
    ///
    /// # Errors
    /// If the venue does not answer.
    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        let _ = accounts;
        Err(VenueError::new("it has no accounts with nonces"))
    }

    /// Returns what the venue knows of each transaction, in the order asked, one entry each.
    ///
    /// It depends on the transactions and the chain alone, and not on what this process has signed or sent: after a restart
    /// the engine asks about the same transactions, and needs the same proofs.
    ///
    /// # Errors
    /// If the venue does not answer. An unknown transaction is no error but
    /// [`Observation::NotFound`], with the height through which the node that answered had searched.
    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError>;

    /// Returns the transactions in the venue's final history that carry the tag which
    /// [`prepare`](Self::prepare) wrote for this order: a memo, say. A venue that
    /// [can](VenueCapabilities::finds_by_tag).
    ///
    /// # Errors
    /// If the venue does not answer.
    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let _ = order;
        Err(VenueError::new("it does not find transactions by their order"))
    }
}

fn unsupported(what: &str) -> StepError {
    StepError::permanent(Failure::new(FailureCode::REJECTED, format!("The venue does not {what}")))
}

/// What bounds the transactions of a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionBound {
    /// A height.
    Height,
    /// A nonce of an account; maybe a height as well.
    Nonce,
}

/// What a venue can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // Each is a question of its own, and none depends on another.
pub struct VenueCapabilities {
    /// What bounds its transactions.
    pub bound: TransactionBound,
    /// Whether it signs replacements for a higher fee.
    pub replaces: bool,
    /// Whether it signs transactions that do nothing, in the place of others or to use up a nonce.
    pub cancels: bool,
    /// Whether the same bytes sent twice have one effect.
    pub dedupes: bool,
    /// Whether its history can be searched completely, so that a death can be proven.
    pub is_searchable: bool,
    /// Whether it finds transactions by the tag of their order.
    pub finds_by_tag: bool,
}

impl VenueCapabilities {
    /// Returns those of a venue whose transactions expire at a height, which dedupes and can be searched, and does
    /// nothing else.
    pub const fn by_height() -> Self {
        Self {
            bound: TransactionBound::Height,
            replaces: false,
            cancels: false,
            dedupes: true,
            is_searchable: true,
            finds_by_tag: false,
        }
    }

    /// Returns those of a venue whose transactions have nonces, which replaces, cancels, dedupes and can be
    /// searched.
    pub const fn by_nonce() -> Self {
        Self { bound: TransactionBound::Nonce, replaces: true, cancels: true, ..Self::by_height() }
    }

    /// Returns why no engine can drive such a venue safely, if none can.
    pub const fn hazard(&self) -> Option<&'static str> {
        if !self.dedupes && !self.is_searchable {
            return Some(
                "it neither dedupes nor can be searched, so nobody can tell whether an order was executed",
            );
        }
        if matches!(self.bound, TransactionBound::Nonce) && !self.cancels {
            return Some(
                "its transactions have nonces, and it cannot use one up for an order that was cancelled",
            );
        }
        None
    }
}

setters! {
    impl VenueCapabilities {
        with_replaces sets replaces: bool;
        with_cancels sets cancels: bool;
        with_dedupes sets dedupes: bool;
        with_is_searchable sets is_searchable: bool;
        with_finds_by_tag sets finds_by_tag: bool;
    }
}

/// Gives out the nonces of accounts, each once, and numbers without a gap.
#[async_trait]
pub trait NonceSource: Debug + Send + Sync {
    /// Returns the number that the next transaction of an account has to have. `latest` is the account's next number
    /// as the chain has it now.
    ///
    /// Other transactions of the account wait until this one is committed or given up.
    ///
    /// # Errors
    /// If the account has as many transactions under way as may be.
    async fn next(&self, account: &AccountId, latest: u64) -> Result<u64, StepError>;

    /// Returns one of these accounts' opaque values that no other transaction has. Each is the account's value *at
    /// finality*: one that a fork can take back might come again.
    ///
    /// Other transactions do not get it unless this one is given up before it is committed.
    ///
    /// # Errors
    /// If other transactions have all of them.
    async fn choose(&self, nonces: Vec<AccountNonce>) -> Result<AccountNonce, StepError>;
}

/// What a transaction is built from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PrepareRequest<'a> {
    /// The order.
    pub order: &'a Order,
    /// The route to execute.
    pub route: &'a Route,
    /// The least output to accept, in base units; the transaction must enforce it.
    pub min_amount_out: Amount,
    /// When the order is too late. A venue whose chain can enforce it lets the transaction fail from then on.
    pub deadline: Option<DateTime<Utc>>,
    /// The lease under which it is built, for venues that can enforce fences themselves.
    pub fence: Fence,
    /// Where the transaction's nonce comes from, if it has one.
    pub nonces: &'a dyn NonceSource,
}

impl<'a> PrepareRequest<'a> {
    /// Returns a request for an order's transaction on a route, which must pay at least so much, in base units of
    /// the output token.
    pub fn new(
        order: &'a Order,
        route: &'a Route,
        min_amount_out: Amount,
        fence: Fence,
        nonces: &'a dyn NonceSource,
    ) -> Self {
        Self { order, route, min_amount_out, deadline: order.expires_at(), fence, nonces }
    }
}

/// What a transaction that replaces another one is built from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReplaceRequest<'a> {
    /// The order.
    pub order: &'a Order,
    /// The transaction to replace.
    pub tx: &'a SignedTx,
    /// The fee of the new one, at least, in percent of the fee of the other: more than 100.
    pub fee_percent: u32,
    /// The lease under which it is built.
    pub fence: Fence,
}

impl<'a> ReplaceRequest<'a> {
    /// Returns a request to replace a transaction of an order, for so many percent of its fee at least.
    pub const fn new(order: &'a Order, tx: &'a SignedTx, fee_percent: u32, fence: Fence) -> Self {
        Self { order, tx, fee_percent, fence }
    }
}

/// What a transaction that uses up a nonce is built from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FillRequest<'a> {
    /// The order whose transaction waits for the nonce to be used.
    pub order: &'a Order,
    /// The nonce.
    pub nonce: &'a AccountNonce,
    /// The lease under which it is built.
    pub fence: Fence,
}

impl<'a> FillRequest<'a> {
    /// Returns a request to use up a nonce that an order's transaction waits for.
    pub const fn new(order: &'a Order, nonce: &'a AccountNonce, fence: Fence) -> Self {
        Self { order, nonce, fence }
    }
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
