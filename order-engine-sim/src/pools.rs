//! The pools of the two exchanges, one on each for every pair of tokens.
//!
//! The reserves of a pool are a pure function of the seed and the slot: other traders move its price, and
//! arbitrage brings it back. A trade gets what the pool of its slot pays and does not affect the next slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use order_engine_core::{Amount, Token};
use order_engine_routing::{ConstantProduct, Curve, Direction, Fee, Pool, PoolSet, QuoteError};

use crate::chance::{self, Chance, Purpose};
use crate::config::SimConfig;
use crate::error::SimError;
use crate::noise::noise_ppm;
use crate::tokens::valuation;

/// An exchange, and the properties of its pools.
struct Exchange {
    name: &'static str,
    /// The average value of each side of a pool, in millionths of a dollar.
    depth_micro_usd: u64,
    fee_bps: u64,
}

/// The two exchanges. Raydium is deeper and Meteora cheaper, so small orders go to Meteora, large ones to
/// Raydium or to both, and noise decides in between.
const EXCHANGES: [Exchange; 2] = [
    Exchange { name: "Raydium", depth_micro_usd: 8_000_000_000_000, fee_bps: 25 },
    Exchange { name: "Meteora", depth_micro_usd: 5_000_000_000_000, fee_bps: 20 },
];

/// The largest deviation of a pool from the market that arbitrage allows, in millionths.
const STRAY_SWING_PPM: u32 = 2_000;

/// The largest deviation of a pool's depth from the exchange's average, in percent.
const DEPTH_SPREAD_PERCENT: u64 = 20;

/// A million, the whole in millionths.
const ONE_PPM: u128 = 1_000_000;

/// Every pool of the simulation.
#[derive(Debug)]
pub(crate) struct Pools {
    chance: Chance,
    are_frozen: bool,
    /// The pools by exchange, then in the order of the tokens.
    listed: Vec<PoolListing>,
    by_id: HashMap<String, usize>,
    /// The last snapshot and its slot, because most calls are about the same slot.
    last: Mutex<Option<(u64, Arc<PoolSet>)>>,
}

/// The fixed properties of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolListing {
    pub(crate) id: String,
    dex: &'static str,
    pub(crate) token_a: String,
    pub(crate) token_b: String,
    fee: Fee,
    /// The reserves at the mean price.
    mean: Reserves,
    /// The subject of the pool's random numbers.
    subject: u64,
    /// For each token, the subject of its random numbers and the swing of its price in millionths.
    markets: [(u64, u32); 2],
}

/// The reserves of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserves {
    pub(crate) a: u128,
    pub(crate) b: u128,
}

impl Pools {
    /// Creates the pools.
    ///
    /// # Errors
    /// If a token's decimals are such that a pool's reserves do not fit or are zero.
    pub(crate) fn new(config: &SimConfig) -> Result<Self, SimError> {
        let chance = Chance::new(config.seed);
        let mut listed = Vec::new();
        for exchange in &EXCHANGES {
            for (position, token_a) in config.tokens.iter().enumerate() {
                for token_b in &config.tokens[position + 1..] {
                    listed.push(PoolListing::new(exchange, token_a, token_b, chance)?);
                }
            }
        }
        let by_id = listed.iter().enumerate().map(|(index, pool)| (pool.id.clone(), index)).collect();
        Ok(Self { chance, are_frozen: config.prices_are_frozen(), listed, by_id, last: Mutex::default() })
    }

    /// Returns all pools as they are in a slot, in a stable order.
    pub(crate) fn snapshot(&self, slot: u64) -> Arc<PoolSet> {
        let slot = if self.are_frozen { 0 } else { slot };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, pools)) = &*last
            && *known == slot
        {
            return Arc::clone(pools);
        }
        let pools = self.listed.iter().filter_map(|pool| pool.at(self.reserves(pool, slot))).collect();
        let pools = Arc::new(PoolSet::new(pools));
        *last = Some((slot, Arc::clone(&pools)));
        pools
    }

    /// Returns a pool by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&PoolListing> {
        self.by_id.get(id).map(|&index| &self.listed[index])
    }

    /// Returns the reserves of a pool in a slot.
    pub(crate) fn reserves(&self, pool: &PoolListing, slot: u64) -> Reserves {
        if self.are_frozen {
            return pool.mean;
        }
        let noise = |purpose, (subject, swing)| noise_ppm(self.chance, purpose, subject, swing, slot);
        let [market_a, market_b] = pool.markets.map(|market| noise(Purpose::Market, market));
        let stray = noise(Purpose::Stray, (pool.subject, STRAY_SWING_PPM));
        pool.mean.at_price(market_a - market_b + stray)
    }
}

impl PoolListing {
    fn new(exchange: &Exchange, token_a: &Token, token_b: &Token, chance: Chance) -> Result<Self, SimError> {
        let id = format!("{}-{}-{}", exchange.name.to_lowercase(), token_a.symbol, token_b.symbol);
        let subject = chance::subject(&id);
        let percent = chance.between(
            100 - DEPTH_SPREAD_PERCENT,
            100 + DEPTH_SPREAD_PERCENT,
            Purpose::Depth,
            subject,
            0,
        );
        let depth_micro_usd = exchange.depth_micro_usd / 100 * percent;
        let ((price_a, swing_a), (price_b, swing_b)) = (valuation(token_a), valuation(token_b));
        Ok(Self {
            id,
            dex: exchange.name,
            token_a: token_a.mint.clone(),
            token_b: token_b.mint.clone(),
            fee: Fee::new(exchange.fee_bps, 10_000).map_err(|error| SimError::Config(error.to_string()))?,
            mean: Reserves {
                a: units_of_value(depth_micro_usd, price_a, token_a)?,
                b: units_of_value(depth_micro_usd, price_b, token_b)?,
            },
            subject,
            markets: [(chance::subject(&token_a.mint), swing_a), (chance::subject(&token_b.mint), swing_b)],
        })
    }

    /// Returns what the pool pays for exactly `amount_in`.
    pub(crate) fn quote(
        &self,
        reserves: Reserves,
        sells_a: bool,
        amount_in: Amount,
    ) -> Result<Amount, QuoteError> {
        let curve = self.curve(reserves).ok_or(QuoteError::NotEnoughLiquidity)?;
        let direction = if sells_a { Direction::AToB } else { Direction::BToA };
        curve.amount_out(direction, amount_in)
    }

    /// Returns the pool with these reserves for a router, or `None` if a reserve is zero.
    fn at(&self, reserves: Reserves) -> Option<Pool> {
        let curve = Curve::ConstantProduct(self.curve(reserves)?);
        Some(Pool::new(self.id.as_str(), self.dex, (self.token_a.as_str(), self.token_b.as_str()), curve))
    }

    fn curve(&self, reserves: Reserves) -> Option<ConstantProduct> {
        ConstantProduct::new(Amount::new(reserves.a), Amount::new(reserves.b), self.fee).ok()
    }
}

impl Reserves {
    /// Returns the reserves after traders moved the price of token a by `price_ppm` millionths. To first
    /// order, one half of the move is a change of reserve a and the other half a change of reserve b.
    fn at_price(self, price_ppm: i64) -> Self {
        // Noise stays far below this bound; a larger move would empty the pool.
        let half = price_ppm.clamp(-500_000, 500_000);
        let scale = |reserve: u128, ppm: i64| {
            reserve * (2 * ONE_PPM).saturating_add_signed(i128::from(ppm)) / (2 * ONE_PPM)
        };
        Self { a: scale(self.a, -half), b: scale(self.b, half) }
    }

    /// Returns the reserves after another trader sold one token into the pool until it held `more_ppm`
    /// millionths more of it.
    pub(crate) fn after_sale(self, sells_a: bool, more_ppm: u64) -> Self {
        let grown_ppm = ONE_PPM + u128::from(more_ppm);
        let more = |reserve: u128| reserve.saturating_mul(grown_ppm) / ONE_PPM;
        let less = |reserve: u128| (reserve.saturating_mul(ONE_PPM) / grown_ppm).max(1);
        if sells_a {
            Self { a: more(self.a), b: less(self.b) }
        } else {
            Self { a: less(self.a), b: more(self.b) }
        }
    }

    /// Returns the reserves after one swap, or `None` if they do not fit.
    pub(crate) fn after_swap(self, sells_a: bool, amount_in: Amount, amount_out: Amount) -> Option<Self> {
        let (into, out_of) = if sells_a { (self.a, self.b) } else { (self.b, self.a) };
        let into = into.checked_add(amount_in.base_units())?;
        let out_of = out_of.checked_sub(amount_out.base_units())?;
        Some(if sells_a { Self { a: into, b: out_of } } else { Self { a: out_of, b: into } })
    }
}

/// Returns the base units of a token with this value.
fn units_of_value(micro_usd: u64, price_micro_usd: u64, token: &Token) -> Result<u128, SimError> {
    10_u128
        .checked_pow(u32::from(token.decimals))
        .and_then(|unit| unit.checked_mul(u128::from(micro_usd)))
        .map(|product| product / u128::from(price_micro_usd))
        // Arithmetic on reserves multiplies them by millionths, so it needs headroom.
        .filter(|&units| units > 0 && units < u128::MAX / (4 * ONE_PPM))
        .ok_or_else(|| SimError::Config(format!("no pool can hold {}: too many decimals", token.symbol)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;
    use crate::tokens::default_tokens;
    use proptest::prelude::*;

    fn pools(seed: u64) -> Pools {
        Pools::new(&SimConfig { seed, ..SimConfig::default() }).unwrap()
    }

    #[test]
    fn every_pair_has_a_pool_on_both_exchanges() {
        let pools = pools(0);
        for (position, a) in default_tokens().iter().enumerate() {
            for b in &default_tokens()[position + 1..] {
                let snapshot = pools.snapshot(7);
                let trading = snapshot.pools().filter(|pool| pool.trades(&b.mint, &a.mint));
                let dexes: Vec<&str> = trading.map(|pool| pool.dex.as_str()).collect();
                assert_eq!(dexes, ["Raydium", "Meteora"], "{} for {}", a.symbol, b.symbol);
            }
        }
        assert_eq!(pools.listed.len(), 20);
        assert_eq!(pools.by_id.len(), 20, "ids differ");
    }

    #[test]
    fn prices_are_plausible() {
        // The mean price of SOL is 150 dollars of 10⁶ units, so a pool holds 6.67 lamports per unit of USDC.
        let pools = pools(5);
        let pool = &pools.listed[0];
        let Reserves { a, b } = pool.mean;
        assert!((6_600..6_700).contains(&(a * 1_000 / b)), "{a} lamports for {b}");
        assert!(b > 6_000_000_000_000 && b < 10_000_000_000_000, "a side has about 8 million dollars");
    }

    #[test]
    fn a_token_with_too_many_decimals_is_refused() {
        let mut tokens = default_tokens();
        tokens[0].decimals = 40;
        let config = SimConfig { tokens, ..SimConfig::default() };
        assert!(matches!(Pools::new(&config), Err(SimError::Config(_))));
    }

    #[test]
    fn frozen_pools_stand_at_their_mean() {
        let still = SimConfig {
            step_delay: std::time::Duration::ZERO,
            fail_rate: Rate::NEVER,
            ..SimConfig::default()
        };
        let pools = Pools::new(&still).unwrap();
        for slot in [0, 1, 1_000_000, u64::MAX] {
            assert!(pools.listed.iter().all(|pool| pools.reserves(pool, slot) == pool.mean));
        }
    }

    #[test]
    fn prices_move_and_either_exchange_is_the_better_one_at_times() {
        let pools = pools(1);
        let (raydium, meteora) =
            (pools.find("raydium-SOL-USDC").unwrap(), pools.find("meteora-SOL-USDC").unwrap());
        let pays = |pool: &PoolListing, slot| {
            pool.quote(pools.reserves(pool, slot), true, Amount::new(1_000_000_000)).unwrap()
        };
        let quotes: Vec<_> = (0..20_000).map(|slot| (pays(raydium, slot), pays(meteora, slot))).collect();
        assert!(quotes.iter().any(|(raydium, meteora)| raydium > meteora));
        assert!(quotes.iter().any(|(raydium, meteora)| raydium < meteora));
    }

    proptest! {
        #[test]
        fn pools_move_within_bounds_and_only_with_seed_and_slot(seed: u64, slot in 0..u64::MAX / 2) {
            let (pools, again) = (pools(seed), pools(seed));
            for pool in &pools.listed {
                let Reserves { a, b } = pools.reserves(pool, slot);
                prop_assert_eq!(again.reserves(again.find(&pool.id).unwrap(), slot), Reserves { a, b });
                let swing: u32 = pool.markets.iter().map(|(_, swing)| swing).sum::<u32>() + STRAY_SWING_PPM;
                for (now, mean) in [(a, pool.mean.a), (b, pool.mean.b)] {
                    prop_assert!(now.abs_diff(mean) * ONE_PPM <= mean * u128::from(swing / 2 + 1));
                }
                // One side shrinks as the other grows.
                prop_assert!((a >= pool.mean.a) == (b <= pool.mean.b) || a == pool.mean.a || b == pool.mean.b);
            }
        }

        #[test]
        fn exchanges_agree_on_the_market_within_what_arbitrage_allows(seed: u64, slot in 0..u64::MAX / 2) {
            let pools = pools(seed);
            let (raydium, meteora) = pools.listed.split_at(10);
            for (one, other) in raydium.iter().zip(meteora) {
                prop_assert_eq!((&one.token_a, &one.token_b), (&other.token_a, &other.token_b));
                let [one, other] = [one, other].map(|pool| {
                    let Reserves { a, b } = pools.reserves(pool, slot);
                    b * ONE_PPM * ONE_PPM / a
                });
                let apart_ppm = one.abs_diff(other) * ONE_PPM / one.min(other);
                prop_assert!(apart_ppm <= 2 * u128::from(STRAY_SWING_PPM) + 500, "{} ppm", apart_ppm);
            }
        }

        #[test]
        fn selling_makes_what_is_sold_cheaper(more_ppm in 1_u64..1 << 50, sells_a: bool) {
            let before = Reserves { a: 1_000_000_000_000, b: 7_000_000_000 };
            let after = before.after_sale(sells_a, more_ppm);
            let (sold, bought) = if sells_a { ((before.a, after.a), (before.b, after.b)) } else { ((before.b, after.b), (before.a, after.a)) };
            prop_assert!(sold.1 > sold.0 && bought.1 < bought.0 && bought.1 > 0);
        }
    }
}
