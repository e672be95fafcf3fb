//! Random graphs of constant-product pools at consistent prices, as arbitrage leaves them.

use order_engine_routing::{Moment, Pool, PoolSet};

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
    use order_engine_routing::{Reading, Search};
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
