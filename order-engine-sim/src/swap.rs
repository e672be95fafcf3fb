//! Executes the legs of a transaction on the pools of one slot.

use std::collections::BTreeMap;

use order_engine_core::Amount;
use order_engine_routing::QuoteError;

use crate::pools::{PoolListing, Pools, Reserves};
use crate::tx::Swap;

/// The input and output of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    /// The amount of the first leg's input token that goes in.
    pub(crate) amount_in: Amount,
    /// The amount of the last leg's output token that comes out.
    pub(crate) amount_out: Amount,
}

/// The reason why legs cannot execute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SwapError {
    #[error("There is no pool {0}")]
    UnknownPool(String),
    #[error("The pool {pool} cannot take this amount")]
    Refused { pool: String, source: QuoteError },
    #[error("The legs do not fit together")]
    Disjoint,
}

/// Executes legs in a slot, after another trader sold into each of their pools until it held
/// `front_run_ppm` millionths more of the leg's input token.
///
/// The legs that sell the first leg's input token spend the transaction's input. A later leg sells what
/// earlier legs bought: its planned amount, or the balance if that is less. The last leg that sells a token
/// sells the whole balance, so that no dust remains.
pub(crate) fn execute(
    pools: &Pools,
    legs: &[Swap],
    slot: u64,
    front_run_ppm: u64,
) -> Result<Trade, SwapError> {
    let legs = legs.iter().map(|leg| ResolvedSwap::new(pools, leg)).collect::<Result<Vec<_>, _>>()?;
    let (first, last) = legs.first().zip(legs.last()).ok_or(SwapError::Disjoint)?;
    let amount_in = spent(&legs, first.input())?;
    let mut wallet = BTreeMap::from([(first.input(), amount_in)]);
    let mut touched: BTreeMap<&str, Reserves> = BTreeMap::new();
    for (position, leg) in legs.iter().enumerate() {
        let is_last_sale = legs[position + 1..].iter().all(|later| later.input() != leg.input());
        let balance = wallet.entry(leg.input()).or_default();
        let amount_in = if is_last_sale { *balance } else { leg.planned.min(*balance) };
        *balance = balance.checked_sub(amount_in).ok_or(SwapError::Disjoint)?;
        let reserves = touched
            .entry(&leg.pool.id)
            .or_insert_with(|| pools.reserves(leg.pool, slot).after_sale(leg.sells_a, front_run_ppm));
        let amount_out = leg.trade(reserves, amount_in)?;
        let bought = wallet.entry(leg.output()).or_default();
        *bought = bought.checked_add(amount_out).ok_or(SwapError::Disjoint)?;
    }
    let amount_out = wallet.get(last.output()).copied().unwrap_or_default();
    Ok(Trade { amount_in, amount_out })
}

/// A leg and the pool in which it trades.
struct ResolvedSwap<'a> {
    pool: &'a PoolListing,
    sells_a: bool,
    planned: Amount,
}

impl<'a> ResolvedSwap<'a> {
    fn new(pools: &'a Pools, leg: &Swap) -> Result<Self, SwapError> {
        let pool = pools.find(&leg.pool).ok_or_else(|| SwapError::UnknownPool(leg.pool.clone()))?;
        Ok(Self { pool, sells_a: leg.sells_a, planned: leg.amount_in })
    }

    fn input(&self) -> &'a str {
        if self.sells_a { &self.pool.token_a } else { &self.pool.token_b }
    }

    fn output(&self) -> &'a str {
        if self.sells_a { &self.pool.token_b } else { &self.pool.token_a }
    }

    /// Trades an input, updates the reserves, and returns the output.
    fn trade(&self, reserves: &mut Reserves, amount_in: Amount) -> Result<Amount, SwapError> {
        let refused = |source| SwapError::Refused { pool: self.pool.id.clone(), source };
        let amount_out = self.pool.quote(*reserves, self.sells_a, amount_in).map_err(refused)?;
        let after = reserves.after_swap(self.sells_a, amount_in, amount_out);
        *reserves = after.ok_or_else(|| refused(QuoteError::Overflow))?;
        Ok(amount_out)
    }
}

/// Returns what the transaction spends of a token: the planned inputs of the legs that sell it.
fn spent(legs: &[ResolvedSwap<'_>], input: &str) -> Result<Amount, SwapError> {
    legs.iter()
        .filter(|leg| leg.input() == input)
        .try_fold(Amount::ZERO, |sum, leg| sum.checked_add(leg.planned))
        .ok_or(SwapError::Disjoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use proptest::prelude::*;

    fn pools() -> Pools {
        Pools::new(&SimConfig::default()).unwrap()
    }

    fn leg(pool: &str, sells_a: bool, amount_in: u128) -> Swap {
        Swap { pool: pool.into(), sells_a, amount_in: Amount::new(amount_in) }
    }

    const RAYDIUM: &str = "raydium-SOL-USDC";
    const METEORA: &str = "meteora-SOL-USDC";

    #[test]
    fn a_split_pays_the_sum_of_its_legs() {
        let pools = pools();
        let alone = |pool| execute(&pools, &[leg(pool, true, 1_000_000)], 9, 0).unwrap().amount_out;
        let legs = [leg(RAYDIUM, true, 1_000_000), leg(METEORA, true, 1_000_000)];
        let trade = execute(&pools, &legs, 9, 0).unwrap();
        assert_eq!(trade.amount_in, Amount::new(2_000_000));
        assert_eq!(Some(trade.amount_out), alone(RAYDIUM).checked_add(alone(METEORA)));
    }

    #[test]
    fn a_pool_that_is_used_twice_pays_less_the_second_time() {
        let pools = pools();
        let amount = 1_000_000_000_000;
        let once = execute(&pools, &[leg(RAYDIUM, true, amount)], 9, 0).unwrap().amount_out;
        let legs = [leg(RAYDIUM, true, amount), leg(RAYDIUM, true, amount)];
        let twice = execute(&pools, &legs, 9, 0).unwrap().amount_out;
        assert!(twice > once && twice.base_units() < 2 * once.base_units());
    }

    #[test]
    fn a_later_leg_sells_the_whole_balance_whatever_was_planned() {
        let pools = pools();
        // USDC to SOL on Raydium, then SOL to USDT.
        let first = leg(RAYDIUM, false, 1_000_000_000);
        let bought = execute(&pools, std::slice::from_ref(&first), 9, 0).unwrap().amount_out;
        let direct = execute(&pools, &[leg("raydium-SOL-USDT", true, bought.base_units())], 9, 0).unwrap();
        for planned in [1, bought.base_units(), u128::MAX] {
            let trade =
                execute(&pools, &[first.clone(), leg("raydium-SOL-USDT", true, planned)], 9, 0).unwrap();
            assert_eq!(trade.amount_out, direct.amount_out);
            assert_eq!(trade.amount_in, Amount::new(1_000_000_000));
        }
    }

    #[test]
    fn legs_that_cannot_execute_give_the_reason() {
        let pools = pools();
        let unknown = Swap { pool: "nowhere".into(), sells_a: true, amount_in: Amount::new(1) };
        assert_eq!(execute(&pools, &[unknown], 9, 0), Err(SwapError::UnknownPool("nowhere".into())));
        assert_eq!(execute(&pools, &[], 9, 0), Err(SwapError::Disjoint));
        let too_much = [leg(RAYDIUM, true, u128::MAX), leg(METEORA, true, u128::MAX)];
        assert_eq!(execute(&pools, &too_much, 9, 0), Err(SwapError::Disjoint));
        let nothing = execute(&pools, &[leg(RAYDIUM, true, 0)], 9, 0);
        assert!(matches!(nothing, Err(SwapError::Refused { .. })), "{nothing:?}");
    }

    proptest! {
        #[test]
        fn a_front_run_always_reduces_the_output(amount in 1_000_000_u128..1_000_000_000_000, ahead in 1_000_u64..1 << 40, slot in 0..u64::MAX / 2) {
            let pools = pools();
            let legs = [leg(RAYDIUM, true, amount), leg(METEORA, true, amount)];
            let before = execute(&pools, &legs, slot, 0).unwrap().amount_out;
            let after = execute(&pools, &legs, slot, ahead);
            prop_assert!(!matches!(after, Ok(trade) if trade.amount_out >= before));
        }
    }
}
