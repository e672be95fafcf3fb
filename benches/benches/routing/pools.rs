//! The pools of the benchmarks, which are the same in every run.

use std::collections::BTreeMap;

use order_engine_core::Amount;
use order_engine_routing::{
    AdaptiveFee, AdaptiveFeeVolatility, Bin, ConcentratedLiquidity, ConcentratedState, ConstantProduct,
    Curve, DammBaseFee, DammLiquidity, DammReduction, DammState, DammV2, Dlmm, DlmmFees, DlmmState,
    DlmmVolatility, DynamicFee, DynamicFeeVolatility, Fee, FeeOn, Moment, Pool, PoolSet, PumpFees, PumpSwap,
    PumpSwapState, PumpTier, StableState, StableSwap, Tick, TickOrders, Whirlpool, WhirlpoolState,
};

/// The time of all quotes.
pub(crate) const NOW: Moment = Moment::from_unix_seconds(1_767_225_600);

/// A generator of plausible pools.
pub(crate) struct Maker {
    state: u64,
}

impl Maker {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next number of `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// Returns a curve with a common fee and reserves of a hundred thousand to a hundred million dollars, of
    /// tokens with six to nine decimals and within half a percent of par.
    fn constant_product(&mut self) -> Curve {
        let depth = u128::from(self.between(100, 100_000)) * 1_000_000_000;
        let other = depth * u128::from(self.between(995_000, 1_005_000)) / 1_000_000;
        let fee_bps = [1, 5, 20, 25, 30, 100][usize::try_from(self.between(0, 5)).unwrap_or(0)];
        let fee = Fee::new(fee_bps, 10_000).expect("the fee is below one");
        let pool = ConstantProduct::new(Amount::new(depth), Amount::new(other), fee);
        Curve::ConstantProduct(pool.expect("the reserves are not empty"))
    }

    /// Returns a curve with ten ranges of liquidity, up to five percent wide, around a price within half a
    /// percent of par.
    fn concentrated(&mut self) -> Curve {
        const SPACING: i32 = 10;
        let tick = self.small(100) - 50;
        let mut net = BTreeMap::<i32, i128>::new();
        let mut liquidity = 0;
        for _ in 0..10 {
            let (below, above) = (1 + self.small(25), 2 + self.small(25));
            let provided = self.between(1, 1_000) * 1_000_000_000;
            let middle = tick.div_euclid(SPACING);
            *net.entry((middle - below) * SPACING).or_default() += i128::from(provided);
            *net.entry((middle + above) * SPACING).or_default() -= i128::from(provided);
            liquidity += u128::from(provided);
        }
        let state = ConcentratedState {
            sqrt_price_x64: ConcentratedLiquidity::sqrt_price_at_tick(tick).expect("the tick is in range"),
            tick_current: tick,
            tick_spacing: 10,
            liquidity,
            fee_ppm: 2_500,
            ticks: net.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(),
            fee_on: FeeOn::Input,
            dynamic_fee: None,
            limit_orders: Vec::new(),
        };
        Curve::Concentrated(ConcentratedLiquidity::new(&state).expect("liquidity adds up"))
    }

    /// Returns a curve with the same ranges, a dynamic fee and two limit orders.
    fn dynamic(&mut self) -> Curve {
        let Curve::Concentrated(plain) = self.concentrated() else { unreachable!("the curve is made above") };
        let mut state = plain.state();
        let order = |index| TickOrders { index, amount: Amount::new(1_000_000_000) };
        state.limit_orders = vec![order(-300), order(300)];
        state.dynamic_fee = Some(DynamicFee {
            filter_period_s: 30,
            decay_period_s: 600,
            reduction_factor_bps: 5_000,
            control_factor: 4_000,
            max_volatility_accumulator: 350_000,
            volatility: DynamicFeeVolatility {
                accumulator: 20_000,
                reference: 10_000,
                index_reference: 0,
                last_update: NOW,
            },
        });
        Curve::Concentrated(ConcentratedLiquidity::new(&state).expect("liquidity adds up"))
    }

    /// Returns a curve of Orca with the same ranges and an adaptive fee.
    fn whirlpool(&mut self) -> Curve {
        let Curve::Concentrated(plain) = self.concentrated() else { unreachable!("the curve is made above") };
        let state = plain.state();
        let state = WhirlpoolState {
            sqrt_price_x64: Whirlpool::sqrt_price_at_tick(state.tick_current).expect("the tick is in range"),
            tick_current: state.tick_current,
            tick_spacing: state.tick_spacing,
            liquidity: state.liquidity,
            fee_ppm: state.fee_ppm,
            ticks: state.ticks,
            adaptive_fee: Some(AdaptiveFee {
                filter_period_s: 30,
                decay_period_s: 600,
                reduction_factor_bps: 5_000,
                control_factor: 4_000,
                max_volatility_accumulator: 350_000,
                tick_group_size: 10,
                major_swap_threshold_ticks: 64,
                volatility: AdaptiveFeeVolatility {
                    last_reference_update: NOW,
                    last_major_swap: NOW,
                    reference: 10_000,
                    index_reference: 0,
                    accumulator: 20_000,
                },
            }),
        };
        Curve::Whirlpool(Whirlpool::new(&state).expect("liquidity adds up"))
    }

    /// Returns a curve over the whole range, with a fee that falls with time.
    fn damm_v2(&mut self) -> Curve {
        let state = DammState {
            liquidity: DammLiquidity::Range {
                sqrt_price_x64: 1 << 64,
                sqrt_min_price_x64: 4_295_048_016,
                sqrt_max_price_x64: 79_226_673_521_066_979_257_578_248_091,
                liquidity_x64: (u128::from(self.between(100, 100_000)) * 1_000_000_000) << 64,
            },
            base_fee: DammBaseFee::TimeScheduler {
                cliff_rate: 500_000_000,
                periods: 120,
                period_s: 60,
                reduction: DammReduction::Exponential(300),
            },
            dynamic_fee: None,
            fee_on: FeeOn::TokenB,
            max_fee_rate: 500_000_000,
            activated_at: Moment::from_unix_seconds(NOW.unix_seconds() - 3_600),
        };
        Curve::DammV2(DammV2::new(state).expect("the price is in its range"))
    }

    /// Returns a curve with four tiers of fees.
    fn pump_swap(&mut self) -> Curve {
        let tier = |market_cap, creator_bps| PumpTier {
            market_cap: Amount::new(market_cap),
            fees: PumpFees { lp_bps: 20, protocol_bps: 5, creator_bps },
        };
        let depth = u128::from(self.between(100, 100_000)) * 1_000_000_000;
        let state = PumpSwapState {
            reserve_a: Amount::new(depth),
            reserve_b: Amount::new(depth),
            virtual_b: 0,
            supply_a: Amount::new(1_000_000_000_000_000),
            tiers: vec![tier(0, 95), tier(1 << 40, 70), tier(1 << 45, 30), tier(1 << 60, 5)],
        };
        Curve::PumpSwap(PumpSwap::new(&state).expect("the reserves are not empty"))
    }

    /// Returns a curve with sixty bins of ten basis points, and a fee that grows with volatility.
    fn dlmm(&mut self) -> Curve {
        let active_id = self.small(10) - 5;
        let mut reserve = || Amount::from(self.between(1, 10_000) * 1_000_000);
        let bins = (-30..=30).map(|offset| Bin {
            id: active_id + offset,
            reserve_a: if offset < 0 { Amount::ZERO } else { reserve() },
            reserve_b: if offset > 0 { Amount::ZERO } else { reserve() },
        });
        let state = DlmmState {
            fee_on: FeeOn::Input,
            limit_orders: Vec::new(),
            active_id,
            bin_step_bps: 10,
            bins: bins.collect(),
            fees: DlmmFees {
                base_factor: 2_000,
                base_fee_power_factor: 0,
                variable_fee_control: 40_000,
                filter_period_s: 30,
                decay_period_s: 600,
                reduction_factor_bps: 5_000,
                max_volatility_accumulator: 350_000,
            },
            volatility: DlmmVolatility {
                accumulator: 20_000,
                reference: 10_000,
                index_reference: active_id,
                last_update: NOW,
            },
        };
        Curve::Dlmm(Dlmm::new(&state).expect("bins are in order"))
    }

    /// Returns a curve with reserves that differ by at most a third, and the amplification of a pool of
    /// dollars.
    fn stable(&mut self) -> Curve {
        let depth = u128::from(self.between(100, 10_000)) * 1_000_000_000;
        let state = StableState {
            reserve_a: Amount::new(depth),
            reserve_b: Amount::new(depth * u128::from(self.between(750, 1_333)) / 1_000),
            decimals_a: 6,
            decimals_b: 6,
            amplification: self.between(50, 500),
            fee: Fee::new(4, 10_000).expect("the fee is below one"),
            protocol_share: Fee::new(0, 1).expect("nothing is a share"),
        };
        Curve::Stable(StableSwap::new(state).expect("the reserves are not empty"))
    }

    fn small(&mut self, most: u64) -> i32 {
        i32::try_from(self.between(0, most)).unwrap_or(0)
    }

    fn curve(&mut self, kind: Kind) -> Curve {
        match kind {
            Kind::ConstantProduct => self.constant_product(),
            Kind::Concentrated => self.concentrated(),
            Kind::Dynamic => self.dynamic(),
            Kind::Whirlpool => self.whirlpool(),
            Kind::DammV2 => self.damm_v2(),
            Kind::PumpSwap => self.pump_swap(),
            Kind::Dlmm => self.dlmm(),
            Kind::Stable => self.stable(),
        }
    }

    pub(crate) fn pool(&mut self, number: usize, tokens: (&str, &str), kind: Kind) -> Pool {
        let dex = ["Raydium", "Meteora", "Orca"][number % 3];
        Pool::new(format!("pool-{number:04}"), dex, tokens, self.curve(kind))
    }

    /// Returns this many pools of A and B, of these kinds in turn.
    pub(crate) fn pair(&mut self, count: usize, kinds: &[Kind]) -> PoolSet {
        let kinds = kinds.iter().cycle().take(count);
        PoolSet::new(kinds.enumerate().map(|(number, &kind)| self.pool(number, ("A", "B"), kind)).collect())
    }

    /// Returns this many pools of a tenth as many tokens. As on a real chain, most pools trade against one of
    /// a few hubs, and some pairs have several pools. A and B, which are no hubs, have none in common.
    pub(crate) fn graph(&mut self, count: usize, kinds: &[Kind]) -> PoolSet {
        let tokens: Vec<String> = ["A", "B"]
            .map(str::to_owned)
            .into_iter()
            .chain((2..count / 10).map(|number| format!("token-{number}")))
            .collect();
        let last = tokens.len() as u64 - 1;
        let mut pools = Vec::with_capacity(count);
        while pools.len() < count {
            let hub = self.between(2, 5);
            let other = if self.between(0, 3) == 0 { self.between(2, last) } else { hub };
            let token = self.between(0, last);
            if token == other || (token < 2 && other < 2) {
                continue;
            }
            let name = |index: u64| usize::try_from(index).map_or("", |index| tokens[index].as_str());
            let kind = kinds[pools.len() % kinds.len()];
            pools.push(self.pool(pools.len(), (name(token), name(other)), kind));
        }
        PoolSet::new(pools)
    }
}

impl Maker {
    /// Returns this many pools of forty tokens, each of any two of them. No real market is this dense.
    pub(crate) fn thicket(&mut self, count: usize, kinds: &[Kind]) -> PoolSet {
        const TOKENS: u64 = 40;
        let name = |token: u64| match token {
            0 => "A".to_owned(),
            1 => "B".to_owned(),
            other => format!("token-{other}"),
        };
        let pool = |number: usize| {
            let from = self.between(0, TOKENS - 1);
            let to = (from + self.between(1, TOKENS - 1)) % TOKENS;
            self.pool(number, (&name(from), &name(to)), kinds[number % kinds.len()])
        };
        PoolSet::new((0..count).map(pool).collect())
    }
}

/// The kind of a pool's curve.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    ConstantProduct,
    Concentrated,
    Dynamic,
    Whirlpool,
    DammV2,
    PumpSwap,
    Dlmm,
    Stable,
}

/// All kinds with their names.
pub(crate) const KINDS: [(Kind, &str); 8] = [
    (Kind::ConstantProduct, "constant_product"),
    (Kind::Concentrated, "concentrated"),
    (Kind::Dynamic, "concentrated_dynamic_fee"),
    (Kind::Whirlpool, "whirlpool_adaptive_fee"),
    (Kind::DammV2, "damm_v2"),
    (Kind::PumpSwap, "pump_swap"),
    (Kind::Dlmm, "dlmm"),
    (Kind::Stable, "stable"),
];

/// All kinds in turn.
pub(crate) const MIXED: [Kind; 4] = [Kind::ConstantProduct, Kind::Concentrated, Kind::Dlmm, Kind::Stable];
