//! Quotes that equal those of an independent implementation.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction};

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
        if let (Some(out), Some(venue)) = (case.amount_out, case.venue_out) {
            assert!(out <= venue, "a quote never promises more than the venue pays");
            assert!(is_near(&case, out, venue), "case {index}: {out} is far below {venue}");
        }
    }
    assert!(seconds.max(exact_outs) >= 900 || vectors == golden::VAULTED, "{seconds} and {exact_outs}");
}

/// Returns whether a quote is below the venue's own by no more than the worth of its rounding: three units of a stable
/// coin, and four of the quote token of `PumpSwap`.
fn is_near(case: &Case, out: Amount, venue: Amount) -> bool {
    match (&case.curve, case.direction) {
        (Curve::PumpSwap(_), Direction::BToA) => {
            let more = case.amount_in.checked_add(Amount::new(6)).unwrap();
            case.pool().amount_out(case.direction, more, case.at).unwrap() >= venue
        }
        _ => venue.checked_sub(out).unwrap() <= Amount::new(3),
    }
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
fn pump_swap() {
    check(golden::PUMP_SWAP);
}

#[test]
fn stable() {
    check(golden::STABLE);
}

#[test]
fn vaulted() {
    check(golden::VAULTED);
}

#[test]
fn uniswap_v2() {
    check(golden::UNISWAP_V2);
}

#[test]
fn uniswap_v3() {
    check(golden::UNISWAP_V3);
}
