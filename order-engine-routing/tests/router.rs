//! The router over pools that are fixed, and over pools that change.

mod support;

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::ManualClock;
use order_engine_core::{
    Candidate, CandidateOutcome, Clock, DexRouter, FailureCode, QuoteRequest, Route, Token, best,
};
use order_engine_routing::{
    Conditions, LegCost, Moment, Pool, PoolFeed, PoolSet, PoolSource, Reading, Router, RouterConfig,
    SearchLimits, UpdateReport,
};
use support::{amount, pool_of};

fn pool(dex: &str, id: &str, reserve_b: u128) -> Pool {
    pool_of(dex, id, ("A", "B"), (1_000_000_000, reserve_b), 25)
}

fn three_pools() -> Vec<Pool> {
    vec![
        pool("Raydium", "r1", 2_000_000_000),
        pool("Raydium", "r2", 2_100_000_000),
        pool("Meteora", "m1", 2_050_000_000),
    ]
}

fn request(amount_in: u128, output: &str) -> QuoteRequest {
    let token = |mint: &str| Token::new(mint, mint, 6);
    QuoteRequest::new(token("A"), token(output), amount(amount_in))
}

fn router(pools: Vec<Pool>) -> Router {
    Router::new(Arc::new(PoolFeed::new(PoolSet::new(pools))), Arc::new(ManualClock::new()))
}

/// Returns a configuration in which the chain is paid in the output token.
fn costing(leg_cost: u128) -> RouterConfig {
    let leg_cost = LegCost { mint: "B".into(), amount: amount(leg_cost) };
    RouterConfig::default().with_leg_cost(leg_cost)
}

async fn quote(router: &Router, amount_in: u128, output: &str) -> Vec<Candidate> {
    let candidates = router.quote(&request(amount_in, output)).await.unwrap();
    for route in candidates.iter().filter_map(Candidate::route) {
        check(route, amount_in, output);
    }
    candidates
}

/// Checks what the engine requires of a route: legs in the order of execution that sum to the amount.
fn check(route: &Route, amount_in: u128, output: &str) {
    let sum = |mint: &str| {
        let into =
            route.legs.iter().filter(|leg| leg.output_mint == mint).map(|leg| leg.amount_out.base_units());
        let out_of =
            route.legs.iter().filter(|leg| leg.input_mint == mint).map(|leg| leg.amount_in.base_units());
        (into.sum::<u128>(), out_of.sum::<u128>())
    };
    assert_eq!(sum("A"), (0, amount_in));
    assert_eq!(sum(output), (route.amount_out.base_units(), 0));
    let between = route.legs.iter().map(|leg| leg.output_mint.as_str()).filter(|mint| *mint != output);
    assert!(between.map(sum).all(|(into, out_of)| into == out_of), "{route:?}");
    assert_eq!(route.amount_in, amount(amount_in));
}

fn ids(candidates: &[Candidate]) -> Vec<&str> {
    candidates.iter().map(|candidate| candidate.id.as_str()).collect()
}

fn reason(candidate: &Candidate) -> &str {
    match &candidate.outcome {
        CandidateOutcome::Rejected(failure) => &failure.message,
        CandidateOutcome::Quoted(route) => panic!("{route:?}"),
    }
}

fn code(candidate: &Candidate) -> &FailureCode {
    match &candidate.outcome {
        CandidateOutcome::Rejected(failure) => &failure.code,
        CandidateOutcome::Quoted(route) => panic!("{route:?}"),
    }
}

#[tokio::test]
async fn every_exchange_proposes_its_best_pool_and_all_of_them_a_split() {
    let router = router(three_pools());
    assert_eq!(router.dexes(), ["Raydium", "Meteora"]);
    let candidates = quote(&router, 100_000_000, "B").await;
    assert_eq!(ids(&candidates), ["r2", "m1", "r1+r2+m1"]);
    let route = best(&candidates).unwrap();
    assert_eq!((route.dex.as_str(), route.legs.len()), ("Raydium + Meteora", 3));
}

#[tokio::test]
async fn small_orders_are_not_split_where_legs_cost_something() {
    let router = router(three_pools()).with_config(costing(5_000));
    let small = quote(&router, 1_000_000, "B").await;
    assert_eq!(ids(&small), ["r2", "m1"]);
    let large = quote(&router, 100_000_000, "B").await;
    let route = best(&large).unwrap();
    assert_eq!(route.legs.len(), 3);
    assert_eq!(route.analysis.as_ref().unwrap().chain_cost, amount(15_000));
}

#[tokio::test]
async fn a_search_can_be_limited_to_single_pools() {
    let mut pools = three_pools();
    pools.push(pool_of("Meteora", "cb", ("C", "B"), (1_000_000_000, 1_000_000_000), 25));
    let router = router(pools).with_config(RouterConfig::default().with_limits(SearchLimits::single_pools()));
    assert_eq!(ids(&quote(&router, 100_000_000, "B").await), ["r2", "m1"]);
    assert!(best(&quote(&router, 1_000_000, "C").await).is_none(), "no pool trades the pair");
}

#[tokio::test]
async fn the_chain_may_be_paid_in_any_token_that_has_a_price() {
    // Two C are worth one B, and no pool trades D.
    let mut pools = three_pools();
    pools.push(pool_of("Meteora", "cb", ("C", "B"), (2 << 40, 1 << 40), 0));
    for (mint, expected) in [("C", 500), ("D", 0), ("B", 1_000)] {
        let leg_cost = LegCost { mint: mint.into(), amount: amount(1_000) };
        let config = RouterConfig::default().with_leg_cost(leg_cost);
        let candidates = quote(&router(pools.clone()).with_config(config), 1_000_000, "B").await;
        let analysis = candidates[0].route().unwrap().analysis.clone().unwrap();
        assert_eq!(analysis.chain_cost, amount(expected), "{mint}");
    }
}

#[tokio::test]
async fn tokens_without_a_common_pool_are_traded_over_others() {
    let mut pools = three_pools();
    pools.push(pool_of("Meteora", "cb", ("C", "B"), (1_000_000_000, 1_000_000_000), 25));
    let candidates = quote(&router(pools), 1_000_000, "C").await;
    assert_eq!(ids(&candidates)[2..], ["r2>cb"]);
    assert!(candidates[..2].iter().all(|candidate| reason(candidate).ends_with("does not trade this pair")));
    let route = best(&candidates).unwrap();
    assert_eq!(route.dex, "Raydium + Meteora");
    let mints: Vec<_> =
        route.legs.iter().map(|leg| (leg.input_mint.as_str(), leg.output_mint.as_str())).collect();
    assert_eq!(mints, [("A", "B"), ("B", "C")]);
}

#[tokio::test]
async fn the_analysis_compares_the_route_with_the_mid_price() {
    let candidates = quote(&router(three_pools()), 100_000_000, "B").await;
    let analysis = candidates[0].route().unwrap().analysis.clone().unwrap();
    assert_eq!(analysis.mid_price.as_deref(), Some("21/10"));
    // ⌊99 750 000 · 2.1 / 1.09975⌋ = 190 475 107 instead of 210 000 000.
    assert_eq!(analysis.price_impact_bps, Some(930));
    assert_eq!(analysis.mid_price_text(6, 6).as_deref(), Some("2.1"));
    let split = candidates[2].route().unwrap().analysis.clone().unwrap();
    assert!(split.price_impact_bps < analysis.price_impact_bps);
    assert!(split.is_proven_optimal && !analysis.is_proven_optimal, "only the best of all is proven");
    let small = router(three_pools()).with_config(costing(5_000));
    let candidates = quote(&small, 1_000_000, "B").await;
    let proven =
        |candidate: &Candidate| candidate.route().unwrap().analysis.as_ref().unwrap().is_proven_optimal;
    assert_eq!(candidates.iter().map(proven).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn a_route_that_loses_too_much_to_the_price_is_rejected_with_the_figure() {
    let limited = |bps| {
        let config = RouterConfig::default().with_max_price_impact_bps(bps);
        router(three_pools()).with_config(config)
    };
    let candidates = quote(&limited(500), 100_000_000, "B").await;
    assert_eq!(ids(&candidates), ["r2", "m1", "r1+r2+m1"]);
    assert_eq!(reason(&candidates[0]), "Its price impact is 930 basis points, more than 500");
    assert_eq!(*code(&candidates[0]), FailureCode::PRICE_IMPACT);
    let route = best(&candidates).expect("the split moves the price less");
    assert_eq!(route.legs.len(), 3);
    assert!(best(&quote(&limited(100), 100_000_000, "B").await).is_none());
    let all = 1_000_000_000_000;
    assert!(best(&quote(&router(three_pools()), all, "B").await).is_none(), "half of the value is the most");
    assert!(best(&quote(&limited(10_000), all, "B").await).is_some());
}

#[tokio::test]
async fn of_the_limits_of_the_order_and_of_the_router_the_stricter_holds() {
    // The best pool loses 930 basis points, the split less than 500.
    let chosen = async |of_router, of_order: Option<u16>| {
        let router =
            router(three_pools()).with_config(RouterConfig::default().with_max_price_impact_bps(of_router));
        let request = request(100_000_000, "B");
        let request = match of_order {
            Some(bps) => request.with_max_price_impact_bps(bps),
            None => request,
        };
        router.quote(&request).await.unwrap()
    };
    let strict = chosen(5_000, Some(500)).await;
    assert_eq!(reason(&strict[0]), "Its price impact is 930 basis points, more than 500");
    assert_eq!(best(&strict).unwrap().legs.len(), 3);
    let loose = chosen(500, Some(10_000)).await;
    assert_eq!(reason(&loose[0]), "Its price impact is 930 basis points, more than 500");
    assert!(chosen(5_000, Some(929)).await[0].route().is_none());
    assert!(chosen(5_000, Some(930)).await[0].route().is_some());
    assert!(chosen(5_000, None).await[0].route().is_some());
    assert!(best(&chosen(5_000, Some(0)).await).is_none());
}

#[tokio::test]
async fn rejected_pools_are_reported_with_their_reasons() {
    let router = router(three_pools());
    let too_small = router.quote(&request(1, "B")).await.unwrap();
    assert_eq!(ids(&too_small), ["r1", "r2", "m1"]);
    assert!(too_small.iter().all(|candidate| reason(candidate).ends_with("the amount is too small")));
    assert!(too_small.iter().all(|candidate| *code(candidate) == FailureCode::AMOUNT_TOO_SMALL));
    let unknown = router.quote(&request(1_000_000, "Z")).await.unwrap();
    assert_eq!(ids(&unknown), ["Raydium", "Meteora"]);
    assert!(unknown.iter().all(|candidate| *code(candidate) == FailureCode::PAIR_NOT_TRADED));
    assert!(best(&unknown).is_none() && best(&too_small).is_none());
}

#[tokio::test]
async fn tokens_that_pools_connect_are_traded_if_not_now() {
    let hop = |id, tokens, is_paused| {
        let pool = pool_of("Raydium", id, tokens, (1_000_000_000, 1_000_000_000), 25);
        if is_paused { pool.with_conditions(Conditions::default().paused()) } else { pool }
    };
    let router = router(vec![hop("ab", ("A", "B"), true), hop("bc", ("B", "C"), false)]);
    let candidates = quote(&router, 1_000, "C").await;
    assert_eq!(ids(&candidates), ["Raydium", "all"]);
    assert_eq!(
        (code(&candidates[0]), code(&candidates[1])),
        (&FailureCode::PAIR_NOT_TRADED, &FailureCode::NO_ROUTE)
    );
}

#[tokio::test]
async fn a_pool_that_fails_hides_none_that_works() {
    let mut pools = three_pools();
    pools.push(pool_of("Raydium", "full", ("A", "B"), (u128::MAX, 1), 25));
    let candidates = quote(&router(pools), 1_000_000, "B").await;
    assert_eq!(ids(&candidates), ["r2", "m1", "full"]);
    assert_eq!(reason(&candidates[2]), "full: the amount is too large");
}

#[tokio::test]
async fn stale_pools_are_rejected_until_they_are_updated() {
    let clock = Arc::new(ManualClock::new());
    let now = || Moment::from_unix_seconds(u64::try_from(clock.now().timestamp()).unwrap());
    let feed = Arc::new(PoolFeed::new(PoolSet::read_at(three_pools(), Reading::new(1, now()))));
    let limits = SearchLimits::default().with_max_age(Duration::from_secs(30));
    let router = Router::new(Arc::clone(&feed) as Arc<dyn PoolSource>, clock.clone())
        .with_config(RouterConfig::default().with_limits(limits));
    assert!(best(&quote(&router, 1_000_000, "B").await).is_some());

    clock.advance(Duration::from_secs(31));
    let candidates = quote(&router, 1_000_000, "B").await;
    assert_eq!(ids(&candidates), ["r1", "r2", "m1"]);
    assert_eq!(reason(&candidates[0]), "r1: the snapshot is 31 seconds old, older than 30");

    let report = feed.update(&[pool("Meteora", "m1", 3_000_000_000)], Reading::new(2, now()));
    assert_eq!(report, UpdateReport { applied: 1, outdated: 0 });
    let candidates = quote(&router, 1_000_000, "B").await;
    assert_eq!(ids(&candidates), ["m1", "r1", "r2"]);
    assert!(best(&candidates).unwrap().amount_out > amount(2_900_000));

    feed.remove(&["m1", "r1"]);
    assert_eq!(ids(&quote(&router, 1_000_000, "B").await), ["r2"]);
    feed.replace(&PoolSet::new(three_pools()));
    assert_eq!(ids(&quote(&router, 1_000_000, "B").await), ["r2", "m1"]);
}

#[tokio::test]
async fn a_search_without_time_still_finds_the_best_pools() {
    let config = RouterConfig::default().with_search_time(Duration::ZERO);
    let router = router(three_pools()).with_config(config);
    let candidates = quote(&router, 100_000_000, "B").await;
    assert_eq!(ids(&candidates)[..2], ["r2", "m1"]);
}

#[test]
fn readers_see_whole_updates_while_writers_write() {
    // Two pools that are always updated together, by two writers at once.
    let pair = |reserve: u128| vec![pool("Raydium", "one", reserve), pool("Raydium", "two", reserve)];
    let feed = PoolFeed::new(PoolSet::new(pair(1)));
    let writers = 2;
    let start = std::sync::Barrier::new(writers + 1);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (feed, start) = (&feed, &start);
            scope.spawn(move || {
                start.wait();
                for round in 1..500 {
                    let own = pool("Meteora", &format!("own-{writer}"), round);
                    let report = feed.update(&[pair(round), vec![own]].concat(), Reading::default());
                    assert_eq!(report.applied, 3);
                }
            });
        }
        start.wait();
        for _ in 0..2_000 {
            let snapshot = feed.snapshot();
            let curve = |id| snapshot.get(id).map(|pool| &pool.curve);
            assert_eq!(curve("one"), curve("two"));
        }
    });
    let last = feed.snapshot();
    assert_eq!(last.pools().count(), 2 + writers, "no writer's pool was lost");
    assert!(last.pools().all(|seen| seen.curve == pool("Raydium", "one", 499).curve));
    assert!(last.dexes().eq(["Raydium", "Meteora"]));
}
