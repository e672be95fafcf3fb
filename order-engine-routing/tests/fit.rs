//! Routes that fit into a transaction, and what they cost by what they compute.

mod support;

use std::sync::Arc;

use order_engine_core::testing::ManualClock;
use order_engine_core::{Amount, CandidateOutcome, DexRouter, QuoteRequest, Token, best};
use order_engine_routing::{
    ComputeCost, Direction, Footprint, LegQuote, Pool, PoolFeed, PoolSet, PoolSource, Reading, RejectReason,
    Resource, RouteQuote, Router, RouterConfig, Search, SearchLimits, TransactionLimits,
};
use proptest::prelude::*;
use support::{NOW, amount, check, pool_of};

const TOKENS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Returns a footprint of so many accounts, with computation and bytes in proportion.
fn accounts(accounts: u32) -> Footprint {
    Footprint { compute_units: 10_000 * accounts, arrays: 0, accounts, bytes: 2 * accounts }
}

/// Returns limits of so many accounts for all legs.
fn room_for(most: u32) -> SearchLimits {
    let most = Footprint { accounts: most, ..Footprint::MAX };
    SearchLimits::default().with_transaction(TransactionLimits::new(most, Footprint::NONE))
}

/// Returns a set of these pools with these footprints.
fn set_of(pools: &[(Pool, Footprint)]) -> PoolSet {
    let set = PoolSet::new(pools.iter().map(|(pool, _)| pool.clone()).collect());
    pools.iter().fold(set, |set, (pool, footprint)| set.with_footprint(&pool.id, *footprint))
}

/// Returns a pool at par with a footprint of so many accounts.
fn par(id: &str, tokens: (&str, &str), depth_bits: u32, weight: u32) -> (Pool, Footprint) {
    (pool_of("Raydium", id, tokens, (1 << depth_bits, 1 << depth_bits), 10), accounts(weight))
}

fn ids(route: &RouteQuote<'_>) -> Vec<String> {
    let mut ids: Vec<String> = route.legs.iter().map(|leg| leg.pool.id.clone()).collect();
    ids.sort();
    ids
}

/// Generates a graph of a few tokens, with several pools for some pairs, and footprints of any shape.
fn graph(pools: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(Pool, Footprint)>> {
    let footprint =
        (1_u32..9, 0_u32..4, 1_u32..9, 1_u32..9).prop_map(|(compute, arrays, accounts, bytes)| Footprint {
            compute_units: compute * 50_000,
            arrays,
            accounts,
            bytes: bytes * 30,
        });
    let shape = (0..TOKENS.len(), 1..TOKENS.len(), 1_u128..1_000, 30_u32..36, 900_000_u128..1_100_000);
    proptest::collection::vec((shape, footprint), pools).prop_map(|pools| {
        let build = |(number, ((from, turn, depth, bits, price_ppm), footprint))| {
            let to = (from + turn) % TOKENS.len();
            let reserves = (depth << bits, (depth << bits) * price_ppm / 1_000_000);
            let pool = pool_of("Raydium", &format!("p{number:02}"), (TOKENS[from], TOKENS[to]), reserves, 25);
            (pool, footprint)
        };
        pools.into_iter().enumerate().map(build).collect()
    })
}

/// Generates limits of which some bind.
fn limits() -> impl Strategy<Value = SearchLimits> {
    let most = (1_u32..30, 0_u32..10, 1_u32..24, 1_u32..24).prop_map(|(compute, arrays, accounts, bytes)| {
        Footprint { compute_units: compute * 50_000, arrays, accounts, bytes: bytes * 30 }
    });
    (most, 0_u32..2, 0_u32..3, 1_usize..8).prop_map(|(most, base, token, max_legs)| {
        let of = |count: u32| Footprint {
            compute_units: count * 50_000,
            arrays: 0,
            accounts: count,
            bytes: count * 30,
        };
        let limits = SearchLimits::default().with_max_legs(max_legs).with_labels_per_token(512);
        limits.with_transaction(TransactionLimits::new(most, of(base)).with_token_on_the_way(of(token)))
    })
}

fn fits(limits: &SearchLimits, legs: usize, footprint: Footprint) -> bool {
    let TransactionLimits { most, base, .. } = limits.transaction;
    let total = base.plus(footprint);
    legs <= limits.max_legs
        && total.compute_units <= most.compute_units
        && total.arrays <= most.arrays
        && total.accounts <= most.accounts
        && total.bytes <= most.bytes
}

/// Returns what a leg takes through a pool of this footprint, which buys this token for a route that buys B.
fn taken(limits: &SearchLimits, footprint: Footprint, bought: &str) -> Footprint {
    if bought == "B" { footprint } else { footprint.plus(limits.transaction.token_on_the_way) }
}

/// Returns every path from the last visited token to B that visits no token twice.
fn all_paths<'a>(
    pools: &'a [(Pool, Footprint)],
    visited: &mut Vec<&'a str>,
) -> Vec<Vec<(&'a Pool, Direction, Footprint)>> {
    let here = *visited.last().unwrap();
    if here == "B" {
        return vec![Vec::new()];
    }
    let mut paths = Vec::new();
    let may_go_on = visited.len() <= 4;
    for (pool, footprint) in pools.iter().filter(|_| may_go_on) {
        let Ok(direction) = pool.direction(here) else { continue };
        let next = if pool.token_a == here { &pool.token_b } else { &pool.token_a };
        if visited.contains(&next.as_str()) {
            continue;
        }
        visited.push(next);
        for mut path in all_paths(pools, visited) {
            path.insert(0, (pool, direction, *footprint));
            paths.push(path);
        }
        visited.pop();
    }
    paths
}

/// What the chain takes.
#[derive(Clone, Copy, Debug)]
struct Costs {
    leg: u128,
    million_units: u128,
}

impl Costs {
    fn of(&self, footprint: Footprint) -> i128 {
        let computing = (self.million_units * u128::from(footprint.compute_units)).div_ceil(1_000_000);
        i128::try_from(self.leg + computing).unwrap()
    }
}

/// Returns the best net output of a path that fits.
fn best_by_hand(
    pools: &[(Pool, Footprint)],
    amount_in: u128,
    costs: Costs,
    limits: &SearchLimits,
) -> Option<i128> {
    let nets = all_paths(pools, &mut vec!["A"]).into_iter().filter_map(|path| {
        let bought = |pool: &Pool, way| match way {
            Direction::AToB => pool.token_b.clone(),
            Direction::BToA => pool.token_a.clone(),
        };
        let legs =
            || path.iter().map(|(pool, way, footprint)| taken(limits, *footprint, &bought(pool, *way)));
        let footprint = legs().fold(Footprint::NONE, Footprint::plus);
        if !fits(limits, path.len(), footprint) {
            return None;
        }
        let out = path
            .iter()
            .try_fold(amount(amount_in), |carried, (pool, way, _)| pool.amount_out(*way, carried, NOW));
        let cost: i128 = legs().map(|footprint| costs.of(footprint)).sum();
        Some(i128::try_from(out.ok()?.base_units()).unwrap() - cost)
    });
    nets.max()
}

fn net(route: &RouteQuote<'_>) -> i128 {
    let wide = |amount: Amount| i128::try_from(amount.base_units()).unwrap();
    wide(route.amount_out) - wide(route.chain_cost)
}

/// Returns a search with these costs.
fn priced(set: &PoolSet, costs: Costs) -> Search<'_> {
    Search::new(set, NOW).with_leg_cost(amount(costs.leg)).with_compute_cost(amount(costs.million_units))
}

fn costs() -> impl Strategy<Value = Costs> {
    let million_units = prop_oneof![Just(0_u128), 1_u128..1 << 20];
    (0_u128..1 << 12, million_units).prop_map(|(leg, million_units)| Costs { leg, million_units })
}

proptest! {
    #[test]
    fn no_route_exceeds_a_limit_and_none_is_below_the_best_path_that_fits(
        pools in graph(1..16), limits in limits(), amount_in in 1_u128 << 20..1 << 44, costs in costs(),
    ) {
        let set = set_of(&pools);
        let search = priced(&set, costs).with_limits(limits);
        let by_hand = best_by_hand(&pools, amount_in, costs, &limits);
        let path = search.best_path("A", "B", amount(amount_in)).best;
        prop_assert_eq!(path.as_ref().map(net), by_hand);
        let best = search.best("A", "B", amount(amount_in));
        prop_assert!(best.best.as_ref().map(net) >= by_hand);
        // Nothing fits, or there is no way at all.
        let has_way = best_by_hand(&pools, amount_in, costs, &SearchLimits::default()).is_some();
        prop_assert!(best.excess.is_none() || best.best.is_none());
        prop_assert!(best.best.is_some() || !has_way || best.excess.is_some());
        for route in [
            path,
            best.best,
            search.best_pool("A", "B", amount(amount_in)).best,
            search.best_split("A", "B", amount(amount_in)).best,
            search.best_detour("A", "B", amount(amount_in)).best,
            search.best_exact_out("A", "B", amount(amount_in)).best,
        ].into_iter().flatten() {
            check(&route, "A", "B");
            prop_assert!(fits(&limits, route.legs.len(), route.footprint()), "{:?}", route);
            let takes = |leg: &LegQuote<'_>| taken(&limits, set.footprint(&leg.pool.id).unwrap(), leg.output_mint());
            prop_assert!(route.legs.iter().all(|leg| leg.footprint == takes(leg)));
            let cost: i128 = route.legs.iter().map(|leg| costs.of(takes(leg))).sum();
            prop_assert_eq!(i128::try_from(route.chain_cost.base_units()).unwrap(), cost);
        }
    }

    #[test]
    fn a_split_within_the_limits_is_the_best_of_all_subsets_that_fit(
        shapes in proptest::collection::vec((1_u128..1_000, 28_u32..32, 1_u32..9), 2..8), most in 1_u32..30,
        amount_in in 1_u128 << 24..1 << 40, costs in costs(),
    ) {
        let pools: Vec<(Pool, Footprint)> = shapes.iter().enumerate().map(|(number, &(depth, bits, weight))| {
            let reserves = (depth << bits, depth << bits);
            (pool_of("Raydium", &format!("p{number}"), ("A", "B"), reserves, 25), accounts(weight))
        }).collect();
        let set = set_of(&pools);
        let found = priced(&set, costs).with_limits(room_for(most)).best_split("A", "B", amount(amount_in)).best;
        // Every subset that fits, each split as well as it can be, but for the rounding.
        let subsets = (1_usize..1 << pools.len()).filter_map(|mask| {
            let chosen: Vec<(Pool, Footprint)> = (0..pools.len()).filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| pools[bit].clone()).collect();
            let taken: u32 = chosen.iter().map(|(_, footprint)| footprint.accounts).sum();
            let subset = set_of(&chosen);
            let route = priced(&subset, costs).best_split("A", "B", amount(amount_in)).best;
            (taken <= most).then(|| net(&route.unwrap()))
        });
        let best = subsets.max();
        prop_assert_eq!(found.is_some(), best.is_some());
        if let (Some(found), Some(best)) = (found, best) {
            prop_assert!(net(&found) + 2 * 8 >= best, "{} of {}", net(&found), best);
            prop_assert!(found.footprint().accounts <= most);
            prop_assert!(found.is_proven_optimal);
        }
    }
}

#[test]
fn the_lighter_path_is_taken_where_the_better_does_not_fit() {
    let set = set_of(&[
        par("deep", ("A", "C"), 50, 9),
        par("shallow", ("A", "C"), 40, 4),
        par("last", ("C", "B"), 50, 5),
        par("direct", ("A", "B"), 34, 3),
    ]);
    let route = |most| {
        let limits = room_for(most).with_max_legs(2);
        Search::new(&set, NOW).with_limits(limits).best_path("A", "B", amount(1 << 33)).best
    };
    assert_eq!(ids(&route(14).unwrap()), ["deep", "last"]);
    assert_eq!(ids(&route(13).unwrap()), ["last", "shallow"]);
    assert_eq!(ids(&route(8).unwrap()), ["direct"]);
    assert_eq!(route(2), None);
}

#[test]
fn a_flow_keeps_the_legs_that_are_worth_what_they_take() {
    let mut pools = vec![par("last", ("C", "B"), 60, 10)];
    pools.extend((0..6).map(|number| par(&format!("light-{number}"), ("A", "C"), 40, 4)));
    pools.extend((0..2).map(|number| par(&format!("heavy-{number}"), ("A", "C"), 41, 20)));
    let set = set_of(&pools);
    let search = Search::new(&set, NOW).with_limits(room_for(34));
    let route = search.best("A", "B", amount(1 << 40)).best.unwrap();
    check(&route, "A", "B");
    let light = ["last", "light-0", "light-1", "light-2", "light-3", "light-4", "light-5"];
    assert_eq!((ids(&route), route.footprint().accounts), (light.map(str::to_owned).to_vec(), 34));
}

#[test]
fn what_there_is_too_little_of_is_named() {
    let set =
        set_of(&[par("ac", ("A", "C"), 40, 6), par("cb", ("C", "B"), 40, 7), par("ab", ("A", "B"), 40, 30)]);
    let found = |limits| Search::new(&set, NOW).with_limits(limits).best("A", "B", amount(1 << 20));
    let outcome = found(room_for(12));
    let excess = outcome.excess.unwrap();
    assert_eq!((excess.resource, excess.needed, excess.most), (Resource::Accounts, 30, 12));
    assert_eq!(outcome.rejected[0].reason, RejectReason::DoesNotFit(excess));
    let reason = outcome.rejected[0].reason.to_string();
    assert_eq!(reason, "the route takes 30 accounts, and a transaction has room for 12");
    assert_eq!(found(room_for(13)).best.unwrap().legs.len(), 2);
    let legs = found(room_for(13).with_max_legs(1)).excess.unwrap();
    assert_eq!((legs.resource, legs.needed), (Resource::Accounts, 30));

    // Bytes and computation bind alike, and the base counts.
    let solana = |base| TransactionLimits::new(TransactionLimits::SOLANA.most, base);
    let limits = |base| SearchLimits::default().with_transaction(solana(base));
    let full = Footprint { bytes: 1_232 - 60 + 1, ..Footprint::NONE };
    assert_eq!(found(limits(full)).best.unwrap().id(), "ac>cb");
    let fuller = Footprint { bytes: 1_232 - 26 + 1, ..Footprint::NONE };
    assert_eq!(found(limits(fuller)).excess.unwrap().resource, Resource::Bytes);
    let busy = Footprint { compute_units: 1_400_000 - 100_000, ..Footprint::NONE };
    assert_eq!(found(limits(busy)).excess.unwrap().resource, Resource::ComputeUnits);
}

#[test]
fn a_wallet_of_solana_has_room_for_several_legs_of_every_curve() {
    let limits = SearchLimits::default().with_transaction(TransactionLimits::SOLANA);
    let pools =
        (0..8).map(|number| pool_of("Raydium", &format!("p{number}"), ("A", "B"), (1 << 40, 1 << 40), 5));
    let set = PoolSet::new(pools.collect());
    let route = Search::new(&set, NOW).with_limits(limits).best("A", "B", amount(1 << 40)).best.unwrap();
    assert_eq!(route.legs.len(), 5, "of ten accounts each, beside eight for all");
    assert!(route.footprint().accounts + TransactionLimits::SOLANA.base.accounts <= 64);
}

#[test]
fn the_price_of_computation_decides_between_pools() {
    // The heavy pool pays a little more, and computes 100,000 units more.
    let heavy = pool_of("Raydium", "heavy", ("A", "B"), (1 << 50, (1 << 50) + (1 << 34)), 10);
    let set = set_of(&[(heavy, accounts(15)), par("light", ("A", "B"), 50, 5)]);
    let amount_in = amount(1 << 30);
    let search = |million_units| Search::new(&set, NOW).with_compute_cost(amount(million_units));
    let (free, priced) = (search(0), search(1 << 40));
    let dear = free.best_pool("A", "B", amount_in).best.unwrap();
    let cheap = priced.best_pool("A", "B", amount_in).best.unwrap();
    assert_eq!((dear.id(), cheap.id()), ("heavy".to_owned(), "light".to_owned()));
    // A tenth of a million units is worth the difference.
    let worth = 10 * (dear.amount_out.base_units() - cheap.amount_out.base_units());
    let one_leg = |million_units| {
        let search = search(million_units).with_leg_cost(amount(1 << 29));
        let routes = [
            search.best_pool("A", "B", amount_in),
            search.best_split("A", "B", amount_in),
            search.best_path("A", "B", amount_in),
            search.best("A", "B", amount_in),
        ];
        let costs = routes.map(|found| {
            let route = found.best.unwrap();
            (route.id(), route.chain_cost.base_units() - (1 << 29))
        });
        assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
        costs[0].clone()
    };
    assert_eq!(one_leg(worth - 10), ("heavy".to_owned(), (15 * (worth - 10)).div_ceil(100)));
    assert_eq!(one_leg(worth + 10), ("light".to_owned(), (5 * (worth + 10)).div_ceil(100)));
}

#[test]
fn what_was_told_of_a_pool_survives_its_updates() {
    let (pool, _) = par("p", ("A", "B"), 40, 1);
    let usual = Footprint::of_curve(&pool.curve);
    let feed = PoolFeed::new(PoolSet::new(vec![pool.clone()]));
    assert_eq!(feed.snapshot().footprint("p"), Some(usual));
    feed.set_footprint("p", accounts(7)).unwrap();
    assert!(feed.set_footprint("q", accounts(7)).is_err());
    assert_eq!(feed.update(std::slice::from_ref(&pool), Reading::new(1, NOW)).applied, 1);
    assert_eq!(feed.snapshot().footprint("p"), Some(accounts(7)));
    feed.replace(&PoolSet::read_at(vec![pool], Reading::new(2, NOW)));
    assert_eq!(feed.snapshot().footprint("p"), Some(accounts(7)));
    assert_eq!(feed.snapshot().footprint("q"), None);
}

#[tokio::test]
async fn a_router_says_which_limit_leaves_no_route() {
    let set =
        set_of(&[par("ac", ("A", "C"), 40, 6), par("cb", ("C", "B"), 40, 7), par("ab", ("A", "B"), 40, 30)]);
    let router = |limits, cost: u128| {
        let cost = ComputeCost { mint: "B".into(), million_units: amount(cost) };
        let config = RouterConfig::default().with_limits(limits).with_compute_cost(cost);
        Router::new(Arc::new(PoolFeed::new(set.clone())), Arc::new(ManualClock::new())).with_config(config)
    };
    let token = |mint: &str| Token::new(mint, mint, 6);
    let request = QuoteRequest::new(token("A"), token("B"), amount(1 << 20));
    let candidates = router(room_for(12), 0).quote(&request).await.unwrap();
    assert!(best(&candidates).is_none());
    let reasons: Vec<&str> = candidates
        .iter()
        .filter_map(|candidate| match &candidate.outcome {
            CandidateOutcome::Rejected(failure) => Some(failure.message.as_str()),
            CandidateOutcome::Quoted(_) => None,
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "No route fits: the route takes 30 accounts, and a transaction has room for 12",
            "ab: the route takes 30 accounts, and a transaction has room for 12",
        ]
    );
    let candidates = router(room_for(13), 1_000).quote(&request).await.unwrap();
    let route = best(&candidates).unwrap();
    // 60,000 units and 70,000 of them, a thousand for a million.
    assert_eq!((route.legs.len(), route.analysis.as_ref().unwrap().chain_cost), (2, amount(60 + 70)));
}
