//! The curves by which pools price.

mod concentrated;
mod constant_product;
mod damm;
mod dlmm;
mod pump_swap;
mod stable;
mod ticks;
mod uniswap_v2;
mod uniswap_v3;
mod vaulted;
mod whirlpool;

pub use concentrated::{ConcentratedLiquidity, ConcentratedState, DynamicFee, DynamicFeeVolatility};
pub use constant_product::{ConstantProduct, CreatorFee};
pub use damm::{
    DammBaseFee, DammDynamicFee, DammLiquidity, DammReduction, DammState, DammV2, DammVolatility,
};
pub use dlmm::{Bin, BinOrders, Dlmm, DlmmFees, DlmmState, DlmmVolatility};
pub use pump_swap::{PumpFees, PumpSwap, PumpSwapState, PumpTier};
pub use stable::{StableState, StableSwap};
pub use ticks::{Tick, TickOrders};
pub use uniswap_v2::{UniswapV2, UniswapV2State};
pub use uniswap_v3::{UniswapV3, UniswapV3State};
pub use vaulted::{VaultShare, VaultedProduct, VaultedState};
pub use whirlpool::{AdaptiveFee, AdaptiveFeeVolatility, Whirlpool, WhirlpoolState};

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::budget::Meter;
use crate::error::QuoteError;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};

/// The curve by which a pool prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// The product of the reserves never falls.
    ConstantProduct(ConstantProduct),
    /// A constant product between ticks, each with its own liquidity.
    Concentrated(ConcentratedLiquidity),
    /// Bins, each with one price.
    Dlmm(Dlmm),
    /// A constant product with three fees on the quote token.
    PumpSwap(PumpSwap),
    /// Nearly a constant sum around par.
    Stable(StableSwap),
    /// The product of the reserves never falls, and these are shares of vaults.
    Vaulted(VaultedProduct),
    /// A constant product within two prices, with a fee that may change.
    DammV2(DammV2),
    /// A constant product between ticks, with Orca's prices of ticks and a fee that may adapt.
    Whirlpool(Whirlpool),
    /// The product of the reserves never falls, and the fee is rounded with the output.
    UniswapV2(UniswapV2),
    /// A constant product between ticks, with prices of 160 bits.
    UniswapV3(UniswapV3),
}

/// The methods of [`crate::Pool`], where they are documented.
impl Curve {
    pub(crate) fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.amount_out(direction, amount_in),
            Self::Concentrated(curve) => curve.metered_out(direction, amount_in, at, meter),
            Self::Dlmm(curve) => curve.metered_out(direction, amount_in, at, meter),
            Self::Stable(curve) => curve.amount_out(direction, amount_in),
            Self::Vaulted(curve) => curve.amount_out(direction, amount_in, at),
            Self::PumpSwap(curve) => curve.amount_out(direction, amount_in),
            Self::DammV2(curve) => curve.amount_out(direction, amount_in, at),
            Self::Whirlpool(curve) => curve.metered_out(direction, amount_in, at, meter),
            Self::UniswapV2(curve) => curve.amount_out(direction, amount_in),
            Self::UniswapV3(curve) => curve.metered_out(direction, amount_in, meter),
        }
    }

    pub(crate) fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
        meter: &impl Meter,
    ) -> Result<Amount, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.amount_in(direction, amount_out),
            Self::Concentrated(curve) => curve.metered_in(direction, amount_out, at, meter),
            Self::Dlmm(curve) => curve.metered_in(direction, amount_out, at, meter),
            Self::Stable(curve) => curve.amount_in(direction, amount_out),
            Self::Vaulted(curve) => curve.amount_in(direction, amount_out, at),
            Self::PumpSwap(curve) => curve.amount_in(direction, amount_out),
            Self::DammV2(curve) => curve.amount_in(direction, amount_out, at),
            Self::Whirlpool(curve) => curve.metered_in(direction, amount_out, at, meter),
            Self::UniswapV2(curve) => curve.amount_in(direction, amount_out),
            Self::UniswapV3(curve) => curve.metered_in(direction, amount_out, meter),
        }
    }

    pub(crate) fn after(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Self, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.after(direction, amount_in).map(Self::ConstantProduct),
            Self::Concentrated(curve) => curve.after(direction, amount_in, at).map(Self::Concentrated),
            Self::Dlmm(curve) => curve.after(direction, amount_in, at).map(Self::Dlmm),
            Self::Stable(curve) => curve.after(direction, amount_in).map(Self::Stable),
            Self::Vaulted(curve) => curve.after(direction, amount_in, at).map(Self::Vaulted),
            Self::PumpSwap(curve) => curve.after(direction, amount_in).map(Self::PumpSwap),
            Self::DammV2(curve) => curve.after(direction, amount_in, at).map(Self::DammV2),
            Self::Whirlpool(curve) => curve.after(direction, amount_in, at).map(Self::Whirlpool),
            Self::UniswapV2(curve) => curve.after(direction, amount_in).map(Self::UniswapV2),
            Self::UniswapV3(curve) => curve.after(direction, amount_in).map(Self::UniswapV3),
        }
    }

    pub(crate) fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.spot_price(direction),
            Self::Concentrated(curve) => curve.spot_price(direction, at),
            Self::Dlmm(curve) => curve.spot_price(direction, at),
            Self::Stable(curve) => curve.spot_price(direction),
            Self::Vaulted(curve) => curve.spot_price(direction, at),
            Self::PumpSwap(curve) => curve.spot_price(direction),
            Self::DammV2(curve) => curve.spot_price(direction, at),
            Self::Whirlpool(curve) => curve.spot_price(direction, at),
            Self::UniswapV2(curve) => curve.spot_price(direction),
            Self::UniswapV3(curve) => curve.spot_price(direction),
        }
    }

    pub(crate) fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        match self {
            Self::ConstantProduct(curve) => curve.mid_price(direction),
            Self::Concentrated(curve) => curve.mid_price(direction),
            Self::Dlmm(curve) => curve.mid_price(direction),
            Self::Stable(curve) => curve.mid_price(direction),
            Self::Vaulted(curve) => curve.mid_price(direction),
            Self::PumpSwap(curve) => curve.mid_price(direction),
            Self::DammV2(curve) => curve.mid_price(direction),
            Self::Whirlpool(curve) => curve.mid_price(direction),
            Self::UniswapV2(curve) => curve.mid_price(direction),
            Self::UniswapV3(curve) => curve.mid_price(direction),
        }
    }
}
