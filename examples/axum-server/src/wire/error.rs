//! Failures of orders as clients see them.

use order_engine_core::Failure;
use serde::Serialize;
use utoipa::ToSchema;

/// A failure as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderFailure)]
pub(crate) struct ErrorBody {
    code: String,
    message: String,
}

impl ErrorBody {
    pub(crate) fn new(failure: &Failure) -> Self {
        Self { code: failure.code.as_str().to_owned(), message: failure.message.clone() }
    }
}
