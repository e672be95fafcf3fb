//! Where endpoints are kept: beside the orders, in a place of their own.

pub(crate) mod documents;
pub(crate) mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;
