//! What went wrong, in a form that is stored, shown and decided upon.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable, machine-readable reason.
///
/// Adapters may have codes of their own; the codes of the engine are constants here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureCode(Cow<'static, str>);

impl FailureCode {
    /// The host or its user cancelled the order.
    pub const CANCELLED: Self = Self::new("cancelled");
    /// The order's deadline passed before it could be executed.
    pub const EXPIRED: Self = Self::new("expired");
    /// The output fell below the minimum that the order accepts.
    pub const SLIPPAGE: Self = Self::new("slippage");
    /// No route paid what the order accepts at least, however often it looked.
    pub const PRICE_BELOW_MINIMUM: Self = Self::new("price-below-minimum");
    /// The order was refused for good: by a rule, a risk check or the venue.
    pub const REJECTED: Self = Self::new("rejected");
    /// Every attempt failed; the message names the last reason.
    pub const RETRIES_EXHAUSTED: Self = Self::new("retries-exhausted");
    /// No pool can take this order at the moment.
    pub const NO_ROUTE: Self = Self::new("no-route");
    /// The amount is so small that no pool pays anything for it.
    pub const AMOUNT_TOO_SMALL: Self = Self::new("amount-too-small");
    /// No pool or path of pools connects the tokens.
    pub const PAIR_NOT_TRADED: Self = Self::new("pair-not-traded");
    /// The order moves the price by more than it may.
    pub const PRICE_IMPACT: Self = Self::new("price-impact-too-high");
    /// A token of the order is unknown to the router or the venue.
    pub const UNKNOWN_TOKEN: Self = Self::new("unknown-token");
    /// The account cannot pay for the order.
    pub const INSUFFICIENT_FUNDS: Self = Self::new("insufficient-funds");
    /// No quote came in time.
    pub const QUOTE_UNAVAILABLE: Self = Self::new("quote-unavailable");
    /// The venue did not answer.
    pub const VENUE_UNAVAILABLE: Self = Self::new("venue-unavailable");
    /// The signed transaction expired before it landed.
    pub const TRANSACTION_EXPIRED: Self = Self::new("transaction-expired");
    /// Another transaction used the nonce of the signed one, which can land no more.
    pub const TRANSACTION_SUPERSEDED: Self = Self::new("transaction-superseded");
    /// The account has as many transactions under way as may be.
    pub const ACCOUNT_BUSY: Self = Self::new("account-busy");
    /// The transaction landed and failed on the chain.
    pub const TRANSACTION_FAILED: Self = Self::new("transaction-failed");
    /// A worker panicked while it executed the order.
    pub const WORKER_PANICKED: Self = Self::new("worker-panicked");
    /// Workers died while they executed the order, or others beside it.
    pub const WORKER_DIED: Self = Self::new("worker-died");
    /// Workers died or panicked with the order again and again.
    pub const QUARANTINED: Self = Self::new("quarantined");
    /// An operator resolved an unknown outcome: the transaction was not executed.
    pub const RESOLVED: Self = Self::new("resolved-not-executed");
    /// The order was in quarantine, and is tried again as a new one.
    pub const SUPERSEDED: Self = Self::new("superseded");

    /// Returns a code that is known when the program is built.
    pub const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// Returns a code that is known only at run time.
    pub fn from_text(code: impl Into<String>) -> Self {
        Self(Cow::Owned(code.into()))
    }

    /// Returns the code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reason with words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// One sentence for people. It never decides anything.
    pub message: String,
}

impl Failure {
    /// Returns a failure with this code and these words.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Whether trying again can help. The part that failed decides it; it is never guessed from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The router or the venue could not be reached: a time-out, a refused connection, an overloaded server.
    /// The order waits for the end of the outage and uses no attempt.
    Unavailable,
    /// The reason may pass: no route at the moment. One attempt is used.
    Transient,
    /// The quote no longer holds: quote again. One attempt is used.
    Requote,
    /// Trying again cannot help.
    Permanent,
}

impl FailureClass {
    /// Whether another attempt makes sense.
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::Permanent)
    }
}
