//! The pools: how deep they are and where their prices stand, as a pure function of the seed and
//! the height.
//!
//! Prices wander around their means within bounds and return to them. Trades do not move a pool
//! for good: arbitrage brings it back before the next one.

use std::sync::{Arc, Mutex, PoisonError};

use order_engine_core::{Amount, Token};
use order_engine_routing::{ConstantProduct, Curve, Fee, Pool, PoolSet};

use crate::SimConfig;
use crate::dice::{Dice, Purpose, subject};
use crate::tokens::valuation;

/// The exchanges, and what they take in hundredths of a percent.
const EXCHANGES: [(&str, u64); 2] = [("Raydium", 25), ("Meteora", 20)];
/// How many slots lie between two independent prices; in between they move evenly.
const SLOTS_PER_MOVE: u64 = 16;
/// How far a pool may stray from the market, in millionths: enough that either exchange is the
/// better one at times.
const STRAY_PPM: u64 = 1_500;
/// How deep one side of a pool is, in millionths of a dollar.
const DEPTH_MICRO_USD: (u64, u64) = (2_000_000_000_000, 20_000_000_000_000);
const MILLION: u128 = 1_000_000;

/// All pools of the simulated chain.
#[derive(Debug)]
pub(crate) struct Market {
    dice: Dice,
    tokens: Vec<Token>,
    frozen: bool,
    /// The last snapshot and its height: most callers ask about the same one.
    last: Mutex<Option<(u64, Arc<PoolSet>)>>,
}

impl Market {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self {
            dice: Dice::new(config.seed),
            tokens: config.tokens.clone(),
            frozen: config.prices_are_frozen(),
            last: Mutex::default(),
        }
    }

    /// The pools as they are at a height.
    pub(crate) fn at(&self, height: u64) -> Arc<PoolSet> {
        let height = if self.frozen { 0 } else { height };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, pools)) if *known == height => Arc::clone(pools),
            _ => {
                let pools = Arc::new(PoolSet::new(self.pools(height)));
                *last = Some((height, Arc::clone(&pools)));
                pools
            }
        }
    }

    fn pools(&self, height: u64) -> Vec<Pool> {
        let mut pools = Vec::new();
        for (dex, fee_bps) in EXCHANGES {
            for (index, a) in self.tokens.iter().enumerate() {
                for b in &self.tokens[index + 1..] {
                    pools.extend(self.pool(dex, fee_bps, a, b, height));
                }
            }
        }
        pools
    }

    /// A pool that holds the same worth of both tokens. None if a token is worth so little, or has
    /// so many decimals, that no reserve can hold the depth.
    fn pool(&self, dex: &str, fee_bps: u64, a: &Token, b: &Token, height: u64) -> Option<Pool> {
        let id = format!("{}-{}-{}", dex.to_lowercase(), a.symbol, b.symbol);
        let (low, high) = DEPTH_MICRO_USD;
        let depth = self.dice.between(low, high, Purpose::Depth, subject(&id), 0);
        let stray = self.wander(Purpose::Stray, &id, STRAY_PPM, height);
        let reserve_a = reserve(depth, self.price(a, height), a.decimals)?;
        let reserve_b = reserve(depth, self.price(b, height), b.decimals)?;
        let reserve_b = reserve_b.checked_mul(stray)? / MILLION;
        let fee = Fee::new(fee_bps, 10_000).ok()?;
        let curve = ConstantProduct::new(Amount::new(reserve_a), Amount::new(reserve_b), fee).ok()?;
        let (token_a, token_b) = (a.mint.clone(), b.mint.clone());
        Some(Pool { id, dex: dex.to_owned(), token_a, token_b, curve: Curve::ConstantProduct(curve) })
    }

    /// The market's price of a token, in millionths of a dollar.
    fn price(&self, token: &Token, height: u64) -> u128 {
        let (mean, swing_ppm) = valuation(token);
        u128::from(mean) * self.wander(Purpose::Market, &token.mint, u64::from(swing_ppm), height) / MILLION
    }

    /// A factor in millionths that wanders around one, at most so far from it.
    fn wander(&self, purpose: Purpose, whose: &str, swing_ppm: u64, height: u64) -> u128 {
        let (move_number, progress) = (height / SLOTS_PER_MOVE, height % SLOTS_PER_MOVE);
        let at = |number| self.dice.between(0, 2 * swing_ppm, purpose, subject(whose), number);
        let mixed = at(move_number) * (SLOTS_PER_MOVE - progress) + at(move_number + 1) * progress;
        MILLION + u128::from(mixed / SLOTS_PER_MOVE) - u128::from(swing_ppm)
    }
}

fn reserve(depth_micro_usd: u64, price_micro_usd: u128, decimals: u8) -> Option<u128> {
    let unit = 10_u128.checked_pow(u32::from(decimals))?;
    u128::from(depth_micro_usd).checked_mul(unit)?.checked_div(price_micro_usd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default_tokens;
    use order_engine_routing::QuoteError;
    use proptest::prelude::*;
    use std::time::Duration;

    fn market(seed: u64) -> Market {
        Market::new(&SimConfig { seed, ..SimConfig::default() })
    }

    /// USDC for one SOL.
    fn quote(market: &Market, dex: &str, height: u64) -> Result<Amount, QuoteError> {
        let tokens = default_tokens();
        let pools = market.at(height);
        let pool = pools
            .pools()
            .iter()
            .find(|pool| pool.dex == dex && pool.trades(&tokens[0].mint, &tokens[1].mint))
            .unwrap();
        pool.quote_exact_in(&tokens[0].mint, Amount::new(1_000_000_000))
    }

    #[test]
    fn every_pair_is_traded_on_both_exchanges() {
        let pools = market(1).at(1_000);
        let tokens = default_tokens();
        assert_eq!(pools.dexes(), ["Raydium", "Meteora"]);
        for dex in ["Raydium", "Meteora"] {
            for a in &tokens {
                for b in tokens.iter().filter(|b| b.mint != a.mint) {
                    let traded =
                        pools.pools().iter().filter(|pool| pool.dex == dex && pool.trades(&a.mint, &b.mint));
                    assert_eq!(traded.count(), 1, "{dex} {} {}", a.symbol, b.symbol);
                }
            }
        }
    }

    #[test]
    fn prices_move_and_either_exchange_is_the_better_one_at_times() {
        let market = market(1);
        let quotes: Vec<_> = (0..2_000)
            .map(|height| (quote(&market, "Raydium", height), quote(&market, "Meteora", height)))
            .collect();
        assert!(quotes.windows(2).any(|pair| pair[0].0 != pair[1].0));
        assert!(quotes.iter().any(|(raydium, meteora)| raydium.unwrap() > meteora.unwrap()));
        assert!(quotes.iter().any(|(raydium, meteora)| raydium.unwrap() < meteora.unwrap()));
    }

    #[test]
    fn frozen_prices_stand_still() {
        let config =
            SimConfig { step_delay: Duration::ZERO, fail_rate: crate::Rate::NEVER, ..SimConfig::default() };
        let market = Market::new(&config);
        assert_eq!(quote(&market, "Raydium", 1), quote(&market, "Raydium", 1_000_000));
    }

    proptest! {
        #[test]
        fn prices_stay_around_their_mean(seed: u64, height in 0_u64..u64::MAX / 2) {
            // SOL is worth 150 dollars, give or take 1.5 % by the market, 0.03 % of USDC's own, 0.15 %
            // by the pool, and the fee and impact of one SOL.
            for dex in ["Raydium", "Meteora"] {
                let out = quote(&market(seed), dex, height).unwrap().base_units();
                prop_assert!((146_500_000..=153_000_000).contains(&out), "{out}");
            }
        }

        #[test]
        fn equal_seeds_give_equal_pools(seed: u64, height in 0_u64..u64::MAX / 2) {
            let (one, other) = (market(seed).at(height), market(seed).at(height));
            prop_assert_eq!(one.pools(), other.pools());
        }
    }
}
