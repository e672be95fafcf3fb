#![doc = include_str!("../README.md")]

mod curve;
mod decimal;
mod fee;
mod pool;
mod ratio;
mod router;
mod source;
mod trade;
mod wide;

pub use curve::{
    Bin, ConcentratedLiquidity, ConcentratedState, ConstantProduct, CreatorFee, CreatorFeeOn, Curve, Dlmm,
    DlmmFees, DlmmState, DlmmVolatility, StableState, StableSwap, Tick,
};
pub use fee::Fee;
pub use pool::{InvalidPool, Pool, QuoteError};
pub use ratio::Ratio;
pub use router::Router;
pub use source::{PoolSet, PoolSource};
pub use trade::{Direction, Moment};
