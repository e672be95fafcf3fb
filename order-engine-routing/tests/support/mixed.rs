//! Random pools of every curve near par, so that a split uses several of them.

use order_engine_routing::{
    Bin, ConcentratedLiquidity, ConcentratedState, Curve, Dlmm, DlmmFees, DlmmState, DlmmVolatility, Fee,
    FeeOn, Moment, Pool, StableState, StableSwap, Tick,
};
use proptest::prelude::*;

use super::{NOW, amount, constant_product_curve, numbered};

/// Generates up to `most` pools of the pair, of any curve.
pub fn mixed(most: usize) -> impl Strategy<Value = Vec<Pool>> {
    let curve = prop_oneof![constant_product(), concentrated(), stable(), dlmm(), volatile_dlmm()];
    proptest::collection::vec(curve, 1..=most).prop_map(numbered)
}

/// Generates pools as [`mixed`], without those whose fee changes during a trade.
pub fn mixed_concave(most: usize) -> impl Strategy<Value = Vec<Pool>> {
    let curve = prop_oneof![constant_product(), concentrated(), stable(), dlmm()];
    proptest::collection::vec(curve, 1..=most).prop_map(numbered)
}

fn constant_product() -> impl Strategy<Value = Curve> {
    (20_u32..34, 1_u128..1_000, 980_000_u128..1_020_000, 1_u64..40).prop_map(
        |(bits, depth, price_ppm, fee_bps)| constant_product_curve(depth << bits, price_ppm, fee_bps),
    )
}

/// Generates a pool with liquidity in up to five ranges around the price.
fn concentrated() -> impl Strategy<Value = Curve> {
    let range = (1_i32..40, 1_i32..40, 1_u128..1 << 48);
    (-20_i32..20, proptest::collection::vec(range, 1..6), 100_u32..4_000).prop_map(
        |(tick, ranges, fee_ppm)| {
            let mut net = std::collections::BTreeMap::<i32, i128>::new();
            let mut liquidity = 0;
            for (below, above, provided) in ranges {
                let provided_net = i128::try_from(provided).unwrap();
                *net.entry((tick - below).div_euclid(10) * 10).or_default() += provided_net;
                *net.entry((tick + above).div_euclid(10) * 10 + 10).or_default() -= provided_net;
                liquidity += provided;
            }
            let state = ConcentratedState {
                sqrt_price_x64: ConcentratedLiquidity::sqrt_price_at_tick(tick).unwrap(),
                tick_current: tick,
                tick_spacing: 10,
                liquidity,
                fee_ppm,
                ticks: net.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(),
                fee_on: FeeOn::Input,
                dynamic_fee: None,
                limit_orders: Vec::new(),
            };
            Curve::Concentrated(ConcentratedLiquidity::new(&state).unwrap())
        },
    )
}

fn stable() -> impl Strategy<Value = Curve> {
    let reserve = || (20_u32..34, 1_u128..1_000).prop_map(|(bits, depth)| amount(depth << bits));
    (reserve(), 300_u128..3_000, 1_u64..2_000, 1_u64..40).prop_map(
        |(reserve_a, per_mille, amplification, bps)| {
            let state = StableState {
                reserve_a,
                reserve_b: amount(reserve_a.base_units() * per_mille / 1_000),
                decimals_a: 6,
                decimals_b: 6,
                amplification,
                fee: Fee::new(bps, 10_000).unwrap(),
                protocol_share: Fee::new(0, 1).unwrap(),
            };
            Curve::Stable(StableSwap::new(state).unwrap())
        },
    )
}

fn dlmm() -> impl Strategy<Value = Curve> {
    dlmm_with(Just(0))
}

fn volatile_dlmm() -> impl Strategy<Value = Curve> {
    dlmm_with(1_u32..100_000)
}

fn dlmm_with(variable_fee_control: impl Strategy<Value = u32>) -> impl Strategy<Value = Curve> {
    let reserves = proptest::collection::vec((0_u128..1 << 42, 0_u128..1 << 42), 1..40);
    (-10_i32..10, reserves, 1_u16..2_000, variable_fee_control, -15_i32..15).prop_map(
        |(active_id, reserves, base_factor, variable_fee_control, moved)| {
            let middle = i32::try_from(reserves.len() / 2).unwrap();
            let bin = |(offset, (a, b)): (i32, (u128, u128))| Bin {
                id: active_id + offset - middle,
                reserve_a: amount(if offset < middle { 0 } else { a }),
                reserve_b: amount(if offset > middle { 0 } else { b }),
            };
            let state = DlmmState {
                fee_on: FeeOn::Input,
                limit_orders: Vec::new(),
                active_id,
                bin_step_bps: 10,
                fees: DlmmFees {
                    base_factor,
                    base_fee_power_factor: 0,
                    variable_fee_control,
                    filter_period_s: 30,
                    decay_period_s: 600,
                    reduction_factor_bps: 5_000,
                    max_volatility_accumulator: 350_000,
                },
                volatility: DlmmVolatility {
                    accumulator: 100_000,
                    reference: 50_000,
                    index_reference: active_id + moved,
                    last_update: Moment::from_unix_seconds(NOW.unix_seconds() - 10),
                },
                bins: (0..).zip(reserves).map(bin).collect(),
            };
            Curve::Dlmm(Dlmm::new(&state).unwrap())
        },
    )
}
