//! Quotes allocate nothing, so that a search may ask for as many as it likes.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction, Moment, Pool};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    curve: Curve,
    at: Moment,
    amount_in: Amount,
}

fn assert_no_quote_allocates(vectors: &str) {
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    for (index, Case { curve, at, amount_in }) in vectors.cases.into_iter().enumerate() {
        let pool =
            Pool { id: "pool".into(), dex: "dex".into(), token_a: "a".into(), token_b: "b".into(), curve };
        let mut quoted = 0;
        let allocated = allocation_counter::measure(|| {
            for direction in Direction::BOTH {
                quoted += u32::from(pool.amount_out(direction, amount_in, at).is_ok());
                quoted += u32::from(pool.amount_in(direction, Amount::new(1), at).is_ok());
                quoted += u32::from(pool.amount_in(direction, amount_in, at).is_ok());
                quoted += u32::from(pool.spot_price(direction, at).is_ok());
                quoted += u32::from(pool.mid_price(direction).is_ok());
            }
        });
        assert_eq!(allocated.count_total, 0, "case {index}");
        assert!(quoted >= 2, "case {index}");
    }
}

#[test]
fn allocations_are_counted() {
    // An optimiser may leave out what nobody looks at.
    let allocate = || drop(std::hint::black_box(Box::new(1_u8)));
    assert_eq!(allocation_counter::measure(allocate).count_total, 1);
}

#[test]
fn constant_product() {
    assert_no_quote_allocates(include_str!("vectors/constant_product.json"));
}

#[test]
fn concentrated() {
    assert_no_quote_allocates(include_str!("vectors/concentrated.json"));
}

#[test]
fn dlmm() {
    assert_no_quote_allocates(include_str!("vectors/dlmm.json"));
}

#[test]
fn stable() {
    assert_no_quote_allocates(include_str!("vectors/stable.json"));
}
