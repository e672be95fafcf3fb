//! The conditions under which pools trade: what is not modelled, paused, not open or charged by the token itself.

#[path = "curves/arbitrary.rs"]
#[allow(dead_code)]
mod arbitrary;
mod support;

use order_engine_core::Amount;
use order_engine_routing::{
    Conditions, Direction, Feature, Moment, Pool, PoolFeed, PoolSet, PoolSource, QuoteError, Reading,
    RejectReason, Search, SearchLimits, TransferFee,
};
use proptest::prelude::*;
use support::{NOW, amount, pool_of};

fn pool() -> Pool {
    pool_of("Raydium", "p", ("A", "B"), (1 << 40, 1 << 40), 25)
}

fn later(seconds: u64) -> Moment {
    Moment::from_unix_seconds(NOW.unix_seconds() + seconds)
}

#[test]
fn a_pool_that_cannot_be_quoted_rightly_or_traded_now_is_refused_with_the_reason() {
    let refused = [
        (
            Conditions::default().with_unmodelled(Feature::LimitOrders),
            QuoteError::Unmodelled(Feature::LimitOrders),
        ),
        (Conditions::default().paused(), QuoteError::Paused),
        (Conditions::default().with_opens_at(later(1)), QuoteError::NotOpenYet),
    ];
    for (conditions, error) in refused {
        let pool = pool().with_conditions(conditions);
        assert_eq!(pool.amount_out(Direction::AToB, amount(1_000), NOW), Err(error));
        assert_eq!(pool.amount_in(Direction::AToB, amount(1_000), NOW), Err(error));
        assert_eq!(pool.spot_price(Direction::AToB, NOW), Err(error));
        assert_eq!(pool.after(Direction::AToB, amount(1_000), NOW), Err(error));
        let plain = pool_of("Raydium", "plain", ("A", "B"), (1 << 30, 1 << 30), 25);
        let set = PoolSet::new(vec![pool, plain]);
        let search = Search::new(&set, NOW);
        for found in [search.best("A", "B", amount(1_000)), search.best_exact_out("A", "B", amount(1_000))] {
            assert_eq!(found.best.unwrap().id(), "plain");
            assert_eq!(found.rejected[0].reason, RejectReason::Quote(error));
        }
    }
    let name = QuoteError::Unmodelled(Feature::LimitOrders).to_string();
    assert_eq!(name, "the pool has a feature that is not modelled: limit_orders");
}

#[test]
fn a_pool_opens_at_its_moment() {
    let pool = pool().with_conditions(Conditions::default().with_opens_at(later(1)));
    assert!(pool.amount_out(Direction::AToB, amount(1_000), later(1)).is_ok());
}

#[test]
fn a_pool_opens_at_its_slot_and_is_left_out_by_name_until_then() {
    let opening = pool_of("Raydium", "new", ("A", "B"), (1 << 40, 1 << 40), 5)
        .with_conditions(Conditions::default().with_opens_at_slot(100));
    let far = pool_of("Raydium", "far", ("C", "B"), (1 << 40, 1 << 40), 5)
        .with_conditions(Conditions::default().with_opens_at_slot(101));
    let open = [
        pool_of("Raydium", "open", ("A", "B"), (1 << 30, 1 << 30), 25),
        pool_of("Raydium", "ac", ("A", "C"), (1 << 40, 1 << 40), 1),
    ];
    let feed = PoolFeed::new(PoolSet::read_at(open.to_vec(), Reading::new(99, NOW)));
    assert_eq!(feed.update(&[opening, far], Reading::new(98, NOW)).applied, 2);
    let routes = || {
        let set = feed.snapshot();
        let search = Search::new(&set, NOW);
        [
            search.best_pool("A", "B", amount(1 << 25)),
            search.best_split("A", "B", amount(1 << 25)),
            search.best_path("A", "B", amount(1 << 25)),
            search.best("A", "B", amount(1 << 25)),
            search.best_exact_out("A", "B", amount(1 << 25)),
        ]
        .map(|found| {
            let rejected =
                found.rejected.iter().map(|it| (it.pool.id.clone(), it.reason)).collect::<Vec<_>>();
            (found.best.unwrap().id(), rejected)
        })
    };
    let early = vec![("new".to_owned(), RejectReason::Quote(QuoteError::NotOpenYet))];
    let nobody = Vec::new();
    let expected =
        [&early, &early, &nobody, &early, &early].map(|rejected| ("open".to_owned(), rejected.clone()));
    assert_eq!(routes(), expected);
    feed.advance_to(50);
    assert_eq!(routes(), expected, "the chain never goes back");
    feed.advance_to(100);
    assert_eq!(
        routes().map(|(id, rejected)| (id.contains("new"), id.contains("far"), rejected)),
        [(); 5].map(|()| (true, false, Vec::new()))
    );
    // The better path over C is found once its pool has opened.
    feed.advance_to(101);
    let set = feed.snapshot();
    let path = Search::new(&set, NOW).best_detour("A", "B", amount(1 << 25)).best;
    assert_eq!(path.unwrap().id(), "ac>far");
}

#[test]
fn a_chain_that_goes_on_makes_snapshots_old() {
    let pool = pool_of("Raydium", "p", ("A", "B"), (1 << 40, 1 << 40), 5);
    let feed = PoolFeed::new(PoolSet::read_at(vec![pool], Reading::new(10, NOW)));
    let limits = SearchLimits::default().with_max_age_slots(5);
    let found = || {
        let set = feed.snapshot();
        let found = Search::new(&set, NOW).with_limits(limits).best("A", "B", amount(1_000));
        (found.best.is_some(), found.rejected.first().map(|it| it.reason))
    };
    feed.advance_to(15);
    assert_eq!(found(), (true, None));
    feed.advance_to(16);
    assert_eq!(found(), (false, Some(RejectReason::Behind { slots: 6, max_slots: 5 })));
}

#[test]
fn a_feature_that_is_not_known_is_refused_with_its_name() {
    let mut json = serde_json::to_value(pool().with_conditions(Conditions::default().paused())).unwrap();
    let read = |json: &serde_json::Value| serde_json::from_value::<Pool>(json.clone());
    assert_eq!(read(&json).unwrap().conditions.unwrap().unmodelled, []);
    json["conditions"]["unmodelled"] = serde_json::json!(["scheduled_fee"]);
    assert_eq!(read(&json).unwrap().conditions.unwrap().unmodelled, [Feature::ScheduledFee]);
    json["conditions"]["unmodelled"] = serde_json::json!(["time_travel"]);
    assert!(read(&json).unwrap_err().to_string().contains("unknown variant `time_travel`"));
}

#[test]
fn the_token_takes_its_fee_of_what_goes_in_and_of_what_comes_out() {
    // One percent of a, at most 50 units; two percent of b without a bound.
    let fees = [TransferFee::new(100, amount(50)), TransferFee::new(200, Amount::MAX)].map(Result::unwrap);
    let free = pool_of("Raydium", "p", ("A", "B"), (1 << 60, 1 << 60), 0);
    let pool = free.with_conditions(Conditions::default().with_transfer_fees(Some(fees[0]), Some(fees[1])));
    // 1 000 − 10 arrive, the pool pays 989, of which ⌈19.78⌉ = 20 are taken.
    assert_eq!(pool.amount_out(Direction::AToB, amount(1_000), NOW), Ok(amount(969)));
    // 9 950 arrive, the pool pays 9 949, of which ⌈198.98⌉ = 199 are taken.
    assert_eq!(pool.amount_out(Direction::AToB, amount(10_000), NOW), Ok(amount(9_750)));
    assert!(TransferFee::new(10_001, Amount::MAX).is_err());
}

fn transfer_fee() -> impl Strategy<Value = Option<TransferFee>> {
    let fee =
        (0_u16..=10_000, arbitrary::amount()).prop_map(|(bps, most)| TransferFee::new(bps, most).unwrap());
    proptest::option::of(fee)
}

proptest! {
    #[test]
    fn with_transfer_fees_exact_out_is_the_least_input_and_never_promises_too_much(
        pool in arbitrary::pool(), of_a in transfer_fee(), of_b in transfer_fee(),
        direction in arbitrary::direction(), wanted in arbitrary::amount(),
    ) {
        let plain = pool.clone();
        let pool = pool.with_conditions(Conditions::default().with_transfer_fees(of_a, of_b));
        let out = |pool: &Pool, amount_in| pool.amount_out(direction, amount_in, NOW).unwrap_or(Amount::ZERO);
        if let Ok(amount_in) = pool.amount_in(direction, wanted, NOW) {
            prop_assert!(out(&pool, amount_in) >= wanted);
            prop_assert!(out(&pool, Amount::new(amount_in.base_units() - 1)) < wanted);
            // The pool may have no room for what the token takes.
            let free = plain.amount_out(direction, amount_in, NOW);
            prop_assert!(free.is_err() || out(&pool, amount_in) <= free.unwrap());
            let json = serde_json::to_string(&pool).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pool>(&json).unwrap(), pool);
        }
    }
}
