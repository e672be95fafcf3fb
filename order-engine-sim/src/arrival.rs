//! What a chain answers.

use order_engine_core::Certainty;

use crate::execution::Execution;
use crate::ledger::Ticket;

/// The result of submitting a transaction to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The transaction is new.
    Accepted,
    /// The chain already had the transaction.
    Known,
    /// The transaction can never land, for this reason.
    Refused(String),
    /// The request or the reply was lost, for this reason.
    Lost(&'static str),
}

/// The visible landings of some transactions, in the order of the request.
#[derive(Debug)]
pub(crate) struct VisibleLandings {
    pub(crate) landings: Vec<Option<VisibleLanding>>,
    /// The ticket that must be durable before any of the landings is revealed.
    pub(crate) ticket: Ticket,
}

/// A landing that a node can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisibleLanding {
    pub(crate) execution: Execution,
    pub(crate) certainty: Certainty,
}
