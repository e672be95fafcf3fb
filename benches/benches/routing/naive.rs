//! Naive ways to route, for comparison.

use order_engine_core::Amount;
use order_engine_routing::{Direction, Pool, PoolSet, Reading, Search};

use crate::pools::NOW;

fn pays(pool: &Pool, amount_in: u128) -> u128 {
    pool.amount_out(Direction::AToB, Amount::new(amount_in), NOW).map_or(0, Amount::base_units)
}

/// Returns the output of the best single pool.
pub(crate) fn best_single(pools: &PoolSet, amount_in: u128) -> u128 {
    pools.pools().map(|pool| pays(pool, amount_in)).max().unwrap_or(0)
}

/// Returns the output of equal chunks, each of which goes to the pool that pays the most for it.
pub(crate) fn chunked(pools: &PoolSet, amount_in: u128, chunks: u128) -> u128 {
    let pools: Vec<&Pool> = pools.pools().collect();
    let count = pools.len();
    let chunk = amount_in.div_ceil(chunks);
    let mut given = vec![(0_u128, 0_u128); count];
    let mut next: Vec<u128> = pools.iter().map(|pool| pays(pool, chunk)).collect();
    let mut rest = amount_in;
    while rest >= chunk {
        let gain = |&index: &usize| (next[index].saturating_sub(given[index].1), std::cmp::Reverse(index));
        let Some(best) = (0..count).max_by_key(gain) else { break };
        given[best] = (given[best].0 + chunk, next[best]);
        next[best] = pays(pools[best], given[best].0 + chunk);
        rest -= chunk;
    }
    let last =
        (0..count).map(|index| pays(pools[index], given[index].0 + rest).saturating_sub(given[index].1));
    given.iter().map(|(_, out)| out).sum::<u128>() + last.max().unwrap_or(0)
}

/// Returns the output of equal chunks, each of which goes along the best path through the pools as the chunks
/// before it left them. A search that lets paths share pools could reach this.
pub(crate) fn chunked_paths(pools: &PoolSet, amount_in: u128, chunks: u128) -> u128 {
    let mut pools = pools.clone();
    let mut total = 0;
    for number in 0..chunks {
        let chunk = amount_in / chunks + u128::from(number < amount_in % chunks);
        let found = Search::new(&pools, NOW).best_path("A", "B", Amount::new(chunk));
        let Some(route) = found.best else { break };
        total += route.amount_out.base_units();
        let traded = route.legs.iter().map(|leg| leg.pool.after(leg.direction, leg.amount_in, NOW));
        let traded: Vec<_> = traded.collect::<Result<_, _>>().unwrap_or_default();
        pools = pools.updated(traded, Reading::new(0, NOW));
    }
    total
}
