#![doc = include_str!("../README.md")]

mod constant_product;
mod fee;
mod pool;
mod router;
mod source;

pub use constant_product::ConstantProduct;
pub use fee::Fee;
pub use pool::{Curve, InvalidPool, Pool, QuoteError};
pub use router::Router;
pub use source::{PoolSet, PoolSource};
