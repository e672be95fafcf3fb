//! The ticks of a pool of V3, as of one block.

use std::ops::RangeInclusive;

use alloy_primitives::{Bytes, U256, aliases::I24};
use order_engine_routing::Tick;
use serde_json::Value;

use crate::abi::V3Pool;
use crate::contract::{call, returned};
use crate::pools::kind::PoolKind;
use crate::rpc::{Cluster, RpcError};

/// How many ticks a word of the bitmap has.
const WORD_TICKS: i32 = 256;
/// The lowest and the highest tick of the contracts.
const TICK_MAX: i32 = 887_272;
/// The most words of the bitmap to either side that are read.
const WORDS_MAX: i32 = 64;
/// The most calls in one request.
pub(super) const CALLS_MAX: usize = 100;

/// Returns the words of the bitmap in which the ticks are that are no further than so many from one.
pub(super) fn words(tick: i32, tick_spacing: u16, reach_ticks: i32) -> RangeInclusive<i16> {
    let word = |tick: i32| tick.div_euclid(i32::from(tick_spacing.max(1))).div_euclid(WORD_TICKS);
    let (here, ends) = (word(tick), [-TICK_MAX, TICK_MAX].map(word));
    let at = |tick: i32| word(tick).clamp(here - WORDS_MAX, here + WORDS_MAX).clamp(ends[0], ends[1]);
    let narrow = |word: i32| i16::try_from(word).unwrap_or_default();
    narrow(at(tick.saturating_sub(reach_ticks)))..=narrow(at(tick.saturating_add(reach_ticks)))
}

/// Reads the initialised ticks in some words of the bitmap, ascending, as of a block.
pub(super) async fn read(
    cluster: &Cluster,
    pool: &PoolKind,
    (words, tick_spacing): (RangeInclusive<i16>, u16),
    block: &Value,
) -> Result<Vec<Tick>, RpcError> {
    let bitmap = |word| call(pool.pool, &V3Pool::tickBitmapCall { word }, block);
    let calls: Vec<_> = words.clone().map(bitmap).collect();
    let maps = batches(cluster, &calls).await?;
    let mut indices = Vec::new();
    for (word, map) in words.zip(maps) {
        let map: U256 = returned::<V3Pool::tickBitmapCall>(&map)?;
        let first = i32::from(word) * WORD_TICKS;
        let set = (0..WORD_TICKS).zip(0..256).filter(|(_, bit)| map.bit(*bit));
        indices.extend(set.map(|(offset, _)| (first + offset) * i32::from(tick_spacing)));
    }
    let tick = |index: &i32| {
        let tick = I24::try_from(*index).map_err(RpcError::malformed)?;
        Ok(call(pool.pool, &V3Pool::ticksCall { tick }, block))
    };
    let calls = indices.iter().map(tick).collect::<Result<Vec<_>, RpcError>>()?;
    let states = batches(cluster, &calls).await?;
    let tick = |(index, state): (i32, Bytes)| {
        let liquidity_net = returned::<V3Pool::ticksCall>(&state)?.liquidity_net;
        Ok(Tick { index, liquidity_net })
    };
    indices.into_iter().zip(states).map(tick).collect()
}

/// Makes calls in requests that nodes take.
pub(super) async fn batches(
    cluster: &Cluster,
    calls: &[(&'static str, Value)],
) -> Result<Vec<Bytes>, RpcError> {
    let mut answers = Vec::with_capacity(calls.len());
    for calls in calls.chunks(CALLS_MAX) {
        answers.extend(cluster.query_batch::<Bytes>(calls).await?);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_reach_as_far_as_asked_and_stay_within_the_contracts() {
        assert_eq!(words(0, 60, 5_000), -1..=0);
        assert_eq!(words(0, 60, 20_000), -2..=1);
        assert_eq!(words(-1, 10, 0), -1..=-1);
        assert_eq!(words(0, 1, 1_000_000), -64..=64, "not all of them");
        assert_eq!(words(887_271, 60, 20_000), 56..=57);
        assert_eq!(words(-887_272, 200, 5_000), -18..=-18);
    }
}
