//! Routes of several legs in one transaction, with the real programs of the exchanges on a real Solana runtime: what lands
//! is what was quoted, to the unit.
//!
//! As in `swaps`, `SOLANA_PROGRAMS` names a folder with the code of the programs.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::market::{Market, route};
use common::orders::token;
use common::pools::{CASES, Case};
use order_engine_core::{
    Amount, Engine, FailureCode, Leg, MemoryStore, OrderRequest, Runtime, SignedTx, Status, Submission,
};
use order_engine_routing::{
    Footprint, Moment, PoolSource as _, QuoteError, Resource, Router, RouterConfig, Search, SearchLimits,
    TransactionLimits,
};
use order_engine_solana::{Pubkey, SolanaVenue};
use serde_json::{Value, json};

/// How many random splits and how many random flows, unless `SWAPS` says otherwise.
const ROUTES: u64 = 200;

const V4: &Case = &CASES[0];
const CPMM: &Case = &CASES[1];
const CLMM: &Case = &CASES[2];
const DLMM: &Case = &CASES[3];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let missing: Vec<&Case> = CASES[..4].iter().filter(|case| case.code().is_none()).collect();
    if !missing.is_empty() {
        for case in missing {
            println!("routes: NOT RUN, because $SOLANA_PROGRAMS/{} is missing", case.file);
        }
        return ExitCode::SUCCESS;
    }
    let routes = std::env::var("SWAPS").map_or(ROUTES, |text| text.parse().expect("SWAPS is a number"));
    random_splits_land_as_quoted(routes).await;
    random_flows_land_as_quoted(routes).await;
    what_moves_on_the_way_is_never_taken_from_the_wallet().await;
    an_engine_executes_an_order_over_a_token_on_the_way().await;
    the_largest_split_that_fits_lands_and_one_leg_more_is_refused().await;
    ExitCode::SUCCESS
}

/// Two pools of each program for one pair.
const BESIDE: [(&Case, [usize; 2]); 8] = [
    (V4, [0, 1]),
    (CPMM, [0, 1]),
    (CLMM, [0, 1]),
    (DLMM, [0, 1]),
    (V4, [0, 1]),
    (CPMM, [0, 1]),
    (CLMM, [0, 1]),
    (DLMM, [0, 1]),
];

/// Waits until no fee changes within the next seconds, and returns the time for which quotes hold.
async fn steady(market: &Market) -> Moment {
    loop {
        let at = market.read().await;
        let changes_soon = (0..market.pools.len()).any(|pool| {
            let pool = market.directory.pool(market.pools[pool]).expect("it was read");
            let order_engine_routing::Curve::Dlmm(curve) = &pool.curve else { return false };
            let state = curve.state();
            let since = at.unix_seconds().saturating_sub(state.volatility.last_update.unix_seconds());
            let periods = [state.fees.filter_period_s, state.fees.decay_period_s];
            periods.iter().any(|period| (since..since + 4).contains(&u64::from(*period)))
        });
        if !changes_soon {
            return at;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Lands legs that must pay exactly what they are quoted, and checks every balance. Returns the bytes and the accounts of the
/// transaction, and the compute units that it used.
async fn land(market: &Market, venue: &SolanaVenue, legs: Vec<Leg>, sides: (usize, usize)) -> Footprint {
    let route = route(legs, market.mints[sides.0], market.mints[sides.1]);
    let before = market.balances().await;
    let tx = market.prepare(venue, sides, &route, route.amount_out).await;
    let tx = tx.unwrap_or_else(|error| panic!("{route:?}: {error:?}"));
    assert_eq!(market.land(venue, &tx).await, Value::Null, "{route:?}");
    let after = market.balances().await;
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        let change = i128::from(*after) - i128::from(*before);
        let expected = match number {
            _ if number == sides.0 => -i128::try_from(route.amount_in.base_units()).unwrap(),
            _ if number == sides.1 => i128::try_from(route.amount_out.base_units()).unwrap(),
            // Nothing of a token on the way is left, and nothing that the wallet had is taken.
            _ => 0,
        };
        assert_eq!(change, expected, "token {number} of {route:?}");
    }
    taken(market, &tx).await
}

/// The same, and checks that the router was told of no less than the transaction took.
async fn land_within_footprint(market: &Market, venue: &SolanaVenue, legs: Vec<Leg>, sides: (usize, usize)) {
    let room = market.directory.transaction_limits();
    let (snapshot, bought) = (market.directory.snapshot(), market.mints[sides.1].to_string());
    let told = legs.iter().fold(room.base, |told, leg| {
        let told = told.plus(snapshot.footprint(&leg.pool).expect("it is told"));
        if leg.output_mint == bought { told } else { told.plus(room.token_on_the_way) }
    });
    let took = land(market, venue, legs, sides).await;
    let is_within = took.bytes <= told.bytes
        && took.accounts <= told.accounts
        && took.compute_units <= told.compute_units;
    assert!(is_within, "{took:?} of {told:?}");
}

/// Returns what a landed transaction took.
async fn taken(market: &Market, tx: &SignedTx) -> Footprint {
    let settings = json!({ "encoding": "json", "maxSupportedTransactionVersion": 0 });
    let landed = market.chain.call("getTransaction", json!([tx.id.as_str(), settings])).await.unwrap();
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let loaded = &landed["meta"]["loadedAddresses"];
    let named = count(&landed["transaction"]["message"]["accountKeys"]);
    let accounts = named + count(&loaded["writable"]) + count(&loaded["readonly"]);
    Footprint {
        compute_units: landed["meta"]["computeUnitsConsumed"].as_u64().unwrap().try_into().unwrap(),
        arrays: 0,
        accounts: accounts.try_into().unwrap(),
        bytes: tx.bytes.len().try_into().unwrap(),
    }
}

async fn random_splits_land_as_quoted(routes: u64) {
    let market = Market::open(2, &BESIDE, 11).await;
    market.read().await;
    let venue = market.venue(&[market.make_table().await]);
    market.directory.set_lookup_tables(venue.lookup_tables().await.expect("the node answers"));
    let (mut landed, mut legs_landed, mut with_both) = (0, 0, 0);
    while landed < routes {
        let at = steady(&market).await;
        let sold = usize::try_from(market.dice.below(2)).unwrap();
        let mut legs = Vec::new();
        for pool in some_pools(&market, 2 + market.dice.below(3)) {
            let amount = 200 + market.dice.amount(32);
            match market.leg(pool, sold, amount, at) {
                Ok(leg) => legs.push(leg),
                Err(QuoteError::TooSmall | QuoteError::NotEnoughLiquidity) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if legs.len() < 2 {
            continue;
        }
        let dexes: std::collections::BTreeSet<&str> = legs.iter().map(|leg| leg.dex.as_str()).collect();
        with_both += u64::from(dexes.len() > 1);
        legs_landed += legs.len();
        land_within_footprint(&market, &venue, legs, (sold, 1 - sold)).await;
        landed += 1;
    }
    println!(
        "splits: {landed} of {legs_landed} legs landed as quoted, to the unit; {with_both} over Raydium and Meteora"
    );
}

/// Returns the numbers of some pools, each once.
fn some_pools(market: &Market, count: u64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..market.pools.len()).collect();
    let mut chosen = Vec::new();
    for _ in 0..count {
        let number = usize::try_from(market.dice.below(u64::try_from(numbers.len()).unwrap())).unwrap();
        chosen.push(numbers.swap_remove(number));
    }
    chosen
}

/// Pools through a token on the way: two to it and two from it, and one past it.
const FLOW: [(&Case, [usize; 2]); 5] =
    [(CPMM, [0, 1]), (DLMM, [0, 1]), (CLMM, [1, 2]), (V4, [1, 2]), (DLMM, [0, 2])];

async fn random_flows_land_as_quoted(routes: u64) {
    let market = Market::open(3, &FLOW, 12).await;
    market.read().await;
    let venue = market.venue(&[market.make_table().await]);
    market.directory.set_lookup_tables(venue.lookup_tables().await.expect("the node answers"));
    let (mut landed, mut legs_landed) = (0, 0);
    while landed < routes {
        let at = steady(&market).await;
        let is_back = market.dice.below(2) == 1;
        let Some(legs) = random_flow(&market, at, is_back) else { continue };
        legs_landed += legs.len();
        land_within_footprint(&market, &venue, legs, if is_back { (2, 0) } else { (0, 2) }).await;
        landed += 1;
    }
    println!(
        "flows: {landed} of {legs_landed} legs landed as quoted, to the unit, and left nothing on the way"
    );
}

/// Returns legs from the first token over the second to the third, or back: one or two pools on each side, and sometimes
/// the pool past the second.
fn random_flow(market: &Market, at: Moment, is_back: bool) -> Option<Vec<Leg>> {
    let (near, far, from) = if is_back { ([2, 3], [0, 1], 2) } else { ([0, 1], [2, 3], 0) };
    let mut legs = Vec::new();
    for pool in near.into_iter().take(1 + usize::try_from(market.dice.below(2)).unwrap()) {
        legs.push(market.leg(pool, from, 10_000 + market.dice.amount(30), at).ok()?);
    }
    let bought = legs.iter().map(|leg| u64::try_from(leg.amount_out.base_units()).unwrap()).sum::<u64>();
    let part = if market.dice.below(2) == 0 { 0 } else { 1 + market.dice.below(bought) };
    for (pool, amount) in far.into_iter().zip([bought - part, part]).filter(|(_, amount)| *amount > 0) {
        legs.push(market.leg(pool, 1, amount.max(1), at).ok().filter(|_| amount > 200)?);
    }
    if market.dice.below(2) == 0 {
        legs.insert(0, market.leg(4, from, 10_000 + market.dice.amount(30), at).ok()?);
    }
    Some(legs)
}

/// A pool on the way that pays less than quoted fails the transaction, or, with a tolerance, the next leg sells less.
async fn what_moves_on_the_way_is_never_taken_from_the_wallet() {
    let market = Market::open(3, &[(CPMM, [0, 1]), (CPMM, [1, 2])], 13).await;
    let at = market.read().await;
    let venue = market.venue(&[]);
    let first = market.leg(0, 0, 1_000_000, at).unwrap();
    let bought = u64::try_from(first.amount_out.base_units()).unwrap();
    let second = market.leg(1, 1, bought, at).unwrap();
    let quoted = route(vec![first, second], market.mints[0], market.mints[2]);
    // Somebody sells into the first pool.
    let other = route(vec![market.leg(0, 0, 1 << 34, at).unwrap()], market.mints[0], market.mints[1]);
    let tx = market.prepare(&venue, (0, 1), &other, Amount::new(1)).await.expect("it is a swap");
    assert_eq!(market.land(&venue, &tx).await, Value::Null);
    let least = Amount::new(1);
    let error = market.prepare(&venue, (0, 2), &quoted, least).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::SLIPPAGE, "the wallet's own tokens are not sold instead");
    // Somebody buys from it: what it pays more stays in the account of the token on the way.
    let tx_back = {
        let at = market.read().await;
        let back = route(vec![market.leg(0, 1, 1 << 36, at).unwrap()], market.mints[1], market.mints[0]);
        market.prepare(&venue, (1, 0), &back, Amount::new(1)).await.expect("it is a swap")
    };
    assert_eq!(market.land(&venue, &tx_back).await, Value::Null);
    let before = market.balances().await;
    let tx = market.prepare(&venue, (0, 2), &quoted, quoted.amount_out).await.expect("it pays more now");
    assert_eq!(market.land(&venue, &tx).await, Value::Null);
    let after = market.balances().await;
    assert_eq!(before[0] - after[0], 1_000_000);
    assert_eq!(u128::from(after[2] - before[2]), quoted.amount_out.base_units());
    assert!(after[1] > before[1], "the surplus of the first pool is the wallet's");
    // The venue says what the order got, whatever is left on the way.
    let observed = common::orders::observe_until(&venue, &tx, common::orders::is_final).await;
    let order_engine_core::Observation::Landed { fill, .. } = observed else { panic!("{observed:?}") };
    assert_eq!((fill.amount_in, fill.amount_out), (quoted.amount_in, quoted.amount_out));
    println!("on the way: what moves against the order fails it, and what moves for it stays in the wallet");
}

async fn an_engine_executes_an_order_over_a_token_on_the_way() {
    let market = Market::open(3, &FLOW, 14).await;
    market.read().await;
    let table = market.make_table().await;
    let venue = market.venue(&[table]);
    market.directory.set_lookup_tables(venue.lookup_tables().await.expect("the node answers"));
    let limits = SearchLimits::default().with_transaction(market.directory.transaction_limits());
    let router = Router::new(std::sync::Arc::clone(&market.directory) as _, Runtime::tokio().clock)
        .with_config(RouterConfig::default().with_limits(limits));
    let engine = Engine::builder().store(MemoryStore::new()).router(router).venue(venue);
    let engine = engine.build().await.expect("the engine starts");
    tokio::spawn(engine.run(1));
    let before = market.balances().await;
    let amount = Amount::new(1 << 30);
    let [input, output] = [0, 2].map(|number| token(market.mints[number]));
    let request = OrderRequest::new("alice", input, output, amount).with_slippage_bps(100);
    let Submission::Created(order) = engine.submit(request).await.expect("it is accepted") else { panic!() };
    let order = engine.wait(order.id).await.expect("it ends").expect("it is there");
    assert_eq!(order.status(), Status::Confirmed, "{:?}", order.state.failure());
    let fill = order.state.fill().expect("it is filled");
    let after = market.balances().await;
    assert_eq!(fill.amount_in, amount);
    assert_eq!(u128::from(before[0] - after[0]), amount.base_units());
    assert_eq!(u128::from(after[2] - before[2]), fill.amount_out.base_units());
    assert_eq!(after[1], before[1]);
    println!("engine: an order was executed over pools in a row and beside each other");
}

/// The most legs that the router lets into a transaction land, and one more is refused before anything is built.
async fn the_largest_split_that_fits_lands_and_one_leg_more_is_refused() {
    // With a table the accounts are the limit, without one the bytes.
    for (has_table, limit) in [(true, Resource::Accounts), (false, Resource::Bytes)] {
        let mut pools = vec![(CPMM, [0, 1]); 9];
        pools.extend([(V4, [0, 1]), (V4, [0, 1]), (CLMM, [0, 1]), (DLMM, [0, 1])]);
        let market = Market::open_alike(2, &pools, 15).await;
        market.read().await;
        let table = market.make_table().await;
        let tables: &[Pubkey] = if has_table { &[table] } else { &[] };
        let venue = market.venue(tables);
        market.directory.set_lookup_tables(venue.lookup_tables().await.expect("the node answers"));
        let at = steady(&market).await;
        let room = market.directory.transaction_limits();
        let limits = |legs| SearchLimits::default().with_max_legs(legs).with_transaction(room);
        let snapshot = market.directory.snapshot();
        let [input, output] = [0, 1].map(|number| market.mints[number].to_string());
        // So much that every pool is worth a leg.
        let amount = Amount::new(1 << 38);
        let search = |limits| Search::new(&snapshot, at).with_limits(limits).best(&input, &output, amount);
        let free = search(SearchLimits::default()).best.expect("there is a route");
        let fitting = search(limits(32)).best.expect("a route fits");
        assert!(free.legs.len() > fitting.legs.len(), "{} legs fit", fitting.legs.len());
        // Any further leg is too much, and the router says of what.
        let excess = free
            .legs
            .iter()
            .filter(|leg| !fitting.legs.iter().any(|other| other.pool.id == leg.pool.id))
            .map(|leg| {
                let needed = room.base.plus(fitting.footprint()).plus(leg.footprint);
                [
                    (Resource::Accounts, needed.accounts, room.most.accounts),
                    (Resource::Bytes, needed.bytes, room.most.bytes),
                ]
                .into_iter()
                .filter(|(_, needed, most)| needed > most)
                .map(|(resource, ..)| resource)
                .collect::<Vec<_>>()
            });
        let excess: Vec<Vec<Resource>> = excess.collect();
        assert!(excess.iter().all(|excess| excess.contains(&limit)), "{excess:?}");
        let legs = fitting.to_route().legs;
        let count = legs.len();
        let took = land(&market, &venue, legs, (0, 1)).await;
        let told = room.base.plus(fitting.footprint());
        let is_within = took.bytes <= told.bytes
            && took.accounts <= told.accounts
            && took.compute_units <= told.compute_units;
        assert!(is_within, "{took:?} of {told:?}");
        // A transaction that has room for the base only has none for any leg, and the refusal names the limit.
        let one_too_few = Footprint { bytes: room.base.bytes + 40, ..room.most };
        let tight = SearchLimits::default().with_transaction(TransactionLimits::new(one_too_few, room.base));
        let refused = search(tight).excess.expect("nothing fits");
        let words = format!("bytes, and a transaction has room for {}", room.base.bytes + 40);
        assert!(refused.resource == Resource::Bytes && refused.to_string().ends_with(&words), "{refused}");
        println!(
            "at the limit of {limit}: {count} legs of {} that pay landed, and took {} bytes, {} accounts and {} units of the \
             {}, {} and {} that the router counts",
            free.legs.len(),
            took.bytes,
            took.accounts,
            took.compute_units,
            told.bytes,
            told.accounts,
            told.compute_units
        );
    }
}
