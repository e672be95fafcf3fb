//! Quotes that equal those of an independent implementation.

use order_engine_core::Amount;

use crate::golden::{self, Case, ExactOut, Second};

fn check(vectors: &str) {
    let (mut seconds, mut exact_outs) = (0, 0);
    for (index, case) in golden::cases(vectors).into_iter().enumerate() {
        let (pool, direction, at) = (case.pool(), case.direction, case.at);
        assert_eq!(pool.amount_out(direction, case.amount_in, at).ok(), case.amount_out, "case {index}");
        if let Some(ExactOut { amount_out, amount_in }) = case.exact_out {
            assert_eq!(pool.amount_in(direction, amount_out, at), Ok(amount_in), "exact out of case {index}");
            exact_outs += 1;
        }
        if let Some(second) = &case.second {
            check_second(&case, second, index);
            seconds += 1;
        }
        if let (Some(out), Some(newton)) = (case.amount_out, case.newton_out) {
            let less = newton.checked_sub(out).expect("a quote never promises more than the venue pays");
            assert!(less <= Amount::new(3), "case {index} is {less} below the venue's quote");
        }
    }
    assert!(seconds.max(exact_outs) >= 900 || vectors == golden::VAULTED, "{seconds} and {exact_outs}");
}

fn check_second(case: &Case, second: &Second, index: usize) {
    let next = case.pool().after(case.direction, case.amount_in, case.at).unwrap();
    let out = next.amount_out(second.direction, second.amount_in, second.at).ok();
    assert_eq!(out, second.amount_out, "second trade of case {index}");
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
fn whirlpool() {
    check(golden::WHIRLPOOL);
}

#[test]
fn damm_v2() {
    check(golden::DAMM_V2);
}

#[test]
fn damm_v2_limited() {
    check(golden::DAMM_V2_LIMITED);
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
}
