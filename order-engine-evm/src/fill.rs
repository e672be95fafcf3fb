//! What a transaction sold and bought, from its events. Pure.

use std::collections::BTreeMap;

use alloy_primitives::{Address, I256, U256};
use alloy_sol_types::SolEvent;

use crate::abi::{Erc20, V2Pair, V3Pool, WrappedNative};
use crate::rpc::wire::Log;

/// Whose transaction it was, and where it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) wallet: Address,
    pub(crate) to: Address,
    /// How much of the chain's own token went with it, in wei.
    pub(crate) value: U256,
    /// The contract that wraps the chain's own token.
    pub(crate) wrapped_native: Address,
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// So much was sold for so much, in base units.
    Traded { sold: u128, bought: u128 },
    /// It was made to do nothing, and did.
    Idle,
    /// It should have traded, and has not touched anything.
    Nothing,
    /// Its events do not say it clearly.
    Unclear,
}

/// An event that a token moved.
struct Movement {
    token: Address,
    from: Address,
    to: Address,
    amount: U256,
}

/// Returns what a transaction that did not fail came to.
pub(crate) fn outcome(sent: &Sent, logs: &[Log]) -> Outcome {
    if logs.is_empty() && sent.value.is_zero() {
        return if sent.to == sent.wallet { Outcome::Idle } else { Outcome::Nothing };
    }
    traded(sent, logs).map_or(Outcome::Unclear, |(sold, bought)| Outcome::Traded { sold, bought })
}

fn traded(sent: &Sent, logs: &[Log]) -> Option<(u128, u128)> {
    let movements: Vec<Movement> = logs.iter().filter_map(movement).collect();
    let swaps: Vec<(Address, [U256; 2])> = logs.iter().filter_map(swap).collect();
    // What a pool says that it got and gave has to have moved, to the unit. If a token took a fee, it has not.
    let has_moved = |(pool, [got, gave]): &(Address, [U256; 2])| {
        movements.iter().any(|one| one.to == *pool && one.amount == *got)
            && movements.iter().any(|one| one.from == *pool && one.amount == *gave)
    };
    // The wallet trades with pools and the called contract only: what goes elsewhere is a fee that a token takes.
    let is_expected = |one: &Movement| {
        let other = if one.from == sent.wallet { one.to } else { one.from };
        let is_own = one.from == sent.wallet || one.to == sent.wallet;
        !is_own || other == sent.to || swaps.iter().any(|(pool, _)| *pool == other)
    };
    if swaps.is_empty() || !swaps.iter().all(has_moved) || !movements.iter().all(is_expected) {
        return None;
    }
    let mut net: BTreeMap<Address, I256> = BTreeMap::new();
    for one in &movements {
        let amount = I256::try_from(one.amount).ok()?;
        if one.from == sent.wallet {
            *net.entry(one.token).or_default() -= amount;
        }
        if one.to == sent.wallet {
            *net.entry(one.token).or_default() += amount;
        }
    }
    let mut sold: Vec<U256> = of_sign(&net, I256::is_negative);
    let mut bought: Vec<U256> = of_sign(&net, I256::is_positive);
    let native = |is_deposit| native(sent, logs, is_deposit);
    if !sent.value.is_zero() {
        sold.push(native(true)?);
    }
    bought.extend(native(false).filter(|amount| !amount.is_zero()));
    let ([sold], [bought]) = (&sold[..], &bought[..]) else { return None };
    Some((u128::try_from(*sold).ok()?, u128::try_from(*bought).ok()?))
}

fn of_sign(net: &BTreeMap<Address, I256>, has_sign: fn(&I256) -> bool) -> Vec<U256> {
    net.values().filter(|amount| has_sign(amount)).map(|amount| amount.unsigned_abs()).collect()
}

/// Returns how much of the chain's own token the called contract wrapped, or unwrapped.
fn native(sent: &Sent, logs: &[Log], is_deposit: bool) -> Option<U256> {
    let amount = |log: &Log| {
        let (owner, amount) = if is_deposit {
            event::<WrappedNative::Deposit>(log).map(|event| (event.owner, event.amount))?
        } else {
            event::<WrappedNative::Withdrawal>(log).map(|event| (event.owner, event.amount))?
        };
        (log.address == sent.wrapped_native && owner == sent.to).then_some(amount)
    };
    logs.iter().filter_map(amount).try_fold(U256::ZERO, U256::checked_add)
}

fn movement(log: &Log) -> Option<Movement> {
    let Erc20::Transfer { from, to, value } = event(log)?;
    Some(Movement { token: log.address, from, to, amount: value })
}

/// Returns the pool of a swap, and what it got and gave.
fn swap(log: &Log) -> Option<(Address, [U256; 2])> {
    if let Some(swap) = event::<V2Pair::Swap>(log) {
        let got = swap.amount0_in.checked_add(swap.amount1_in)?;
        let gave = swap.amount0_out.checked_add(swap.amount1_out)?;
        return Some((log.address, [got, gave]));
    }
    let V3Pool::Swap { amount0, amount1, .. } = event(log)?;
    let (got, gave) = if amount0.is_negative() { (amount1, amount0) } else { (amount0, amount1) };
    Some((log.address, [got.unsigned_abs(), gave.unsigned_abs()]))
}

fn event<E: SolEvent>(log: &Log) -> Option<E> {
    E::decode_raw_log_validate(log.topics.iter().copied(), &log.data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLET: Address = Address::with_last_byte(1);
    const ROUTER: Address = Address::with_last_byte(2);
    const POOL: Address = Address::with_last_byte(3);
    const WRAPPED: Address = Address::with_last_byte(4);
    const X: Address = Address::with_last_byte(5);
    const Y: Address = Address::with_last_byte(6);

    fn log(address: Address, event: &impl SolEvent) -> Log {
        let topics = event.encode_topics().into_iter().map(|topic| topic.0).collect();
        Log { address, topics, data: event.encode_data().into() }
    }

    fn moved(token: Address, from: Address, to: Address, amount: u64) -> Log {
        log(token, &Erc20::Transfer { from, to, value: U256::from(amount) })
    }

    fn v2(got: u64, gave: u64) -> Log {
        let zero = U256::ZERO;
        log(
            POOL,
            &V2Pair::Swap {
                sender: ROUTER,
                amount0_in: U256::from(got),
                amount1_in: zero,
                amount0_out: zero,
                amount1_out: U256::from(gave),
                to: WALLET,
            },
        )
    }

    fn sent(value: u64) -> Sent {
        Sent { wallet: WALLET, to: ROUTER, value: U256::from(value), wrapped_native: WRAPPED }
    }

    #[test]
    fn tokens_for_tokens() {
        let logs = [moved(X, WALLET, POOL, 700), moved(Y, POOL, WALLET, 300), v2(700, 300)];
        assert_eq!(outcome(&sent(0), &logs), Outcome::Traded { sold: 700, bought: 300 });
        // Two pools, and an event of something else.
        let more =
            [moved(X, WALLET, POOL, 50), moved(Y, POOL, WALLET, 20), v2(50, 20), moved(X, POOL, ROUTER, 0)];
        let all = [&logs[..], &more].concat();
        assert_eq!(outcome(&sent(0), &all), Outcome::Traded { sold: 750, bought: 320 });
    }

    #[test]
    fn the_chains_own_token_is_counted_where_it_is_wrapped() {
        let wrapped = log(WRAPPED, &WrappedNative::Deposit { owner: ROUTER, amount: U256::from(700) });
        let logs = [wrapped, moved(WRAPPED, ROUTER, POOL, 700), moved(Y, POOL, WALLET, 300), v2(700, 300)];
        assert_eq!(outcome(&sent(900), &logs), Outcome::Traded { sold: 700, bought: 300 });
        let unwrapped = log(WRAPPED, &WrappedNative::Withdrawal { owner: ROUTER, amount: U256::from(300) });
        let logs = [moved(X, WALLET, POOL, 700), moved(WRAPPED, POOL, ROUTER, 300), v2(700, 300), unwrapped];
        assert_eq!(outcome(&sent(0), &logs), Outcome::Traded { sold: 700, bought: 300 });
    }

    #[test]
    fn v3_signs_amounts_from_the_pools_side() {
        let swap = |amount0: i64, amount1: i64| {
            let [amount0, amount1] = [amount0, amount1].map(|amount| I256::try_from(amount).unwrap());
            let (sender, recipient) = (ROUTER, WALLET);
            log(
                POOL,
                &V3Pool::Swap {
                    sender,
                    recipient,
                    amount0,
                    amount1,
                    sqrt_price_x96: alloy_primitives::aliases::U160::default(),
                    liquidity: 1,
                    tick: alloy_primitives::aliases::I24::default(),
                },
            )
        };
        for swap in [swap(700, -300), swap(-300, 700)] {
            let logs = [moved(X, WALLET, POOL, 700), moved(Y, POOL, WALLET, 300), swap];
            assert_eq!(outcome(&sent(0), &logs), Outcome::Traded { sold: 700, bought: 300 });
        }
    }

    #[test]
    fn what_moved_without_a_pools_event_or_otherwise_than_it_says_is_unclear() {
        let moves = [moved(X, WALLET, POOL, 700), moved(Y, POOL, WALLET, 300)];
        assert_eq!(outcome(&sent(0), &moves), Outcome::Unclear);
        let taxed = [moved(X, WALLET, POOL, 700), moved(Y, POOL, WALLET, 297), v2(700, 300)];
        assert_eq!(outcome(&sent(0), &taxed), Outcome::Unclear);
        let burnt = [&moves[..], &[v2(700, 300), moved(X, WALLET, Address::ZERO, 7)]].concat();
        assert_eq!(outcome(&sent(0), &burnt), Outcome::Unclear, "a token took a fee");
        let two = [&moves[..], &[v2(700, 300), moved(WRAPPED, POOL, WALLET, 1)]].concat();
        assert_eq!(outcome(&sent(0), &two), Outcome::Unclear, "two tokens were bought");
        assert_eq!(outcome(&sent(1), &[]), Outcome::Unclear, "what went with it is gone");
    }

    #[test]
    fn success_without_any_event_is_no_trade() {
        assert_eq!(outcome(&sent(0), &[]), Outcome::Nothing);
        assert_eq!(outcome(&Sent { to: WALLET, ..sent(0) }, &[]), Outcome::Idle);
    }
}
