//! Random graphs of constant-product pools at consistent prices, as arbitrage leaves them.

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, ConcentratedLiquidity, ConcentratedState, ConstantProduct, Curve, Direction, Dlmm, DlmmFees,
    DlmmState, DlmmVolatility, Fee, FeeOn, Moment, Pool, PoolSet, Reading, Search, StableState, StableSwap,
    Tick,
};

use super::pool_of;

/// A generator of the same numbers for the same seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }
}

/// Returns pools between A, B and hubs: most trade A or B for a hub, some two hubs, a few A for B. Each token has a value,
/// and each pool a price within its fee of it, so that no circle of trades brings a gain.
pub fn hub_pools(seed: u64) -> Vec<Pool> {
    let mut numbers = Numbers(seed);
    let hubs = numbers.between(2, 5);
    let tokens: Vec<String> =
        ["A".to_owned(), "B".to_owned()].into_iter().chain((0..hubs).map(|hub| format!("H{hub}"))).collect();
    let values: Vec<u64> = tokens.iter().map(|_| numbers.between(200, 5_000)).collect();
    let count = numbers.between(8, 30);
    let mut pools = Vec::new();
    for number in 0..count {
        let hub = || 2_u64;
        let (one, other) = match numbers.between(0, 9) {
            0..4 => (0, hub() + numbers.between(0, hubs - 1)),
            4..8 => (1, hub() + numbers.between(0, hubs - 1)),
            8 => (0, 1),
            _ => (hub() + numbers.between(0, hubs - 1), hub() + numbers.between(0, hubs - 1)),
        };
        if one == other {
            continue;
        }
        let [one, other] = [one, other].map(|token| usize::try_from(token).unwrap());
        let fee_bps = [1, 5, 20, 25, 30, 100][usize::try_from(numbers.between(0, 5)).unwrap()];
        let depth = u128::from(numbers.between(100, 100_000)) * 1_000_000_000_000;
        let noise_ppm = 1_000_000 - 100 * fee_bps / 2 + numbers.between(0, 100 * fee_bps);
        let reserves = (
            depth / u128::from(values[one]),
            depth / u128::from(values[other]) * u128::from(noise_ppm) / 1_000_000,
        );
        let names = (tokens[one].as_str(), tokens[other].as_str());
        pools.push(pool_of("Raydium", &format!("p{number:02}"), names, reserves, fee_bps));
    }
    pools
}

/// Returns what chunks pay one after the other, each on the best path over the pools as the chunks before it left them;
/// `None` if one has no path.
pub fn chunked_paths(pools: &[Pool], at: Moment, amount_in: u128, chunks: u128) -> Option<u128> {
    let mut set = PoolSet::new(pools.to_vec());
    let mut total = 0;
    for number in 0..chunks {
        let chunk = amount_in / chunks + u128::from(number < amount_in % chunks);
        let found = Search::new(&set, at).best_path("A", "B", super::amount(chunk));
        let route = found.best?;
        total += route.amount_out.base_units();
        let traded = route.legs.iter().map(|leg| leg.pool.after(leg.direction, leg.amount_in, at).unwrap());
        let traded = traded.collect();
        set = set.updated(traded, Reading::default());
    }
    Some(total)
}

/// Returns the most that sequential chunks pay from A to B over five tokens at most where they pass the tokens in one order,
/// the best of all orders, and use each pool in one direction: as a route does, which leads in no circle. `None` if in
/// no order each chunk has a path.
pub fn chunks_in_one_order(pools: &[Pool], at: Moment, amount_in: u128, chunks: u128) -> Option<u128> {
    let orders = ["CDE", "CED", "DCE", "DEC", "ECD", "EDC"];
    let total = |order: &&str| chunks_in_order(pools, at, (amount_in, chunks), &format!("A{order}B"));
    orders.iter().filter_map(total).max()
}

fn chunks_in_order(
    pools: &[Pool],
    at: Moment,
    (amount_in, chunks): (u128, u128),
    order: &str,
) -> Option<u128> {
    let paths = paths_in_order(pools, order, "A");
    let mut pools = pools.to_vec();
    let mut used: Vec<Option<Direction>> = vec![None; pools.len()];
    let mut total = 0;
    for number in 0..chunks {
        let chunk = super::amount(amount_in / chunks + u128::from(number < amount_in % chunks));
        let paid = |path: &[(usize, Direction)]| {
            let is_open =
                path.iter().all(|(pool, direction)| used[*pool].is_none_or(|known| known == *direction));
            let trade = |amount, &(pool, direction): &(usize, Direction)| {
                pools[pool].amount_out(direction, amount, at).ok()
            };
            is_open.then(|| path.iter().try_fold(chunk, trade)).flatten()
        };
        let (best, path) =
            paths.iter().filter_map(|path| Some((paid(path)?, path))).max_by_key(|(paid, _)| *paid)?;
        let mut amount = chunk;
        for &(pool, direction) in path {
            let bought = pools[pool].amount_out(direction, amount, at).unwrap();
            pools[pool] = pools[pool].after(direction, amount, at).unwrap();
            used[pool] = Some(direction);
            amount = bought;
        }
        total += best.base_units();
    }
    Some(total)
}

/// Returns all paths from a token to B that pass tokens in an order.
fn paths_in_order(pools: &[Pool], order: &str, from: &str) -> Vec<Vec<(usize, Direction)>> {
    if from == "B" {
        return vec![Vec::new()];
    }
    let sales = pools.iter().enumerate().flat_map(|(number, pool)| {
        let sides = [
            (Direction::AToB, &pool.token_a, &pool.token_b),
            (Direction::BToA, &pool.token_b, &pool.token_a),
        ];
        sides.into_iter().map(move |(direction, sold, bought)| (number, direction, sold, bought))
    });
    let leads_on = |to: &str| order.find(to) > order.find(from);
    sales
        .filter(|(_, _, sold, bought)| sold.as_str() == from && leads_on(bought.as_str()))
        .flat_map(|(number, direction, _, bought)| {
            let beyond = paths_in_order(pools, order, bought.as_str());
            beyond.into_iter().map(move |path| [vec![(number, direction)], path].concat())
        })
        .collect()
}

/// Returns pools of every curve between A, B and three hubs, near par.
pub fn mixed_hub_pools(seed: u64) -> Vec<Pool> {
    let mut numbers = Numbers(seed ^ 0x0a11);
    let tokens = ["A", "B", "H0", "H1", "H2"];
    let count = numbers.between(8, 16);
    let pool = |number: u64| {
        let hub = 2 + usize::try_from(numbers.between(0, 2)).unwrap();
        let end = usize::try_from(numbers.between(0, 1)).unwrap();
        let curve = match number % 4 {
            0 => product(&mut numbers),
            1 => liquidity(&mut numbers),
            2 => bins(&mut numbers),
            _ => stable(&mut numbers),
        };
        Pool::new(format!("p{number:02}"), "Raydium", (tokens[end], tokens[hub]), curve)
    };
    (0..count).map(pool).collect()
}

fn depth(numbers: &mut Numbers) -> u128 {
    u128::from(numbers.between(1_000, 100_000)) * 1_000_000
}

fn product(numbers: &mut Numbers) -> Curve {
    let depth = depth(numbers);
    let other = depth * u128::from(numbers.between(999_000, 1_001_000)) / 1_000_000;
    let fee = Fee::new(30, 10_000).unwrap();
    Curve::ConstantProduct(ConstantProduct::new(Amount::new(depth), Amount::new(other), fee).unwrap())
}

fn liquidity(numbers: &mut Numbers) -> Curve {
    let tick = i32::try_from(numbers.between(0, 10)).unwrap() - 5;
    let mut net = std::collections::BTreeMap::<i32, i128>::new();
    let mut liquidity = 0;
    for width in [100_i32, 400, 2_000] {
        let provided = depth(numbers) * 200 / u128::from(width.unsigned_abs());
        *net.entry(-width).or_default() += i128::try_from(provided).unwrap();
        *net.entry(width).or_default() -= i128::try_from(provided).unwrap();
        liquidity += provided;
    }
    let state = ConcentratedState {
        sqrt_price_x64: ConcentratedLiquidity::sqrt_price_at_tick(tick).unwrap(),
        tick_current: tick,
        tick_spacing: 10,
        liquidity,
        fee_ppm: 2_500,
        ticks: net.into_iter().map(|(index, liquidity_net)| Tick { index, liquidity_net }).collect(),
        fee_on: FeeOn::Input,
        dynamic_fee: None,
        limit_orders: Vec::new(),
    };
    Curve::Concentrated(ConcentratedLiquidity::new(&state).unwrap())
}

fn bins(numbers: &mut Numbers) -> Curve {
    let mut reserve = || Amount::new(depth(numbers) / 20);
    let bin = |id: i32| Bin {
        id,
        reserve_a: if id < 0 { Amount::ZERO } else { reserve() },
        reserve_b: if id > 0 { Amount::ZERO } else { reserve() },
    };
    let bins = (-30..=30).map(bin).collect();
    let fees = DlmmFees {
        base_factor: 2_000,
        base_fee_power_factor: 0,
        variable_fee_control: 40_000,
        filter_period_s: 30,
        decay_period_s: 600,
        reduction_factor_bps: 5_000,
        max_volatility_accumulator: 350_000,
    };
    let last_update = Moment::from_unix_seconds(super::NOW.unix_seconds() - 1_000);
    let volatility = DlmmVolatility { accumulator: 0, reference: 0, index_reference: 0, last_update };
    Curve::Dlmm(
        Dlmm::new(&DlmmState {
            active_id: 0,
            bin_step_bps: 10,
            fees,
            volatility,
            bins,
            fee_on: FeeOn::Input,
            limit_orders: Vec::new(),
        })
        .unwrap(),
    )
}

fn stable(numbers: &mut Numbers) -> Curve {
    let depth = depth(numbers);
    let state = StableState {
        reserve_a: Amount::new(depth),
        reserve_b: Amount::new(depth * u128::from(numbers.between(900, 1_100)) / 1_000),
        decimals_a: 6,
        decimals_b: 6,
        amplification: numbers.between(50, 500),
        fee: Fee::new(4, 10_000).unwrap(),
        protocol_share: Fee::NONE,
    };
    Curve::Stable(StableSwap::new(state).unwrap())
}
