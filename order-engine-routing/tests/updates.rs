//! Updates of pools: they only go forward, they share what is the same, and they cost little.

#[path = "curves/arbitrary.rs"]
#[allow(dead_code)]
mod arbitrary;
mod support;

use std::time::Duration;

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, BinOrders, Curve, Direction, DlmmState, InvalidPool, Moment, Pool, PoolFeed, PoolSet, PoolSource,
    Reading, RejectReason, Search, SearchLimits, UpdateReport,
};
use proptest::prelude::*;
use support::{NOW, amount, pool_of, ticks_of};

fn pool(id: &str, reserve_b: u128) -> Pool {
    pool_of("Raydium", id, ("A", "B"), (1 << 40, reserve_b), 25)
}

fn at(slot: u64) -> Reading {
    Reading::new(slot, NOW)
}

fn reserve_b(set: &PoolSet, id: &str) -> Option<u128> {
    match &set.get(id)?.curve {
        Curve::ConstantProduct(curve) => Some(curve.reserves().1.base_units()),
        curve => panic!("another curve: {curve:?}"),
    }
}

#[test]
fn a_late_older_update_changes_nothing() {
    let feed = PoolFeed::new(PoolSet::default());
    let (applied, outdated) =
        (UpdateReport { applied: 1, outdated: 0 }, UpdateReport { applied: 0, outdated: 1 });
    let updates = [
        (7, at(7), applied, 7),
        (5, at(5), outdated, 7),
        (8, at(7), applied, 8),
        (9, at(7).with_write(2), applied, 9),
        (10, at(7).with_write(1), outdated, 9),
        (11, at(8), applied, 11),
    ];
    for (reserve, reading, report, seen) in updates {
        assert_eq!(feed.update(&[pool("p", reserve)], reading), report);
        assert_eq!(reserve_b(&feed.snapshot(), "p"), Some(seen));
    }
    assert_eq!(feed.snapshot().newest_slot(), 8);
    assert_eq!(feed.snapshot().reading("p"), Some(at(8)));
}

#[test]
fn a_late_update_does_not_bring_a_removed_pool_back() {
    let feed = PoolFeed::new(PoolSet::read_at(vec![pool("p", 7), pool("q", 1 << 40)], at(7)));
    feed.remove(&["p", "unknown"]);
    assert_eq!(feed.update(&[pool("p", 5)], at(5)).outdated, 1);
    assert_eq!(reserve_b(&feed.snapshot(), "p"), None);
    assert!(Search::new(&feed.snapshot(), NOW).best("A", "B", amount(1 << 41)).best.unwrap().id() == "q");
    assert_eq!(feed.update(&[pool("p", 9)], at(9)).applied, 1);
    assert_eq!(reserve_b(&feed.snapshot(), "p"), Some(9));
    feed.remove(&["p", "q"]);
    assert!(feed.snapshot().dexes().next().is_none());
    assert_eq!(Search::new(&feed.snapshot(), NOW).best("A", "B", amount(1 << 41)).best, None);
}

#[test]
fn a_replacement_that_was_read_earlier_keeps_what_is_newer() {
    let feed = PoolFeed::new(PoolSet::read_at(vec![pool("p", 1), pool("gone", 1)], at(1)));
    assert_eq!(feed.update(&[pool("p", 9)], at(9)).applied, 1);
    feed.replace(&PoolSet::read_at(vec![pool("p", 5), pool("q", 5)], at(5)));
    let set = feed.snapshot();
    let seen = ["p", "q", "gone"].map(|id| reserve_b(&set, id));
    assert_eq!(seen, [Some(9), Some(5), None]);
}

#[test]
fn a_pool_that_moves_to_another_pair_is_found_there_only() {
    let set = PoolSet::read_at(vec![pool("p", 1 << 40)], at(1));
    let moved = set.updated(vec![pool_of("Orca", "p", ("A", "C"), (1 << 40, 1 << 40), 25)], at(2));
    let found =
        |set: &PoolSet, output| Search::new(set, NOW).best("A", output, amount(1 << 20)).best.is_some();
    assert_eq!((found(&set, "B"), found(&set, "C")), (true, false));
    assert_eq!((found(&moved, "B"), found(&moved, "C")), (false, true));
    assert!(moved.dexes().eq(["Orca"]));
}

#[test]
fn a_snapshot_from_the_future_or_too_many_slots_behind_is_rejected() {
    let later = |seconds| Moment::from_unix_seconds(NOW.unix_seconds() + seconds);
    let set = PoolSet::read_at(vec![pool("future", 1 << 40)], Reading::new(50, later(4_000)))
        .updated(vec![pool("behind", 1 << 40)], Reading::new(40, NOW))
        .updated(vec![pool("soon", 1 << 40)], Reading::new(60, later(10)));
    let limits = SearchLimits::default().with_max_age(Duration::from_secs(5)).with_max_age_slots(19);
    let found = Search::new(&set, NOW).with_limits(limits).best("A", "B", amount(1 << 20));
    assert_eq!(found.best.unwrap().id(), "soon");
    let reasons: Vec<_> = found.rejected.iter().map(|it| (it.pool.id.as_str(), it.reason)).collect();
    let ahead = Duration::from_secs(4_000);
    let expected = [
        ("future", RejectReason::FromTheFuture { ahead }),
        ("behind", RejectReason::Behind { slots: 20, max_slots: 19 }),
    ];
    assert_eq!(reasons, expected);
}

/// Returns the bytes that are allocated while something is done.
fn allocated(act: impl FnOnce()) -> u64 {
    allocation_counter::measure(act).bytes_total
}

#[test]
fn an_update_copies_little_of_a_large_set() {
    let id = |number: usize| format!("pool-{number}");
    let pools = |count: usize| {
        let tokens: Vec<String> = (0..count / 10 + 2).map(|number| format!("token-{number}")).collect();
        let pool = |number: usize| {
            let tokens = (tokens[number / 10].as_str(), tokens[number / 10 + 1].as_str());
            pool_of("Raydium", &id(number), tokens, (1 << 40, 1 << 40), 25)
        };
        PoolSet::read_at((0..count).map(pool).collect(), at(1))
    };
    let cost = |count| {
        let feed = PoolFeed::new(pools(count));
        let known = feed.snapshot().get(&id(count / 2)).unwrap().clone();
        allocated(|| assert_eq!(feed.update(&[known], at(2)).applied, 1))
    };
    let (few, many) = (cost(1_000), cost(50_000));
    println!("an update of one pool allocates {few} bytes among 1,000 pools, {many} among 50,000");
    assert!(many < 32_000 && many < 2 * few, "{few} {many}");
}

#[test]
fn a_change_of_the_price_costs_the_same_whatever_the_number_of_ticks() {
    let cost = |ticks| {
        let feed = PoolFeed::new(PoolSet::read_at(vec![ticks_of("p", ticks)], at(1)));
        let Curve::Concentrated(curve) = &feed.snapshot().get("p").unwrap().curve.clone() else { panic!() };
        let next = curve.after(Direction::AToB, Amount::new(1_000), NOW).unwrap().state();
        let change = |curve: &Curve| match curve {
            Curve::Concentrated(curve) => curve
                .at_price(next.sqrt_price_x64, next.tick_current, next.liquidity)
                .map(Curve::Concentrated),
            _ => Err(InvalidPool { field: "curve", reason: "is another one" }),
        };
        allocated(|| assert_eq!(feed.revise("p", at(2), change).unwrap().applied, 1))
    };
    assert_eq!(cost(100), cost(10_000));
}

proptest! {
    #[test]
    fn a_pool_at_another_price_is_the_pool_after_the_trade(
        pool in arbitrary::concentrated(), direction in arbitrary::direction(), amount_in in arbitrary::amount(),
    ) {
        let Ok(next) = pool.after(direction, amount_in, NOW) else { return Ok(()) };
        let state = next.state();
        let moved = pool.at_price(state.sqrt_price_x64, state.tick_current, state.liquidity);
        if !pool.state().limit_orders.is_empty() {
            prop_assert_eq!(moved.unwrap_err().field, "limit_orders");
            return Ok(());
        }
        let moved = match state.dynamic_fee {
            Some(fee) => moved.and_then(|moved| moved.with_volatility(fee.volatility)),
            None => moved,
        };
        prop_assert_eq!(moved, Ok(next));
        prop_assert!(pool.at_price(state.sqrt_price_x64, state.tick_current, state.liquidity + 1).is_err());
    }

    #[test]
    fn a_whirlpool_at_another_price_is_the_pool_after_the_trade(
        pool in arbitrary::pool(), direction in arbitrary::direction(), amount_in in arbitrary::amount(),
    ) {
        let Curve::Whirlpool(pool) = &pool.curve else { return Ok(()) };
        let Ok(next) = pool.after(direction, amount_in, NOW) else { return Ok(()) };
        let state = next.state();
        let moved = pool.at_price(state.sqrt_price_x64, state.tick_current, state.liquidity);
        let moved = match state.adaptive_fee {
            Some(fee) => moved.and_then(|moved| moved.with_volatility(fee.volatility)),
            None => moved,
        };
        prop_assert_eq!(moved, Ok(next));
    }

    #[test]
    fn bins_that_others_traded_with_are_the_bins_after_the_trade(
        pool in arbitrary::pool(), direction in arbitrary::direction(), amount_in in arbitrary::amount(),
    ) {
        let Curve::Dlmm(curve) = &pool.curve else { return Ok(()) };
        if let Ok(next) = curve.after(direction, amount_in, NOW) {
            let state = next.state();
            let before = curve.state();
            let orders = |state: &DlmmState, id| state.limit_orders.iter().find(|orders| orders.id == id).copied();
            let is_changed = |(bin, old): &(&Bin, &Bin)| {
                bin != old || orders(&state, bin.id) != orders(&before, bin.id)
            };
            let pairs = state.bins.iter().zip(&before.bins).filter(is_changed);
            let changed: Vec<Bin> = pairs.map(|(bin, _)| *bin).collect();
            let filled: Vec<BinOrders> = changed.iter().filter_map(|bin| orders(&state, bin.id)).collect();
            prop_assert_eq!(curve.with_bins(state.active_id, state.volatility, &changed, &filled), Ok(next));
            if let Some(bin) = state.bins.iter().find(|bin| !changed.contains(bin)) {
                let elsewhere = BinOrders { id: bin.id, is_ask: true, open: Amount::new(1), processed: Amount::ZERO };
                let refused = curve.with_bins(state.active_id, state.volatility, &changed, &[elsewhere]);
                prop_assert_eq!(refused.unwrap_err().field, "limit_orders");
            }
        }
    }
}
