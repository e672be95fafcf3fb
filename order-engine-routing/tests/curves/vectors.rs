//! Quotes that another implementation computed, from the published formulas. How is written in
//! `tests/vectors/generate.py`.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction, Moment, Pool};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    source: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    curve: Curve,
    direction: Direction,
    at: Moment,
    amount_in: Amount,
    /// None if nothing comes out.
    amount_out: Option<Amount>,
    exact_out: Option<ExactOut>,
    /// What the venues' iteration gives, where they iterate.
    newton_out: Option<Amount>,
}

#[derive(Deserialize)]
struct ExactOut {
    amount_out: Amount,
    amount_in: Amount,
}

fn check(vectors: &str) {
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    assert!(vectors.source.starts_with("tests/vectors/generate.py"));
    assert!(vectors.cases.len() >= 100);
    for (index, case) in vectors.cases.into_iter().enumerate() {
        let Case { curve, direction, at, amount_in, .. } = case;
        let pool = Pool {
            id: String::new(),
            dex: String::new(),
            token_a: String::new(),
            token_b: String::new(),
            curve,
        };
        assert_eq!(pool.amount_out(direction, amount_in, at).ok(), case.amount_out, "case {index}");
        if let Some(ExactOut { amount_out, amount_in }) = case.exact_out {
            assert_eq!(pool.amount_in(direction, amount_out, at), Ok(amount_in), "exact out of case {index}");
        }
        if let (Some(out), Some(newton)) = (case.amount_out, case.newton_out) {
            let less = newton.checked_sub(out).expect("a quote never promises more than the venue pays");
            assert!(less <= Amount::new(3), "case {index} is {less} below the venue's quote");
        }
    }
}

#[test]
fn constant_product() {
    check(include_str!("../vectors/constant_product.json"));
}

#[test]
fn concentrated() {
    check(include_str!("../vectors/concentrated.json"));
}

#[test]
fn dlmm() {
    check(include_str!("../vectors/dlmm.json"));
}

#[test]
fn stable() {
    check(include_str!("../vectors/stable.json"));
}
