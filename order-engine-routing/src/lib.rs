#![doc = include_str!("../README.md")]

mod curve;
mod fee;
mod pool;
mod ratio;
mod router;
mod source;
mod trade;
mod wide;

pub use curve::{ConstantProduct, CreatorFee, CreatorFeeOn, Curve};
pub use fee::Fee;
pub use pool::{InvalidPool, Pool, QuoteError};
pub use ratio::Ratio;
pub use router::Router;
pub use source::{PoolSet, PoolSource};
pub use trade::{Direction, Moment};
