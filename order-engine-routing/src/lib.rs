#![doc = include_str!("../README.md")]

mod budget;
mod conditions;
mod curve;
mod decimal;
mod error;
mod feature;
mod fee;
mod flow;
mod footprint;
mod hyperbola;
mod net;
mod path;
mod pool;
mod pool_set;
mod price_ceiling;
mod quote;
mod ratio;
mod reading;
mod router;
mod search;
mod source;
mod split;
mod trade;
mod wide;

pub use budget::SearchBudget;
pub use conditions::{Conditions, TransferFee};
pub use curve::{
    AdaptiveFee, AdaptiveFeeVolatility, Bin, BinOrders, ConcentratedLiquidity, ConcentratedState,
    ConstantProduct, CreatorFee, Curve, DammBaseFee, DammDynamicFee, DammLiquidity, DammReduction, DammState,
    DammV2, DammVolatility, Dlmm, DlmmFees, DlmmState, DlmmVolatility, DynamicFee, DynamicFeeVolatility,
    PumpFees, PumpSwap, PumpSwapState, PumpTier, StableState, StableSwap, Tick, TickOrders, UniswapV2,
    UniswapV2State, UniswapV3, UniswapV3State, VaultShare, VaultedProduct, VaultedState, Whirlpool,
    WhirlpoolState,
};
pub use error::{InvalidPool, QuoteError};
pub use feature::Feature;
pub use fee::{Fee, FeeOn};
pub use footprint::{Excess, Footprint, Resource, TransactionLimits};
pub use net::NetAmount;
pub use pool::Pool;
pub use pool_set::PoolSet;
pub use quote::{LegQuote, RejectReason, Rejection, RouteQuote, SearchOutcome};
pub use ratio::Ratio;
pub use reading::Reading;
pub use router::{ComputeCost, LegCost, Router, RouterConfig};
pub use search::{Search, SearchLimits};
pub use source::{PoolFeed, PoolSource, UpdateReport};
pub use trade::{Direction, Moment};
