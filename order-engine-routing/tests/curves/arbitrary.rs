//! Random pools, up to the extremes that a pool can have.

use std::collections::BTreeMap;

use order_engine_core::Amount;
use order_engine_routing::{
    AdaptiveFee, AdaptiveFeeVolatility, Bin, BinOrders, ConcentratedLiquidity, ConcentratedState,
    ConstantProduct, CreatorFee, Curve, DammBaseFee, DammDynamicFee, DammLiquidity, DammReduction, DammState,
    DammV2, DammVolatility, Direction, Dlmm, DlmmFees, DlmmState, DlmmVolatility, DynamicFee,
    DynamicFeeVolatility, Fee, FeeOn, Moment, Pool, PumpFees, PumpSwap, PumpSwapState, PumpTier, StableState,
    StableSwap, Tick, TickOrders, UniswapV2, UniswapV2State, UniswapV3, UniswapV3State, Whirlpool,
    WhirlpoolState,
};
use proptest::prelude::*;
use ruint::aliases::U256;

/// The time of the last trade of DLMM pools.
const LAST_TRADE_S: u64 = 1_700_000_000;

pub(crate) fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(&Direction::BOTH[..])
}

/// Generates integers of every order of magnitude with at most `bits` bits.
pub(crate) fn magnitude(bits: u32) -> impl Strategy<Value = u128> {
    (0..bits, any::<u128>()).prop_map(|(bit, noise)| (1 << bit) | (noise & ((1 << bit) - 1)))
}

/// Generates amounts, most of which fit 64 bits, as on real chains.
pub(crate) fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![4 => magnitude(64), 1 => magnitude(126)].prop_map(Amount::new)
}

/// Generates moments around the last trade of a pool.
pub(crate) fn moment() -> impl Strategy<Value = Moment> {
    (LAST_TRADE_S - 10..LAST_TRADE_S + 1_000).prop_map(Moment::from_unix_seconds)
}

/// Generates pools of every curve.
pub(crate) fn pool() -> impl Strategy<Value = Pool> {
    prop_oneof![
        constant_product().prop_map(Curve::ConstantProduct),
        concentrated().prop_map(Curve::Concentrated),
        whirlpool().prop_map(Curve::Whirlpool),
        damm_v2().prop_map(Curve::DammV2),
        dlmm().prop_map(Curve::Dlmm),
        pump_swap().prop_map(Curve::PumpSwap),
        stable().prop_map(Curve::Stable),
        uniswap_v2().prop_map(Curve::UniswapV2),
        uniswap_v3().prop_map(Curve::UniswapV3),
    ]
    .prop_map(|curve| Pool::new("pool", "dex", ("a", "b"), curve))
}

fn uniswap_v2() -> impl Strategy<Value = UniswapV2> {
    let reserve = || prop_oneof![magnitude(64), magnitude(111)].prop_map(Amount::new);
    (reserve(), reserve(), 0_u64..300).prop_map(|(reserve_a, reserve_b, fee)| {
        let fee = Fee::new(fee, 10_000).unwrap();
        UniswapV2::new(UniswapV2State { reserve_a, reserve_b, fee }).unwrap()
    })
}

/// Generates liquidity in up to seven ranges, of which the words around the price are known.
fn uniswap_v3() -> impl Strategy<Value = UniswapV3> {
    let fees = prop::sample::select(&[(100_u32, 1_u16), (500, 10), (3_000, 60), (10_000, 200)][..]);
    let range = (-300_i32..300, 1_i32..300, magnitude(90));
    let ranges = prop::collection::vec(range, 1..8);
    let far = prop_oneof![3 => -20_000_i32..20_000, 1 => -700_000_i32..700_000];
    (fees, far, ranges, 0_u64..4).prop_map(|((fee_ppm, tick_spacing), tick, ranges, part)| {
        let step = i32::from(tick_spacing);
        let center = tick.div_euclid(step);
        let mut nets = BTreeMap::<i32, i128>::new();
        let mut liquidity = 0;
        for (offset, width, provided) in ranges {
            let (lower, upper) = ((center + offset) * step, (center + offset + width) * step);
            *nets.entry(lower).or_default() += i128::try_from(provided).unwrap();
            *nets.entry(upper).or_default() -= i128::try_from(provided).unwrap();
            liquidity += if (lower..upper).contains(&tick) { provided } else { 0 };
        }
        let price = |tick| UniswapV3::sqrt_price_at_tick(tick).unwrap();
        let (here, next) = (price(tick), price(tick + 1));
        let word = |compressed: i32| i16::try_from(compressed.div_euclid(256)).unwrap();
        let state = UniswapV3State {
            sqrt_price_x96: here + (next - here) * U256::from(part) / U256::from(3),
            tick_current: tick,
            tick_spacing,
            liquidity,
            fee_ppm,
            ticks: nets.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(),
            first_word: word(center - 300),
            last_word: word(center + 600),
        };
        UniswapV3::new(&state).unwrap()
    })
}

fn constant_product() -> impl Strategy<Value = ConstantProduct> {
    let reserve = || prop_oneof![magnitude(64), magnitude(127)].prop_map(Amount::new);
    let on = prop::sample::select(&[FeeOn::Input, FeeOn::TokenA, FeeOn::TokenB][..]);
    let creator = prop::option::of((0_u64..5_000, on));
    (reserve(), reserve(), 0_u64..3_000, creator, 0_u64..10_000).prop_map(|(a, b, fee, creator, share)| {
        let bps = |bps| Fee::new(bps, 10_000).unwrap();
        let pool = ConstantProduct::new(a, b, bps(fee)).unwrap().with_protocol_share(bps(share));
        creator.map_or(pool, |(rate, on)| pool.with_creator_fee(CreatorFee { rate: bps(rate), on }).unwrap())
    })
}

/// The place and the ticks of a pool of concentrated liquidity.
#[derive(Clone, Debug)]
struct Ranges {
    sqrt_price_x64: u128,
    tick: i32,
    spacing: u16,
    liquidity: u128,
    ticks: Vec<Tick>,
}

/// Generates liquidity in up to seven ranges.
fn ranges(price: fn(i32) -> Option<u128>) -> impl Strategy<Value = Ranges> {
    let spacing = prop::sample::select(&[1_u16, 10, 60][..]);
    let range = (-120_i32..120, 1_i32..120, magnitude(90));
    let ranges = prop::collection::vec(range, 1..8);
    let far = prop_oneof![3 => -20_000_i32..20_000, 1 => -400_000_i32..400_000];
    (spacing, far, ranges, any::<u128>()).prop_map(move |(spacing, tick, ranges, noise)| {
        let step = i32::from(spacing);
        let center = tick.div_euclid(step);
        let mut nets = BTreeMap::<i32, i128>::new();
        let mut liquidity = 0;
        for (offset, width, provided) in ranges {
            let (lower, upper) = ((center + offset) * step, (center + offset + width) * step);
            *nets.entry(lower).or_default() += i128::try_from(provided).unwrap();
            *nets.entry(upper).or_default() -= i128::try_from(provided).unwrap();
            liquidity += if (lower..upper).contains(&tick) { provided } else { 0 };
        }
        let (here, next) = (price(tick).unwrap(), price(tick + 1).unwrap());
        Ranges {
            // Half of the prices are at an end of the tick.
            sqrt_price_x64: match noise % 4 {
                0 => here,
                1 => next,
                _ => here + noise % (next - here + 1),
            },
            tick,
            spacing,
            liquidity,
            ticks: nets.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(),
        }
    })
}

/// Generates what two kinds of pools have whose fee grows with volatility: whether they have it at all, how fast it
/// grows, its highest volatility, and the accumulator, the reference and the distance from it now.
fn volatile() -> impl Strategy<Value = Option<(u32, u32, u32, u32, i32)>> {
    let highest = prop::sample::select(&[0_u32, 15_000, 60_000, 350_000][..]);
    let now = (any::<u32>(), any::<u32>(), -20_i32..20);
    prop::option::of((1_u32..100_000, highest, now).prop_map(
        |(control, highest, (accumulator, reference, moved))| {
            (control, highest, accumulator % (highest + 1), reference % (highest + 1), moved)
        },
    ))
}

/// Generates pools of Raydium with any fee, and with limit orders.
pub(crate) fn concentrated() -> impl Strategy<Value = ConcentratedLiquidity> {
    let fee_on = prop::sample::select(&[FeeOn::Input, FeeOn::TokenA, FeeOn::TokenB][..]);
    let orders = prop::collection::btree_map(-120_i32..120, magnitude(60), 0..4);
    let ranges = ranges(ConcentratedLiquidity::sqrt_price_at_tick);
    (ranges, 0_u32..30_000, fee_on, volatile(), orders).prop_map(
        |(ranges, fee_ppm, fee_on, volatile, orders)| {
            let spacing = i32::from(ranges.spacing);
            let group = ranges.tick.div_euclid(spacing);
            let order = |(offset, amount)| TickOrders {
                index: (group + offset) * spacing,
                amount: Amount::new(amount),
            };
            let dynamic_fee =
                volatile.map(|(control_factor, highest, accumulator, reference, moved)| DynamicFee {
                    filter_period_s: 30,
                    decay_period_s: 600,
                    reduction_factor_bps: 5_000,
                    control_factor,
                    max_volatility_accumulator: highest,
                    volatility: DynamicFeeVolatility {
                        accumulator,
                        reference,
                        index_reference: group + moved,
                        last_update: Moment::from_unix_seconds(LAST_TRADE_S),
                    },
                });
            ConcentratedLiquidity::new(&ConcentratedState {
                sqrt_price_x64: ranges.sqrt_price_x64,
                tick_current: ranges.tick,
                tick_spacing: ranges.spacing,
                liquidity: ranges.liquidity,
                fee_ppm,
                ticks: ranges.ticks,
                fee_on,
                dynamic_fee,
                limit_orders: orders.into_iter().map(order).collect(),
            })
            .unwrap()
        },
    )
}

/// Generates pools of Orca with a fixed or an adaptive fee.
fn whirlpool() -> impl Strategy<Value = Whirlpool> {
    let size = prop::sample::select(&[1_u16, 5, 10][..]);
    let ages = (0_u64..1_000, 0_u64..1_000);
    let ranges = ranges(Whirlpool::sqrt_price_at_tick);
    (ranges, 0_u32..30_000, volatile(), size, ages).prop_map(|(ranges, fee_ppm, volatile, size, ages)| {
        let size = if ranges.spacing.is_multiple_of(size) { size } else { 1 };
        let group = ranges.tick.div_euclid(i32::from(size));
        let ago = |seconds: u64| Moment::from_unix_seconds(LAST_TRADE_S - seconds);
        let adaptive_fee =
            volatile.map(|(control_factor, highest, accumulator, reference, moved)| AdaptiveFee {
                filter_period_s: 30,
                decay_period_s: 600,
                reduction_factor_bps: 5_000,
                control_factor: if control_factor < 5_000 { 0 } else { control_factor },
                max_volatility_accumulator: highest,
                tick_group_size: size,
                major_swap_threshold_ticks: 64,
                volatility: AdaptiveFeeVolatility {
                    last_reference_update: ago(ages.0),
                    last_major_swap: ago(ages.1),
                    reference,
                    index_reference: group + moved,
                    accumulator,
                },
            });
        Whirlpool::new(&WhirlpoolState {
            sqrt_price_x64: ranges.sqrt_price_x64,
            tick_current: ranges.tick,
            tick_spacing: ranges.spacing,
            liquidity: ranges.liquidity,
            fee_ppm,
            ticks: ranges.ticks,
            adaptive_fee,
        })
        .unwrap()
    })
}

fn fees() -> impl Strategy<Value = DlmmFees> {
    let volatile = (prop_oneof![Just(0_u32), 1_u32..2_000_000], 0_u32..2_000_000);
    // With a filter period of zero, a trade would not continue the volatility of the one before it, and two
    // trades would be cheaper than one.
    (any::<u16>(), 0_u8..3, volatile, 1_u16..600, 0_u16..600, 0_u16..=10_000).prop_map(
        |(base_factor, base_fee_power_factor, (control, max), filter, decay, reduction)| DlmmFees {
            base_factor,
            base_fee_power_factor,
            variable_fee_control: control,
            filter_period_s: filter,
            decay_period_s: filter + decay,
            reduction_factor_bps: reduction,
            max_volatility_accumulator: max,
        },
    )
}

fn dlmm() -> impl Strategy<Value = Dlmm> {
    let reserve = || prop_oneof![1 => Just(0), 4 => magnitude(60)];
    let bins = prop::collection::btree_map(-30_i32..30, (reserve(), reserve()), 1..30);
    let orders = prop::collection::btree_map(-30_i32..30, (any::<bool>(), reserve(), reserve()), 0..4);
    let step = prop::sample::select(&[1_u16, 10, 25, 100, 400][..]);
    let volatility = (0_u32..1_000_000, 0_u32..1_000_000, -40_i32..40);
    let fee_on = prop::sample::select(&[FeeOn::Input, FeeOn::TokenB][..]);
    (step, -500_i32..500, (bins, orders), (fees(), fee_on), volatility).prop_map(
        |(step, active_id, (bins, orders), (fees, fee_on), volatility)| {
            let (accumulator, reference, moved) = volatility;
            let bin = |(offset, (a, b)): (i32, (u128, u128))| Bin {
                id: active_id + offset,
                reserve_a: Amount::new(if offset < 0 { 0 } else { a }),
                reserve_b: Amount::new(if offset > 0 { 0 } else { b }),
            };
            let resting = |(offset, (is_ask, open, processed)): (i32, (bool, u128, u128))| BinOrders {
                id: active_id + offset,
                is_ask: offset > 0 || (offset == 0 && is_ask),
                open: Amount::new(open),
                processed: Amount::new(processed),
            };
            Dlmm::new(&DlmmState {
                active_id,
                bin_step_bps: step,
                fees,
                volatility: DlmmVolatility {
                    accumulator,
                    reference,
                    index_reference: active_id + moved,
                    last_update: Moment::from_unix_seconds(LAST_TRADE_S),
                },
                bins: bins.into_iter().map(bin).collect(),
                fee_on,
                limit_orders: orders.into_iter().map(resting).collect(),
            })
            .unwrap()
        },
    )
}

/// Generates what a DAMM v2 pool holds: liquidity in a range in three of four, and reserves in the others.
fn damm_liquidity() -> impl Strategy<Value = DammLiquidity> {
    let root =
        || (34_u32..95, any::<u128>()).prop_map(|(bit, noise)| (1 << bit) | (noise & ((1 << bit) - 1)));
    let range = (root(), root(), root(), magnitude(125)).prop_map(|(one, two, three, liquidity_x64)| {
        let mut roots = [one, two, three];
        roots.sort_unstable();
        let [sqrt_min_price_x64, sqrt_price_x64, sqrt_max_price_x64] = roots;
        DammLiquidity::Range { sqrt_price_x64, sqrt_min_price_x64, sqrt_max_price_x64, liquidity_x64 }
    });
    let compounding = (magnitude(64), magnitude(64), 0_u8..=100, 0_u16..=10_000).prop_map(
        |(a, b, protocol_fee_percent, compounding_fee_bps)| DammLiquidity::Compounding {
            reserve_a: Amount::new(a),
            reserve_b: Amount::new(b),
            protocol_fee_percent,
            compounding_fee_bps,
        },
    );
    prop_oneof![3 => range, 1 => compounding]
}

/// Generates base fees, a limiter only where it may be.
pub(crate) fn damm_base_fee(with_limiter: bool) -> impl Strategy<Value = DammBaseFee> {
    let reduction = |cliff: u64, periods: u16, bps: u16| {
        let linear = DammReduction::Linear(cliff / u64::from(periods.max(1)));
        if bps.is_multiple_of(2) { linear } else { DammReduction::Exponential(bps) }
    };
    (0_u64..900_000_000, 1_u16..200, 0_u16..1_000, 0_u8..4, magnitude(95)).prop_map(
        move |(cliff_rate, periods, bps, mode, sqrt_price)| match mode {
            0 => DammBaseFee::Fixed { rate: cliff_rate },
            1 => DammBaseFee::TimeScheduler {
                cliff_rate,
                periods,
                period_s: u64::from(bps) + 1,
                reduction: reduction(cliff_rate, periods, bps),
            },
            2 if with_limiter => DammBaseFee::RateLimiter {
                cliff_rate: cliff_rate / 10,
                increment_bps: bps + 1,
                max_fee_bps: 9_000,
                reference_amount: 1 << 30,
                duration_s: 1_000,
            },
            _ => DammBaseFee::MarketCapScheduler {
                cliff_rate,
                periods,
                sqrt_price_step_bps: u32::from(bps) + 1,
                expires_after_s: 500,
                initial_sqrt_price_x64: sqrt_price,
                reduction: reduction(cliff_rate, periods, bps),
            },
        },
    )
}

fn damm_dynamic_fee() -> impl Strategy<Value = DammDynamicFee> {
    (0_u32..15_000_000, 0_u32..2_000_000, 1_u16..100, (any::<u32>(), any::<u32>()), magnitude(95)).prop_map(
        |(highest, variable_fee_control, bin_step_bps, (accumulator, reference), reference_price)| {
            DammDynamicFee {
                max_volatility_accumulator: highest,
                variable_fee_control,
                bin_step_bps,
                filter_period_s: 10,
                decay_period_s: 120,
                reduction_factor_bps: 5_000,
                volatility: DammVolatility {
                    last_update: Moment::from_unix_seconds(LAST_TRADE_S),
                    sqrt_price_reference_x64: reference_price,
                    accumulator: accumulator % (highest + 1),
                    reference: reference % (highest + 1),
                },
            }
        },
    )
}

/// Generates DAMM v2 pools, without a limiter: the rounding of its rate makes outputs uneven.
pub(crate) fn damm_v2() -> impl Strategy<Value = DammV2> {
    damm_v2_with(damm_base_fee(false))
}

pub(crate) fn damm_v2_with(base_fee: impl Strategy<Value = DammBaseFee>) -> impl Strategy<Value = DammV2> {
    let dynamic_fee = prop::option::of(damm_dynamic_fee());
    let on_b = any::<bool>();
    (damm_liquidity(), base_fee, dynamic_fee, on_b, 0_u64..1_000).prop_map(
        |(liquidity, base_fee, dynamic_fee, on_b, age_s)| {
            let must_be_on_b = matches!(base_fee, DammBaseFee::RateLimiter { .. })
                || matches!(liquidity, DammLiquidity::Compounding { .. });
            DammV2::new(DammState {
                liquidity,
                base_fee,
                dynamic_fee,
                fee_on: if on_b || must_be_on_b { FeeOn::TokenB } else { FeeOn::Output },
                max_fee_rate: 990_000_000,
                activated_at: Moment::from_unix_seconds(LAST_TRADE_S - age_s),
            })
            .unwrap()
        },
    )
}

/// Generates `PumpSwap` pools with up to four tiers of fees, and a virtual reserve.
fn pump_swap() -> impl Strategy<Value = PumpSwap> {
    let fees = || (0_u16..2_000, 0_u16..2_000, 0_u16..2_000);
    let tiers = prop::collection::btree_map(magnitude(70), fees(), 1..4);
    (magnitude(63), magnitude(63), -500_i128..3_000, magnitude(60), tiers).prop_map(
        |(reserve_a, reserve_b, virtual_per_mille, supply_a, tiers)| {
            let tier = |(market_cap, (lp_bps, protocol_bps, creator_bps))| PumpTier {
                market_cap: Amount::new(market_cap),
                fees: PumpFees { lp_bps, protocol_bps, creator_bps },
            };
            PumpSwap::new(&PumpSwapState {
                reserve_a: Amount::new(reserve_a),
                reserve_b: Amount::new(reserve_b),
                virtual_b: i128::try_from(reserve_b).unwrap() * virtual_per_mille / 1_000,
                supply_a: Amount::new(supply_a),
                tiers: tiers.into_iter().map(tier).collect(),
            })
            .unwrap()
        },
    )
}

fn stable() -> impl Strategy<Value = StableSwap> {
    let decimals = prop::sample::select(&[6_u8, 9, 12][..]);
    let fee = (0_u64..100, 0_u64..10_000);
    (magnitude(60), 1_u64..4_000, any::<bool>(), decimals, 1_u64..10_000, fee).prop_map(
        |(reserve_a, per_mille, is_more, decimals_b, amplification, (fee, share))| {
            let per_mille = u128::from(per_mille);
            let par = if is_more { reserve_a * per_mille / 1_000 } else { reserve_a * 1_000 / per_mille };
            let bps = |bps| Fee::new(bps, 10_000).unwrap();
            StableSwap::new(StableState {
                reserve_a: Amount::new(reserve_a),
                reserve_b: Amount::new((par * 10_u128.pow(u32::from(decimals_b)) / 1_000_000_000).max(1)),
                decimals_a: 9,
                decimals_b,
                amplification,
                fee: bps(fee),
                protocol_share: bps(share),
            })
            .unwrap()
        },
    )
}
