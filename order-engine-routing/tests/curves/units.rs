//! Single cases with known results.

use order_engine_core::Amount;
use order_engine_routing::{
    AdaptiveFee, AdaptiveFeeVolatility, Bin, BinOrders, ConcentratedLiquidity, ConcentratedState,
    ConstantProduct, CreatorFee, Direction, Dlmm, DlmmFees, DlmmState, DlmmVolatility, DynamicFee,
    DynamicFeeVolatility, Fee, FeeOn, Moment, PumpFees, PumpSwap, PumpSwapState, PumpTier, QuoteError,
    StableState, StableSwap, Tick, TickOrders, Whirlpool, WhirlpoolState,
};

const NOW: Moment = Moment::from_unix_seconds(1_700_000_000);

fn bps(bps: u64) -> Fee {
    Fee::new(bps, 10_000).unwrap()
}

fn constant_product(a: u128, b: u128) -> ConstantProduct {
    ConstantProduct::new(Amount::new(a), Amount::new(b), bps(25)).unwrap()
}

#[test]
fn a_raydium_trade_matches_the_formula() {
    // 25 bps of 1 SOL against 10 000 SOL and 1 500 000 USDC: n = 997 500 000,
    // out = ⌊997 500 000 · 1.5e12 / (1e13 + 997 500 000)⌋ = 149 610 076.
    let pool = constant_product(10_000_000_000_000, 1_500_000_000_000);
    let out = pool.amount_out(Direction::AToB, Amount::new(1_000_000_000));
    assert_eq!(out, Ok(Amount::new(149_610_076)));
}

#[test]
fn the_creator_fee_is_taken_from_the_configured_token() {
    let with_fee_on = |on| {
        constant_product(1_000_000, 1_000_000).with_creator_fee(CreatorFee { rate: bps(100), on }).unwrap()
    };
    let (input, a, b) = (FeeOn::Input, FeeOn::TokenA, FeeOn::TokenB);
    let out =
        |on, direction| with_fee_on(on).amount_out(direction, Amount::new(100_000)).unwrap().base_units();
    // n = 100 000 − ⌈1.25 %⌉ = 98 750, out = ⌊98 750 · 1e6 / 1 098 750⌋ = 89 874.
    assert_eq!(out(input, Direction::AToB), 89_874);
    assert_eq!(out(a, Direction::AToB), 89_874);
    // n = 99 750, ⌊99 750 · 1e6 / 1 099 750⌋ = 90 702, less ⌈1 %⌉ = 908.
    assert_eq!(out(b, Direction::AToB), 89_794);
    assert_eq!(out(a, Direction::BToA), 89_794);
    assert_eq!(out(b, Direction::BToA), 89_874);
    // The creator's fee leaves the pool, the trade fee stays.
    let reserves = |on| {
        with_fee_on(on).after(Direction::AToB, Amount::new(100_000)).map(|pool| pool.reserves()).unwrap()
    };
    assert_eq!(reserves(input), (Amount::new(1_099_000), Amount::new(910_126)));
    assert_eq!(reserves(b), (Amount::new(1_100_000), Amount::new(909_298)));
}

#[test]
fn the_protocol_share_leaves_the_pool() {
    let pool = constant_product(1_000_000, 1_000_000).with_protocol_share(bps(1_200));
    let (a, _) = pool.after(Direction::AToB, Amount::new(100_000)).unwrap().reserves();
    // The fee is 250, and 12 % of it is 30.
    assert_eq!(a, Amount::new(1_099_970));
}

#[test]
fn impossible_constant_products_and_amounts_are_errors() {
    let (zero, one) = (Amount::ZERO, Amount::new(1));
    assert_eq!(Fee::new(1, 1).unwrap_err().field, "fee");
    assert_eq!(ConstantProduct::new(zero, one, bps(25)).unwrap_err().field, "reserve_a");
    assert_eq!(ConstantProduct::new(one, zero, bps(25)).unwrap_err().field, "reserve_b");
    let pool = constant_product(1_000, 1_000);
    for rate in [Fee::new(1, 100).unwrap(), bps(9_975)] {
        let creator_fee = CreatorFee { rate, on: FeeOn::Input };
        assert_eq!(pool.with_creator_fee(creator_fee).unwrap_err().field, "creator_fee");
    }
    assert_eq!(pool.amount_out(Direction::AToB, one), Err(QuoteError::TooSmall));
    assert_eq!(pool.amount_out(Direction::AToB, Amount::MAX), Err(QuoteError::Overflow));
    assert_eq!(pool.amount_in(Direction::AToB, Amount::new(1_000)), Err(QuoteError::NotEnoughLiquidity));
}

/// Returns a pool at price one with a liquidity of a million from tick −100 to tick 100.
fn concentrated() -> ConcentratedState {
    ConcentratedState {
        sqrt_price_x64: 1 << 64,
        tick_current: 0,
        tick_spacing: 10,
        liquidity: 1_000_000,
        fee_ppm: 2_500,
        ticks: vec![
            Tick { index: -100, liquidity_net: 1_000_000 },
            Tick { index: 100, liquidity_net: -1_000_000 },
        ],
        fee_on: FeeOn::Input,
        dynamic_fee: None,
        limit_orders: Vec::new(),
    }
}

#[test]
fn impossible_concentrated_pools_are_errors() {
    let field = |change: fn(&mut ConcentratedState)| {
        let mut state = concentrated();
        change(&mut state);
        ConcentratedLiquidity::new(&state).unwrap_err().field
    };
    assert_eq!(field(|state| state.sqrt_price_x64 -= 1), "sqrt_price_x64");
    assert_eq!(field(|state| state.tick_current = 443_636), "tick_current");
    assert_eq!(field(|state| state.tick_spacing = 0), "tick_spacing");
    assert_eq!(field(|state| state.fee_ppm = 1_000_000), "fee_ppm");
    assert_eq!(field(|state| state.liquidity = 999_999), "liquidity");
    assert_eq!(field(|state| state.ticks[0].liquidity_net = i128::MIN), "liquidity");
    assert_eq!(field(|state| state.ticks[1].index = 101), "ticks");
    assert_eq!(field(|state| state.ticks.reverse()), "ticks");
    assert_eq!(field(|state| state.ticks[1].index = 443_640), "ticks");
}

#[test]
fn impossible_fees_and_orders_of_concentrated_pools_are_errors() {
    let field = |change: fn(&mut ConcentratedState)| {
        let mut state = concentrated();
        state.dynamic_fee = Some(dynamic_fee());
        change(&mut state);
        ConcentratedLiquidity::new(&state).unwrap_err().field
    };
    assert_eq!(field(|state| state.fee_on = FeeOn::Output), "fee_on");
    assert_eq!(field(|state| state.dynamic_fee.as_mut().unwrap().decay_period_s = 30), "decay_period_s");
    assert_eq!(
        field(|state| state.dynamic_fee.as_mut().unwrap().reduction_factor_bps = 0),
        "reduction_factor_bps"
    );
    assert_eq!(field(|state| state.dynamic_fee.as_mut().unwrap().control_factor = 100_000), "control_factor");
    assert_eq!(
        field(|state| state.dynamic_fee.as_mut().unwrap().volatility.reference = 350_001),
        "volatility"
    );
    let most = "max_volatility_accumulator";
    assert_eq!(
        field(|state| state.dynamic_fee.as_mut().unwrap().max_volatility_accumulator = u32::MAX),
        most
    );
    let orders = |index, amount| TickOrders { index, amount: Amount::new(amount) };
    let with =
        |limit_orders| ConcentratedLiquidity::new(&ConcentratedState { limit_orders, ..concentrated() });
    assert_eq!(with(vec![orders(10, 0)]).unwrap_err().field, "limit_orders");
    assert_eq!(with(vec![orders(10, 1 << 64)]).unwrap_err().field, "limit_orders");
    assert_eq!(with(vec![orders(20, 1), orders(10, 1)]).unwrap_err().field, "limit_orders");
    assert_eq!(with(vec![orders(11, 1)]).unwrap_err().field, "ticks");
    assert!(with(vec![orders(-10, 1), orders(10, 1)]).is_ok());
}

fn dynamic_fee() -> DynamicFee {
    DynamicFee {
        filter_period_s: 30,
        decay_period_s: 600,
        reduction_factor_bps: 5_000,
        control_factor: 50_000,
        max_volatility_accumulator: 350_000,
        volatility: DynamicFeeVolatility {
            accumulator: 0,
            reference: 0,
            index_reference: 0,
            last_update: NOW,
        },
    }
}

#[test]
fn a_dynamic_fee_grows_with_the_distance_and_decays_with_time() {
    let deep = |dynamic_fee| {
        let ticks =
            [(-100, 1 << 50), (100, -(1 << 50))].map(|(index, liquidity_net)| Tick { index, liquidity_net });
        let state =
            ConcentratedState { liquidity: 1 << 50, ticks: ticks.into(), dynamic_fee, ..concentrated() };
        ConcentratedLiquidity::new(&state).unwrap()
    };
    // At the lower end of its group a trade downwards begins in the one below, two away: ⌈0.5 · (20 000 · 10 ticks / 10 000)²⌉ = 200 millionths on top of 2 500.
    let volatility = DynamicFeeVolatility { index_reference: 1, ..dynamic_fee().volatility };
    let pool = deep(Some(DynamicFee { volatility, ..dynamic_fee() }));
    let price = |pool: &ConcentratedLiquidity, at| pool.spot_price(Direction::AToB, at).unwrap();
    let with_fee = |fee_ppm| {
        let state = ConcentratedState { fee_ppm, dynamic_fee: None, ..deep(None).state() };
        price(&ConcentratedLiquidity::new(&state).unwrap(), NOW)
    };
    assert_eq!(price(&pool, NOW), with_fee(2_700));
    // After the filter period the reference follows the price, which is one group away.
    assert_eq!(price(&pool, Moment::from_unix_seconds(NOW.unix_seconds() + 30)), with_fee(2_550));
}

#[test]
fn limit_orders_are_filled_at_their_tick_before_it_is_crossed() {
    let orders = vec![TickOrders { index: 10, amount: Amount::new(1_000_000) }];
    let state = ConcentratedState { fee_ppm: 0, limit_orders: orders, ..concentrated() };
    let pool = ConcentratedLiquidity::new(&state).unwrap();
    // The way to tick 10 takes ⌈500.11⌉ and pays 499; orders at 1.0001¹⁰ = 1.0010004 pay ⌊10 000 / 1.0010004⌋ = 9 990.
    let traded = Amount::new(501 + 10_000);
    assert_eq!(pool.amount_out(Direction::BToA, traded, NOW), Ok(Amount::new(499 + 9_990)));
    let next = pool.after(Direction::BToA, traded, NOW).unwrap().state();
    assert_eq!(next.limit_orders, [TickOrders { index: 10, amount: Amount::new(1_000_000 - 9_990) }]);
    // The price stands on the tick, but below it, because orders are left there.
    let at_tick = ConcentratedLiquidity::sqrt_price_at_tick(10).unwrap();
    assert_eq!((next.tick_current, next.sqrt_price_x64), (9, at_tick));
    // A trade back does not meet them.
    let back =
        ConcentratedLiquidity::new(&next).unwrap().after(Direction::AToB, Amount::new(100), NOW).unwrap();
    assert_eq!(back.state().limit_orders, next.limit_orders);
    let rest = pool.after(Direction::BToA, Amount::new(1_001_503), NOW).unwrap().state();
    assert_eq!((rest.limit_orders, rest.tick_current), (Vec::new(), 10));
}

#[test]
fn orders_in_bins_are_filled_after_the_reserve_and_stay_on_their_side() {
    let orders = |id, is_ask, open, processed| BinOrders {
        id,
        is_ask,
        open: Amount::new(open),
        processed: Amount::new(processed),
    };
    let bins = vec![Bin { id: 0, reserve_a: Amount::new(1_000), reserve_b: Amount::new(1_000) }];
    let fees = DlmmFees { base_factor: 0, variable_fee_control: 0, ..dlmm().fees };
    let with = |limit_orders| {
        Dlmm::new(&DlmmState { active_id: 0, fees, bins: bins.clone(), limit_orders, ..dlmm() })
    };
    // At a price of one token b buys 1 000 of the reserve, then 300 of processed orders, then open ones.
    let pool = with(vec![orders(0, true, 500, 300)]).unwrap();
    assert_eq!(pool.amount_out(Direction::BToA, Amount::new(1_400), NOW), Ok(Amount::new(1_400)));
    let next = pool.after(Direction::BToA, Amount::new(1_400), NOW).unwrap().state();
    assert_eq!(next.limit_orders, [orders(0, true, 0, 400)]);
    // What orders get does not go into the reserve.
    assert_eq!((next.bins[0].reserve_a, next.bins[0].reserve_b), (Amount::ZERO, Amount::new(2_000)));
    // Nobody sells token b but the reserve.
    let refused = pool.amount_out(Direction::AToB, Amount::new(1_001), NOW);
    assert_eq!(refused, Err(QuoteError::NotEnoughLiquidity));
    assert_eq!(with(vec![orders(1, false, 1, 0)]).unwrap_err().field, "limit_orders");
    assert_eq!(with(vec![orders(1, true, 1, 0), orders(0, true, 1, 0)]).unwrap_err().field, "limit_orders");
    assert_eq!(with(vec![orders(443_637, true, 1, 0)]).unwrap_err().field, "bins");
    let on_a = DlmmState { fee_on: FeeOn::TokenA, ..dlmm() };
    assert_eq!(Dlmm::new(&on_a).unwrap_err().field, "fee_on");
}

#[test]
fn impossible_whirlpools_are_errors() {
    let whirlpool = || WhirlpoolState {
        sqrt_price_x64: 1 << 64,
        tick_current: 0,
        tick_spacing: 64,
        liquidity: 1_000_000,
        fee_ppm: 3_000,
        ticks: vec![
            Tick { index: -128, liquidity_net: 1_000_000 },
            Tick { index: 128, liquidity_net: -1_000_000 },
        ],
        adaptive_fee: Some(AdaptiveFee {
            filter_period_s: 30,
            decay_period_s: 600,
            reduction_factor_bps: 5_000,
            control_factor: 4_000,
            max_volatility_accumulator: 350_000,
            tick_group_size: 32,
            major_swap_threshold_ticks: 64,
            volatility: AdaptiveFeeVolatility {
                last_reference_update: NOW,
                last_major_swap: NOW,
                reference: 0,
                index_reference: 0,
                accumulator: 0,
            },
        }),
    };
    let field = |change: fn(&mut WhirlpoolState, &mut AdaptiveFee)| {
        let mut state = whirlpool();
        let mut fee = state.adaptive_fee.unwrap();
        change(&mut state, &mut fee);
        state.adaptive_fee = Some(fee);
        Whirlpool::new(&state).unwrap_err().field
    };
    assert!(Whirlpool::new(&whirlpool()).is_ok());
    assert_eq!(field(|state, _| state.sqrt_price_x64 -= 1), "sqrt_price_x64");
    assert_eq!(field(|state, _| state.fee_ppm = 60_001), "fee_ppm");
    assert_eq!(field(|state, _| state.ticks[1].index = 129), "ticks");
    assert_eq!(field(|_, fee| fee.filter_period_s = 0), "decay_period_s");
    assert_eq!(field(|_, fee| fee.reduction_factor_bps = 10_000), "reduction_factor_bps");
    assert_eq!(field(|_, fee| fee.control_factor = 100_000), "control_factor");
    assert_eq!(field(|_, fee| fee.tick_group_size = 48), "tick_group_size");
    assert_eq!(field(|_, fee| fee.major_swap_threshold_ticks = 0), "major_swap_threshold_ticks");
    assert_eq!(field(|_, fee| fee.volatility.accumulator = 350_001), "volatility");
    assert_eq!(field(|_, fee| fee.volatility.index_reference = 13_864), "index_reference");
    assert_eq!(field(|_, fee| fee.max_volatility_accumulator = u32::MAX), "max_volatility_accumulator");
}

/// Returns a pool of a million base tokens for 80 SOL, with the fees of two tiers.
fn pump_swap() -> PumpSwapState {
    let fees = |lp_bps, protocol_bps, creator_bps| PumpFees { lp_bps, protocol_bps, creator_bps };
    let tier = |market_cap, fees| PumpTier { market_cap: Amount::new(market_cap), fees };
    PumpSwapState {
        reserve_a: Amount::new(200_000_000_000_000),
        reserve_b: Amount::new(80_000_000_000),
        virtual_b: 0,
        supply_a: Amount::new(1_000_000_000_000_000),
        tiers: vec![tier(0, fees(2, 93, 30)), tier(400_000_000_001, fees(20, 5, 95))],
    }
}

#[test]
fn pump_swap_takes_three_fees_of_the_quote_token_by_tiers() {
    let pool = PumpSwap::new(&pump_swap()).unwrap();
    // The market capitalisation is 80e9 · 1e15 / 2e14 = 400e9, one below the second tier.
    assert_eq!(pool.fees(), pump_swap().tiers[0].fees);
    // ⌊80e9 · 1e12 / 2.01e14⌋ = 398 009 950, less 1.25 % and two units that three roundings may take.
    let sale = pool.amount_out(Direction::AToB, Amount::new(1_000_000_000_000));
    assert_eq!(sale, Ok(Amount::new(393_034_825 - 2)));
    // Of 1e9 remain ⌊1e13 / 10 125⌋ = 987 654 320; three of them are left out.
    let net = 987_654_320_u128 - 3;
    let purchase = pool.amount_out(Direction::BToA, Amount::new(1_000_000_000));
    assert_eq!(purchase, Ok(Amount::new(200_000_000_000_000 * net / (80_000_000_000 + net))));
    // A purchase lifts the market capitalisation into the second tier.
    let after = pool.after(Direction::BToA, Amount::new(1_000_000_000)).unwrap();
    assert_eq!(after.fees(), pump_swap().tiers[1].fees);
}

#[test]
fn a_virtual_reserve_prices_but_pays_nobody() {
    let virtual_b = 80_000_000_000 * 99;
    let pool = PumpSwap::new(&PumpSwapState { virtual_b, ..pump_swap() }).unwrap();
    let mid = pool.mid_price(Direction::AToB).unwrap().to_f64();
    assert!((mid - 0.04).abs() < 1e-12);
    // A hundredth of the base tokens is worth about the whole real reserve.
    let sale = |amount| pool.amount_out(Direction::AToB, Amount::new(amount));
    assert!(sale(1_900_000_000_000).is_ok());
    assert_eq!(sale(2_100_000_000_000), Err(QuoteError::NotEnoughLiquidity));
}

#[test]
fn a_purchase_that_the_reserve_cannot_hold_is_refused() {
    let reserve_b = Amount::from(u64::MAX - 1_000_000);
    let pool = PumpSwap::new(&PumpSwapState { reserve_b, ..pump_swap() }).unwrap();
    assert!(pool.after(Direction::BToA, Amount::new(1_000_000)).is_ok());
    let more = Amount::new(1_000_001);
    assert_eq!(pool.amount_out(Direction::BToA, more), Err(QuoteError::Overflow));
    assert_eq!(pool.after(Direction::BToA, more), Err(QuoteError::Overflow));
}

#[test]
fn impossible_pump_swap_pools_are_errors() {
    let field = |change: fn(&mut PumpSwapState)| {
        let mut state = pump_swap();
        change(&mut state);
        PumpSwap::new(&state).unwrap_err().field
    };
    assert_eq!(field(|state| state.reserve_a = Amount::ZERO), "reserve_a");
    assert_eq!(field(|state| state.reserve_b = Amount::MAX), "reserve_b");
    assert_eq!(field(|state| state.supply_a = Amount::ZERO), "supply_a");
    assert_eq!(field(|state| state.virtual_b = -80_000_000_000), "virtual_b");
    assert_eq!(field(|state| state.tiers.clear()), "tiers");
    assert_eq!(field(|state| state.tiers.reverse()), "tiers");
    assert_eq!(field(|state| state.tiers[0].fees.lp_bps = 9_900), "tiers");
}

#[test]
fn concentrated_liquidity_ends_at_the_last_tick() {
    let pool = ConcentratedLiquidity::new(&concentrated()).unwrap();
    // The range takes L·(√1.0001¹⁰⁰ − 1) = 5 012.3 without the fee.
    assert_eq!(pool.amount_out(Direction::BToA, Amount::new(5_025), NOW), Ok(Amount::new(4_987)));
    assert_eq!(
        pool.amount_out(Direction::BToA, Amount::new(6_000), NOW),
        Err(QuoteError::NotEnoughLiquidity)
    );
    assert_eq!(pool.amount_out(Direction::BToA, Amount::new(1), NOW), Err(QuoteError::TooSmall));
    assert_eq!(pool.amount_in(Direction::AToB, Amount::new(6_000), NOW), Err(QuoteError::NotEnoughLiquidity));
}

#[test]
fn a_price_on_a_tick_belongs_to_either_side_of_it() {
    let full = ConcentratedLiquidity::new(&concentrated()).unwrap();
    let at_end = full.after(Direction::BToA, Amount::new(5_026), NOW).unwrap().state();
    assert_eq!((at_end.tick_current, at_end.liquidity), (100, 0));
    let back =
        ConcentratedLiquidity::new(&at_end).unwrap().after(Direction::AToB, Amount::new(1_000), NOW).unwrap();
    assert_eq!(back.state().liquidity, 1_000_000);
    let at_start = full.after(Direction::AToB, Amount::new(5_026), NOW).unwrap().state();
    assert_eq!((at_start.tick_current, at_start.liquidity), (-101, 0));
}

/// Returns a pool at price one, with 10 000 of token a per bin upwards and of token b per bin downwards.
fn dlmm() -> DlmmState {
    let bin = |id, a, b| Bin { id, reserve_a: Amount::new(a), reserve_b: Amount::new(b) };
    DlmmState {
        fee_on: FeeOn::Input,
        limit_orders: Vec::new(),
        active_id: 0,
        bin_step_bps: 100,
        fees: DlmmFees {
            base_factor: 10_000,
            base_fee_power_factor: 0,
            variable_fee_control: 1_000,
            filter_period_s: 30,
            decay_period_s: 600,
            reduction_factor_bps: 5_000,
            max_volatility_accumulator: 1_000_000,
        },
        volatility: DlmmVolatility {
            accumulator: 200_000,
            reference: 100_000,
            index_reference: 5,
            last_update: Moment::from_unix_seconds(1_000),
        },
        bins: vec![bin(-2, 0, 10_000), bin(-1, 0, 10_000), bin(0, 10_000, 10_000), bin(1, 10_000, 0)],
    }
}

#[test]
fn volatility_continues_decays_and_starts_again() {
    let pool = Dlmm::new(&dlmm()).unwrap();
    let fee_of_1000_at = |seconds| {
        let out = pool.amount_out(Direction::AToB, Amount::new(1_000), Moment::from_unix_seconds(seconds));
        1_000 - out.unwrap().base_units()
    };
    // The base fee is 1 %. In the filter period volatility is 100 000 + 5 bins · 10 000, so the variable fee
    // is 1 000 · (150 000 · 100)² / 10¹¹ = 2 250 000 parts of 10⁹. Both are 12.25 ‰, rounded up.
    assert_eq!(fee_of_1000_at(1_029), 13);
    // Then half of 200 000 remains and distance counts from the active bin: 1 000 000 parts, exactly 11 ‰.
    assert_eq!(fee_of_1000_at(1_030), 11);
    assert_eq!(fee_of_1000_at(1_599), 11);
    assert_eq!(fee_of_1000_at(1_600), 10);
    // With a clock that lags, nothing has decayed.
    assert_eq!(fee_of_1000_at(0), 13);
}

#[test]
fn bins_are_emptied_one_by_one() {
    let pool = Dlmm::new(&dlmm()).unwrap();
    let at = Moment::from_unix_seconds(10_000);
    // 10 000 of the active bin cost 10 102 with the fee of 1 %. Ten of the next bin cost ⌈10 / 0.990…⌉ = 11
    // and a fee of one unit.
    let amount_in = pool.amount_in(Direction::AToB, Amount::new(10_010), at).unwrap();
    assert_eq!(amount_in, Amount::new(10_102 + 12));
    let next = pool.after(Direction::AToB, amount_in, at).unwrap().state();
    assert_eq!(next.active_id, -1);
    assert_eq!(next.bins[2].reserve_a, Amount::new(20_000), "fees do not stay in the bin");
    assert_eq!(next.bins[2].reserve_b, Amount::ZERO);
    assert_eq!(next.volatility.accumulator, 10_000);
    assert_eq!((next.volatility.index_reference, next.volatility.reference), (0, 0));
    assert_eq!(next.volatility.last_update, at);
    let all = pool.amount_in(Direction::AToB, Amount::new(30_000), at).unwrap();
    assert_eq!(pool.amount_out(Direction::AToB, all, at), Ok(Amount::new(30_000)));
    let more = all.checked_add(Amount::new(1)).unwrap();
    assert_eq!(pool.amount_out(Direction::AToB, more, at), Err(QuoteError::NotEnoughLiquidity));
}

#[test]
fn impossible_bins_are_errors() {
    let field = |change: fn(&mut DlmmState)| {
        let mut state = dlmm();
        change(&mut state);
        Dlmm::new(&state).unwrap_err().field
    };
    assert_eq!(field(|state| state.bin_step_bps = 0), "bin_step_bps");
    assert_eq!(field(|state| state.bin_step_bps = 10_001), "bin_step_bps");
    assert_eq!(field(|state| state.active_id = 443_637), "active_id");
    assert_eq!(field(|state| state.volatility.index_reference = i32::MIN), "index_reference");
    assert_eq!(field(|state| state.fees.reduction_factor_bps = 10_001), "reduction_factor_bps");
    assert_eq!(field(|state| state.bins.reverse()), "bins");
    assert_eq!(field(|state| state.bins[3].id = 400_000), "bins");
}

/// Returns a pool with a million dollars of each coin.
fn stable() -> StableState {
    StableState {
        reserve_a: Amount::new(1_000_000_000_000),
        reserve_b: Amount::new(1_000_000_000_000_000),
        decimals_a: 6,
        decimals_b: 9,
        amplification: 100,
        fee: bps(4),
        protocol_share: bps(5_000),
    }
}

#[test]
fn stable_coins_trade_near_par_whatever_their_decimals() {
    let pool = StableSwap::new(stable()).unwrap();
    // The curve takes 10⁹ / (10⁶ · 101) = 9.9 of 10⁹ units and roundings two; 4 bps of the rest are 400 000.
    let out = pool.amount_out(Direction::AToB, Amount::new(1_000_000)).unwrap();
    assert_eq!(out, Amount::new(999_599_988));
    let back = pool.amount_out(Direction::BToA, Amount::new(1_000_000_000)).unwrap();
    assert_eq!(back, Amount::new(999_599));
    // Half of the fee of 0.0004 dollars leaves the pool.
    let next = pool.after(Direction::AToB, Amount::new(1_000_000)).unwrap().state();
    assert_eq!(next.reserve_a, Amount::new(1_000_001_000_000));
    assert_eq!(next.reserve_b, Amount::new(1_000_000_000_000_000 - 999_599_988 - 200_000));
}

#[test]
fn impossible_stable_pools_and_amounts_are_errors() {
    let field = |change: fn(&mut StableState)| {
        let mut state = stable();
        change(&mut state);
        StableSwap::new(state).unwrap_err().field
    };
    assert_eq!(field(|state| state.amplification = 0), "amplification");
    assert_eq!(field(|state| state.amplification = 1_000_001), "amplification");
    assert_eq!(field(|state| state.decimals_b = 25), "decimals_b");
    assert_eq!(field(|state| state.reserve_a = Amount::ZERO), "reserve_a");
    assert_eq!(field(|state| state.reserve_a = Amount::new(1 << 87)), "reserve_a");
    assert_eq!(field(|state| state.reserve_b = Amount::MAX), "reserve_b");
    let pool = StableSwap::new(stable()).unwrap();
    let (one, all) = (Amount::new(1), Amount::new(1_000_000_000_000_000));
    assert_eq!(pool.amount_out(Direction::BToA, one), Err(QuoteError::TooSmall));
    assert_eq!(pool.amount_out(Direction::AToB, Amount::MAX), Err(QuoteError::Overflow));
    assert_eq!(pool.amount_in(Direction::AToB, all), Err(QuoteError::NotEnoughLiquidity));
}
