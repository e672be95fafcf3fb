//! The errors of calls as errors of the venue.

use order_engine_core::{Failure, FailureCode, StepError, VenueError};

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
