//! The errors of calls as errors of the venue.

use order_engine_core::telemetry::chain;
use order_engine_core::{Failure, FailureCode, StepError, SubmitReport, VenueError};

use crate::keys::SignError;
use crate::rpc::RpcError;

/// Returns the error of a venue whose nodes did not answer.
pub(crate) fn venue_error(error: RpcError) -> VenueError {
    VenueError::new("a call of its nodes failed").with_source(error)
}

/// Returns the error of a step for which the nodes did not answer.
pub(crate) fn unavailable(error: RpcError) -> StepError {
    let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, error.to_string());
    StepError::unavailable(failure).with_source(error)
}

/// Returns the error of what nobody has signed.
pub(crate) fn not_signed(error: &SignError) -> StepError {
    let failure = |code| Failure::new(code, chain(error).to_string());
    match error {
        SignError::Unavailable(_) => StepError::unavailable(failure(FailureCode::VENUE_UNAVAILABLE)),
        _ => StepError::permanent(failure(FailureCode::REJECTED)),
    }
}

/// Returns the error of what can never be done.
pub(crate) fn rejected(message: impl Into<String>) -> StepError {
    StepError::permanent(Failure::new(FailureCode::REJECTED, message))
}

/// Returns the error of a transaction that no node has taken for certain.
pub(crate) fn not_taken(report: &SubmitReport) -> StepError {
    let message = match report {
        SubmitReport::DefinitelyNotAccepted { message } | SubmitReport::Ambiguous { message } => message,
        _ => "no node has taken it",
    };
    StepError::unavailable(Failure::new(FailureCode::VENUE_UNAVAILABLE, message))
}
