//! Quotes allocate nothing, so a search can make any number of them.

#[path = "support/vectors.rs"]
mod golden;

use order_engine_core::Amount;
use order_engine_routing::Direction;

fn assert_no_quote_allocates(vectors: &str) {
    for (index, case) in golden::cases(vectors).into_iter().enumerate() {
        let (pool, amount_in, at) = (case.pool(), case.amount_in, case.at);
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
    // Without the black box the optimiser may remove the allocation.
    let allocate = || drop(std::hint::black_box(Box::new(1_u8)));
    assert_eq!(allocation_counter::measure(allocate).count_total, 1);
}

#[test]
fn constant_product() {
    assert_no_quote_allocates(golden::CONSTANT_PRODUCT);
}

#[test]
fn concentrated() {
    assert_no_quote_allocates(golden::CONCENTRATED);
}

#[test]
fn whirlpool() {
    assert_no_quote_allocates(golden::WHIRLPOOL);
}

#[test]
fn damm_v2() {
    assert_no_quote_allocates(golden::DAMM_V2);
    assert_no_quote_allocates(golden::DAMM_V2_LIMITED);
}

#[test]
fn dlmm() {
    assert_no_quote_allocates(golden::DLMM);
}

#[test]
fn pump_swap() {
    assert_no_quote_allocates(golden::PUMP_SWAP);
}

#[test]
fn stable() {
    assert_no_quote_allocates(golden::STABLE);
}

#[test]
fn vaulted() {
    assert_no_quote_allocates(golden::VAULTED);
}
