//! Random graphs with pools that take only so much: what is feasible has a route, what is proven is beaten by nothing, and
//! no route is below the best single path. `LONG=1` checks ten thousand graphs of each kind.

mod support;

use std::collections::VecDeque;

use order_engine_routing::{Pool, PoolSet, RouteQuote, Search, SearchLimits};
use support::graphs::{Numbers, chunked_paths, chunks_in_one_order};
use support::{NOW, amount, bin_of, check, pool_of};

/// With five tokens no path has more than four hops.
const TOKENS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// Returns the number of graphs.
fn graphs(usual: u64) -> u64 {
    if std::env::var_os("LONG").is_some() { 10_000 } else { usual }
}

fn token(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Returns two different tokens.
fn pair(numbers: &mut Numbers) -> (usize, usize) {
    let from = numbers.between(0, 4);
    (token(from), token((from + numbers.between(1, 4)) % 5))
}

/// Returns pools that trade one for one, each up to its room, and the rooms between the tokens.
fn rooms(numbers: &mut Numbers) -> (Vec<Pool>, [[u64; 5]; 5]) {
    let mut between = [[0; 5]; 5];
    let count = numbers.between(2, 14);
    let pools = (0..count).map(|number| {
        let (from, to) = pair(numbers);
        let room = match numbers.between(0, 3) {
            0 => 1 << 40,
            1 => numbers.between(1, 100),
            _ => numbers.between(1, 1_000_000),
        };
        between[from][to] += room;
        bin_of(&format!("p{number:02}"), (TOKENS[from], TOKENS[to]), u128::from(room))
    });
    (pools.collect(), between)
}

/// Returns the most that can flow from A to B, by the shortest augmenting paths.
fn most_flow(mut rooms: [[u64; 5]; 5]) -> u64 {
    let mut total = 0;
    loop {
        let mut before = [usize::MAX; 5];
        let mut queue = VecDeque::from([0]);
        while let Some(from) = queue.pop_front() {
            for to in 1..5 {
                if before[to] == usize::MAX && rooms[from][to] > 0 {
                    before[to] = from;
                    queue.push_back(to);
                }
            }
        }
        if before[1] == usize::MAX {
            return total;
        }
        let way: Vec<(usize, usize)> = std::iter::successors(Some(1), |&to| (to != 0).then(|| before[to]))
            .take_while(|&to| to != 0)
            .map(|to| (before[to], to))
            .collect();
        let room = way.iter().map(|&(from, to)| rooms[from][to]).min().unwrap();
        for (from, to) in way {
            rooms[from][to] -= room;
            rooms[to][from] += room;
        }
        total += room;
    }
}

#[test]
fn what_the_pools_have_room_for_has_a_route() {
    let (mut feasible, mut missed) = (0, Vec::new());
    for seed in 0..graphs(400) {
        let mut numbers = Numbers(seed);
        let (pools, rooms) = rooms(&mut numbers);
        let most = most_flow(rooms);
        if most == 0 {
            continue;
        }
        // A third of the orders need all the room that there is.
        let wanted = if seed % 3 == 0 { most } else { numbers.between(1, most) };
        feasible += 1;
        let set = PoolSet::new(pools);
        match Search::new(&set, NOW).best("A", "B", amount(u128::from(wanted))).best {
            Some(route) => {
                check(&route, "A", "B");
                assert_eq!(route.amount_out, amount(u128::from(wanted)));
            }
            None => missed.push(seed),
        }
    }
    println!("{feasible} feasible graphs, {} without a route", missed.len());
    assert!(missed.is_empty(), "{missed:?}");
}

/// Returns pools of all kinds of room near consistent prices.
fn limited(numbers: &mut Numbers) -> Vec<Pool> {
    let count = numbers.between(2, 14);
    let pool = |number: u64| {
        let (from, to) = pair(numbers);
        let (id, tokens) = (format!("p{number:02}"), (TOKENS[from], TOKENS[to]));
        match numbers.between(0, 2) {
            0 => bin_of(&id, tokens, u128::from(numbers.between(1_000, 1_000_000_000))),
            _ => {
                let scale = numbers.between(10, 30);
                let depth = u128::from(numbers.between(1, 1_000)) << scale;
                let other = depth * u128::from(numbers.between(900_000, 1_100_000)) / 1_000_000;
                pool_of("Raydium", &id, tokens, (depth, other.max(1)), numbers.between(0, 100))
            }
        }
    };
    (0..count).map(pool).collect()
}

/// Returns the pools of a graph, and an order's amount, from dust to all that the pools hold.
fn limited_graph(seed: u64) -> (Vec<Pool>, u128) {
    let mut numbers = Numbers(seed ^ 0xfeed);
    let pools = limited(&mut numbers);
    let most = 1 << numbers.between(12, 34);
    (pools, u128::from(numbers.between(1_000, most)))
}

/// Returns by how many hundredths of a basis point a route is behind another output, but for what each leg rounds down.
fn behind(route: &RouteQuote<'_>, other: u128) -> u128 {
    let rounding = 2 * route.legs.len() as u128 + 2;
    other.saturating_sub(out(route) + rounding) * 1_000_000 / other.max(1)
}

#[test]
fn routes_find_their_way_where_pools_run_dry() {
    // Graphs in which the good pools have little room, an order takes all that the pools hold, or what is good for all of
    // the order leads the other way round than what is good for parts of it.
    let seeds = [
        0, 192, 450, 796, 1573, 1658, 1704, 2255, 2462, 2499, 2589, 2978, 5835, 6133, 6624, 6693, 6836, 7167,
        7196, 7298, 7333, 7834, 8150, 8293, 9105, 9381, 9437, 9764,
    ];
    for seed in seeds {
        let (pools, amount_in) = limited_graph(seed);
        let set = PoolSet::new(pools.clone());
        let route = Search::new(&set, NOW).best("A", "B", amount(amount_in)).best.expect("there is room");
        check(&route, "A", "B");
        let chunks = chunks_in_one_order(&pools, NOW, amount_in, 100).expect("there is room");
        assert!(behind(&route, chunks) <= 100, "seed {seed}: {} is behind {chunks}", out(&route));
    }
}

fn out(route: &RouteQuote<'_>) -> u128 {
    route.amount_out.base_units()
}

#[test]
fn nothing_beats_what_is_proven_and_no_route_is_below_the_best_path() {
    let (mut routes, mut proven, mut in_one_order, mut in_circles) = (0, 0, Vec::new(), Vec::new());
    for seed in 0..graphs(250) {
        let (pools, amount_in) = limited_graph(seed);
        let set = PoolSet::new(pools.clone());
        let limits = SearchLimits::default().with_labels_per_token(64);
        let search = Search::new(&set, NOW).with_limits(limits);
        let best = search.best("A", "B", amount(amount_in)).best;
        let path = search.best_path("A", "B", amount(amount_in)).best;
        if let Some(path) = &path {
            let best = best.as_ref().expect("a path is a route");
            assert!(out(best) >= out(path), "seed {seed}: {} is below {}", out(best), out(path));
        }
        let Some(best) = best else { continue };
        check(&best, "A", "B");
        routes += 1;
        let chunks = chunks_in_one_order(&pools, NOW, amount_in, 100);
        in_one_order.extend(chunks.map(|chunks| behind(&best, chunks)));
        let Some(chunks) = chunked_paths(&pools, NOW, amount_in, 100) else { continue };
        if best.is_proven_optimal {
            proven += 1;
            assert_eq!(behind(&best, chunks), 0, "seed {seed}: proven {}, chunks {chunks}", out(&best));
        }
        in_circles.push(behind(&best, chunks));
    }
    println!("{routes} routes, {proven} proven; behind 100 chunks, in hundredths of a basis point:");
    let (p99, beyond_5_bps, worst) = quantiles("in one order of the tokens", in_one_order);
    let (p99_in_circles, ..) = quantiles("in any, also in circles", in_circles);
    assert!(proven > routes / 20, "{proven} proven");
    assert!(p99 == 0 && beyond_5_bps <= routes / 1_500 && worst <= 7_000, "{p99} {beyond_5_bps} {worst}");
    assert!(p99_in_circles <= 200, "{p99_in_circles}");
}

/// Prints and returns the 99th percentile, how many are above 5 basis points, and the worst.
fn quantiles(name: &str, mut behind: Vec<u128>) -> (u128, usize, u128) {
    behind.sort_unstable();
    let at = |share: usize| behind[(behind.len() - 1) * share / 100];
    let beyond = behind.iter().filter(|behind| **behind > 500).count();
    println!("{name}: p99 {}, worst {}, {beyond} by more than 5 basis points", at(99), at(100));
    (at(99), beyond, at(100))
}
