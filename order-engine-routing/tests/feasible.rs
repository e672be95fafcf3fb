//! Random graphs with pools that take only so much: what is feasible has a route, what is proven is beaten by nothing, and
//! no route is below the best single path. `LONG=1` checks ten thousand graphs of each kind.

mod support;

use std::collections::VecDeque;

use order_engine_routing::{Moment, Pool, PoolSet, RouteQuote, Search, SearchLimits};
use support::graphs::{Numbers, chunked_paths};
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

fn out(route: &RouteQuote<'_>) -> u128 {
    route.amount_out.base_units()
}

#[test]
fn nothing_beats_what_is_proven_and_no_route_is_below_the_best_path() {
    let (mut routes, mut proven, mut behind) = (0, 0, Vec::new());
    for seed in 0..graphs(250) {
        let mut numbers = Numbers(seed ^ 0xfeed);
        let pools = limited(&mut numbers);
        let most = 1 << numbers.between(12, 34);
        let amount_in = u128::from(numbers.between(1_000, most));
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
        let Some(chunks) = sequential(&pools, amount_in) else { continue };
        // What each leg rounds down is the most that chunks may win.
        let rounding = 2 * best.legs.len() as u128 + 2;
        if best.is_proven_optimal {
            proven += 1;
            assert!(out(&best) + rounding >= chunks, "seed {seed}: proven {}, chunks {chunks}", out(&best));
        }
        let lost = chunks.saturating_sub(out(&best) + rounding);
        behind.push(lost * 1_000_000 / chunks.max(1));
    }
    behind.sort_unstable();
    let at = |per_mille: usize| behind[(behind.len() - 1) * per_mille / 1_000];
    println!(
        "{routes} routes, {proven} proven; behind 100 chunks, in hundredths of a basis point: p99 {}, worst {}",
        at(990),
        at(1_000)
    );
    assert!(proven > routes / 20 && at(990) <= 2_000, "{proven} proven, p99 {}", at(990));
}

/// Returns what sequential chunks pay, `None` if the pools have no room for the last ones.
fn sequential(pools: &[Pool], amount_in: u128) -> Option<u128> {
    chunked_paths(pools, Moment::from_unix_seconds(NOW.unix_seconds()), amount_in, 100)
}
