//! Pools behind vaults, whose shares round.

use order_engine_core::Amount;
use order_engine_routing::{Fee, Moment, VaultShare, VaultedProduct, VaultedState};
use proptest::prelude::*;

use crate::arbitrary::direction;

const REPORT_S: u64 = 1_700_000_000;

fn vault() -> impl Strategy<Value = VaultShare> {
    let share = 1_u64..=1_000;
    (20_u32..56, any::<u64>(), 500_u64..=1_000, share, 0_u64..=1_000).prop_map(
        |(bit, noise, shares, owned, locked)| {
            let total = (1 << bit) | (noise & ((1 << bit) - 1));
            let supply = total / 1_000 * shares;
            VaultShare {
                total: Amount::from(total),
                supply: Amount::from(supply),
                owned: Amount::from((supply / 1_000 * owned).max(1)),
                in_hand: Amount::from(total / 2),
                locked_profit: Amount::from(total / 100_000 * locked),
                last_report: Moment::from_unix_seconds(REPORT_S),
                degradation: 46_296_296,
            }
        },
    )
}

fn pool() -> impl Strategy<Value = VaultedProduct> {
    (vault(), vault(), 0_u64..2_000, 0_u64..=50_000).prop_map(|(vault_a, vault_b, fee, share)| {
        let rate = |rate| Fee::new(rate, 100_000).unwrap();
        VaultedProduct::new(VaultedState { vault_a, vault_b, fee: rate(fee), protocol_share: rate(share) })
            .unwrap()
    })
}

fn moment() -> impl Strategy<Value = Moment> {
    (REPORT_S - 5..REPORT_S + 30_000).prop_map(Moment::from_unix_seconds)
}

proptest! {
    #[test]
    fn an_exact_output_is_reached_and_one_unit_less_is_not_enough(
        pool in pool(), direction in direction(), at in moment(), bits in 0_u32..56, noise: u64,
    ) {
        let wanted = Amount::from(((1 << bits) | (noise & ((1 << bits) - 1))).max(1));
        if let Ok(amount_in) = pool.amount_in(direction, wanted, at) {
            prop_assert!(pool.amount_out(direction, amount_in, at).unwrap() >= wanted);
            let less = Amount::new(amount_in.base_units() - 1);
            prop_assert!(pool.amount_out(direction, less, at).unwrap_or_default() < wanted);
        }
    }

    #[test]
    fn a_trade_takes_nothing_from_liquidity_providers_and_a_round_trip_brings_no_profit(
        pool in pool(), direction in direction(), at in moment(), amount_in in 1_u64..1 << 50,
    ) {
        let amount_in = Amount::from(amount_in);
        let Ok(bought) = pool.amount_out(direction, amount_in, at) else { return Ok(()) };
        let Ok(next) = pool.after(direction, amount_in, at) else { return Ok(()) };
        let back = next.amount_out(direction.reversed(), bought, at).unwrap_or_default();
        prop_assert!(back <= amount_in, "{} of {}", back, amount_in);
        let worth = |vault: VaultShare| {
            let locked = if at.unix_seconds() > REPORT_S { 0 } else { vault.locked_profit.base_units() };
            vault.owned.base_units() * (vault.total.base_units() - locked) / vault.supply.base_units()
        };
        // Without locked profit the pool's own shares are worth at least as much as before.
        let (before, after) = (pool.state(), next.state());
        if before.vault_a.locked_profit.is_zero() && before.vault_b.locked_profit.is_zero() {
            prop_assert!(worth(after.vault_a) * worth(after.vault_b) + worth(after.vault_a) + worth(after.vault_b)
                >= worth(before.vault_a) * worth(before.vault_b));
        }
        let json = serde_json::to_string(&next).unwrap();
        prop_assert_eq!(serde_json::from_str::<VaultedProduct>(&json).unwrap(), next);
    }

    #[test]
    fn a_larger_input_never_pays_less_by_more_than_the_rounding_of_one_unit(
        pool in pool(), direction in direction(), at in moment(), amount_in in 1_u64..1 << 50,
    ) {
        let out = |amount| pool.amount_out(direction, Amount::from(amount), at).unwrap_or_default();
        let (once, more) = (out(amount_in), out(amount_in + 1));
        let unit = pool.amount_out(direction, Amount::from(amount_in / 2 + 1), at).unwrap_or_default();
        // One unit of input less is worth no more than the average price of half the input, and a share.
        let slack = unit.base_units() / u128::from(amount_in / 2 + 1) + 4;
        prop_assert!(more == Amount::ZERO || more.base_units() + slack >= once.base_units(), "{} {}", once, more);
    }
}

#[test]
fn impossible_vaults_are_errors() {
    let share = VaultShare {
        total: Amount::new(1_000),
        supply: Amount::new(1_000),
        owned: Amount::new(10),
        in_hand: Amount::new(1_000),
        locked_profit: Amount::ZERO,
        last_report: Moment::EARLIEST,
        degradation: 0,
    };
    let field = |vault_a: VaultShare, vault_b: VaultShare| {
        let state = VaultedState { vault_a, vault_b, fee: Fee::NONE, protocol_share: Fee::NONE };
        VaultedProduct::new(state).unwrap_err().field
    };
    assert_eq!(field(VaultShare { owned: Amount::ZERO, ..share }, share), "vault_a");
    assert_eq!(field(share, VaultShare { owned: Amount::new(1_001), ..share }), "vault_b");
    assert_eq!(field(share, VaultShare { locked_profit: Amount::new(1_000), ..share }), "vault_b");
    assert_eq!(field(VaultShare { total: Amount::MAX, ..share }, share), "vault_a");
    assert_eq!(field(VaultShare { degradation: u64::MAX, ..share }, share), "vault_a");
}
