//! Quotes that equal those of an independent implementation.

use order_engine_core::Amount;

use crate::golden::{self, ExactOut};

fn check(vectors: &str) {
    for (index, case) in golden::cases(vectors).into_iter().enumerate() {
        let (pool, direction, at) = (case.pool(), case.direction, case.at);
        assert_eq!(pool.amount_out(direction, case.amount_in, at).ok(), case.amount_out, "case {index}");
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
    check(golden::CONSTANT_PRODUCT);
}

#[test]
fn concentrated() {
    check(golden::CONCENTRATED);
}

#[test]
fn dlmm() {
    check(golden::DLMM);
}

#[test]
fn stable() {
    check(golden::STABLE);
}

#[test]
fn vaulted() {
    check(golden::VAULTED);
    assert!(golden::cases(golden::VAULTED).len() >= 1_000);
}
