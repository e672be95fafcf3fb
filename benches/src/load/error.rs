//! The error of a load.

/// Any error that ends a load.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step of a load.
pub(crate) type Result<T> = std::result::Result<T, Error>;
