#![doc = include_str!("../README.md")]

mod budget;
mod ceiling;
mod curve;
mod decimal;
mod fee;
mod lane;
mod pool;
mod quote;
mod ratio;
mod router;
mod search;
mod source;
mod split;
mod trade;
mod wide;

pub use budget::Budget;
pub use curve::{
    Bin, ConcentratedLiquidity, ConcentratedState, ConstantProduct, CreatorFee, CreatorFeeOn, Curve, Dlmm,
    DlmmFees, DlmmState, DlmmVolatility, StableState, StableSwap, Tick,
};
pub use fee::Fee;
pub use pool::{InvalidPool, Pool, QuoteError};
pub use quote::{Found, LegQuote, RejectReason, Rejection, RouteQuote};
pub use ratio::Ratio;
pub use router::{LegCost, Router, RouterConfig};
pub use search::{Search, SearchLimits};
pub use source::{PoolFeed, PoolSet, PoolSource};
pub use trade::{Direction, Moment};
