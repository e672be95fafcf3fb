use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::failure::{Failure, FailureClass};
use crate::domain::route::{Candidate, QuoteRequest};

/// Proposes ways to execute an order.
///
/// # Contract
/// - Nothing is sent and nothing is reserved: a quote has no effect.
/// - The result has everything that was considered; what cannot be done has its reason. A failing exchange
///   never hides a working one.
/// - A route's legs sum to the requested amount exactly, and promise no more than the pools pay.
/// - No route loses more to the mid price than [`QuoteRequest::max_price_impact_bps`]; one that would is rejected with
///   [`FailureCode::PRICE_IMPACT`](crate::FailureCode::PRICE_IMPACT) and the figure.
/// - A rejection with [`FailureCode::AMOUNT_TOO_SMALL`](crate::FailureCode::AMOUNT_TOO_SMALL) or
///   [`FailureCode::PAIR_NOT_TRADED`](crate::FailureCode::PAIR_NOT_TRADED) does not pass by itself: an order that gets nothing
///   else fails at once.
/// - Safe to drop at every await.
///
/// # Example
///
/// ```
/// use async_trait::async_trait;
/// use order_engine_core::testing::{self, ScriptedRouter};
/// use order_engine_core::{Candidate, DexRouter, Failure, FailureCode, QuoteRequest, StepError};
///
/// /// Asks two routers. One that fails does not hide what the other one finds.
/// #[derive(Debug)]
/// struct Both<A, B>(A, B);
///
/// #[async_trait]
/// impl<A: DexRouter, B: DexRouter> DexRouter for Both<A, B> {
///     fn dexes(&self) -> Vec<String> {
///         [self.0.dexes(), self.1.dexes()].concat()
///     }
///
///     async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
///         match tokio::join!(self.0.quote(request), self.1.quote(request)) {
///             (Ok(one), Ok(other)) => Ok([one, other].concat()),
///             (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
///             (Err(error), Err(_)) => Err(error),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Both(ScriptedRouter::new(), ScriptedRouter::new());
/// router.0.fail_next(StepError::unavailable(Failure::new(FailureCode::QUOTE_UNAVAILABLE, "503")));
/// let candidates = router.quote(&testing::request().quote_request()).await?;
/// assert!(candidates.iter().any(|candidate| candidate.route().is_some()));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait DexRouter: Debug + Send + Sync + 'static {
    /// Returns the names of the exchanges that are asked, in a stable order, for people to read.
    fn dexes(&self) -> Vec<String>;

    /// Returns the candidates for a request. The engine chooses with [`best`](crate::domain::route::best).
    ///
    /// # Errors
    /// If no exchange could be asked. An empty list, or one with rejections only, is no error here: the
    /// engine makes `no-route` of it.
    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError>;
}

/// Why a step before signing failed, and whether trying again can help.
#[derive(Clone, Debug)]
pub struct StepError {
    /// The reason.
    pub failure: Failure,
    /// Whether trying again can help.
    pub class: FailureClass,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StepError {
    const fn new(failure: Failure, class: FailureClass) -> Self {
        Self { failure, class, source: None }
    }

    /// Returns an error without an answer: a time-out, a refused connection, an overloaded server.
    pub fn unavailable(failure: Failure) -> Self {
        Self::new(failure, FailureClass::Unavailable)
    }

    /// Returns a failure that may pass by itself.
    pub fn transient(failure: Failure) -> Self {
        Self::new(failure, FailureClass::Transient)
    }

    /// Returns a failure of a quote that no longer holds.
    pub fn requote(failure: Failure) -> Self {
        Self::new(failure, FailureClass::Requote)
    }

    /// Returns a failure that no repetition can mend.
    pub fn permanent(failure: Failure) -> Self {
        Self::new(failure, FailureClass::Permanent)
    }

    /// Returns the same error with what caused it. The failure goes into the order's history, the cause into
    /// the log.
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.failure, f)
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
