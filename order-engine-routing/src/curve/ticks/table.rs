//! The prices of ticks, as the programs compute them.

use crate::wide::product;

/// The lowest tick, by symmetry with [`MAX_TICK`].
pub(crate) const MIN_TICK: i32 = -MAX_TICK;
/// The highest tick: a price of 1.0001 to this power still fits Q64.64.
pub(crate) const MAX_TICK: i32 = 443_636;

/// Raydium's `2⁶⁴ · 1.0001^(−2ⁱ/2)` for each bit `i` of a tick. All factors here are the programs' own constants,
/// because the price at a tick must equal the program's to the last bit.
const RAYDIUM_FALLING: [u64; 19] = [
    0xfffc_b933_bd6f_b800,
    0xfff9_7272_373d_4000,
    0xfff2_e50f_5f65_7000,
    0xffe5_caca_7e10_f000,
    0xffcb_9843_d60f_7000,
    0xff97_3b41_fa98_e800,
    0xff2e_a164_66c9_b000,
    0xfe5d_ee04_6a9a_3800,
    0xfcbe_86c7_900b_b000,
    0xf987_a725_3ac6_5800,
    0xf339_2b08_22bb_6000,
    0xe715_9475_a2ca_f000,
    0xd097_f3bd_fd2f_2000,
    0xa9f7_4646_2d9f_8000,
    0x70d8_69a1_56f3_1c00,
    0x31be_135f_97ed_3200,
    0x09aa_508b_5b85_a500,
    0x005d_6af8_dedc_582c,
    0x0000_2216_e584_f5fa,
];

/// Orca's `2⁶⁴ · 1.0001^(−2ⁱ/2)`, for ticks below zero.
const ORCA_FALLING: [u64; 19] = [
    0xfffc_b933_bd6f_ad37,
    0xfff9_7272_373d_4132,
    0xfff2_e50f_5f65_6932,
    0xffe5_caca_7e10_e4e6,
    0xffcb_9843_d60f_6159,
    0xff97_3b41_fa98_c081,
    0xff2e_a164_66c9_6a38,
    0xfe5d_ee04_6a99_a2a8,
    0xfcbe_86c7_900a_88ae,
    0xf987_a725_3ac4_1317,
    0xf339_2b08_22b7_0005,
    0xe715_9475_a2c2_9b74,
    0xd097_f3bd_fd20_22b8,
    0xa9f7_4646_2d87_0fdf,
    0x70d8_69a1_56d2_a1b8,
    0x31be_135f_97d0_8fd9,
    0x09aa_508b_5b7a_84e1,
    0x005d_6af8_dedb_8119,
    0x0000_2216_e584_f5fa,
];

/// Orca's `2⁹⁶ · 1.0001^(2ⁱ/2)`, for ticks from zero on.
const ORCA_RISING: [u128; 19] = [
    0x0000_0001_0003_46d6_ff11_672a_e55a_d00f,
    0x0000_0001_0006_8db8_bac7_10cb_295e_9e1b,
    0x0000_0001_000d_1b9c_68ab_e5f7_6b30_fb75,
    0x0000_0001_001a_37e4_a234_cb08_3051_6e51,
    0x0000_0001_0034_7278_ab0e_92ad_a25a_b460,
    0x0000_0001_0068_efb0_0a52_5480_a5d7_fdc2,
    0x0000_0001_00d2_0a63_b417_3839_df9d_aaa5,
    0x0000_0001_01a4_c11c_742d_d772_9738_df5e,
    0x0000_0001_034c_35c3_1f64_cfa6_dc0d_6de4,
    0x0000_0001_06a3_4b78_c8aa_ffbf_81be_d5a3,
    0x0000_0001_0d72_a6a4_6ccd_8bce_9ae7_71b1,
    0x0000_0001_1b9a_258e_6392_8596_dc75_7faa,
    0x0000_0001_3a2e_2bda_04f8_379f_3cd1_7be5,
    0x0000_0001_8195_4be6_9e0d_a8fe_77f2_ab42,
    0x0000_0002_44c2_655d_185a_0290_8025_2877,
    0x0000_0005_2581_6eeb_9f93_5b1c_6167_79e8,
    0x0000_001a_7c8d_00b5_5168_4ff4_d31a_e065,
    0x0000_02bd_893d_0b2d_f7c9_7884_590c_66cd,
    0x0007_8278_e1e1_9e44_8cf8_b95d_2152_dccf,
];

/// The program whose prices of ticks a pool has. They differ in the last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TickTable {
    /// The table of `raydium-clmm`.
    Raydium,
    /// The table of `whirlpools`.
    Orca,
}

impl TickTable {
    /// Returns the square root of the price at a tick in Q64.64, `√1.0001^tick`, or `None` if there is no such tick.
    pub(crate) fn sqrt_price(self, tick: i32) -> Option<u128> {
        if !(MIN_TICK..=MAX_TICK).contains(&tick) {
            return None;
        }
        let bits = tick.unsigned_abs();
        Some(match self {
            // The factors are below one, so the product is, too; for prices above one it is inverted.
            Self::Raydium if tick > 0 => u128::MAX / falling(&RAYDIUM_FALLING, bits),
            Self::Raydium => falling(&RAYDIUM_FALLING, bits),
            Self::Orca if tick > 0 => rising(&ORCA_RISING, bits),
            Self::Orca => falling(&ORCA_FALLING, bits),
        })
    }

    /// Returns [`Self::sqrt_price`] of the nearest tick that there is.
    pub(crate) fn clamped_sqrt_price(self, tick: i32) -> u128 {
        // There is a price for every tick in range.
        self.sqrt_price(tick.clamp(MIN_TICK, MAX_TICK)).unwrap_or_default()
    }

    /// Returns the highest tick from `low` to `high` whose price is not above `sqrt_price`. The price at `low`
    /// must not be above it.
    pub(crate) fn tick_between(self, mut low: i32, mut high: i32, sqrt_price: u128) -> i32 {
        while low < high {
            let middle = low + (high - low + 1) / 2;
            match self.sqrt_price(middle) {
                Some(price) if price <= sqrt_price => low = middle,
                _ => high = middle - 1,
            }
        }
        low
    }
}

/// Returns the product of the factors of the bits that are set, in Q64.64, rounded down after each.
fn falling(factors: &[u64; 19], bits: u32) -> u128 {
    let set = (0..).zip(factors).filter(|(bit, _)| bits >> bit & 1 == 1);
    set.fold(1 << 64, |ratio: u128, (_, factor)| (ratio * u128::from(*factor)) >> 64)
}

/// Returns the product of the factors of the bits that are set, in Q64.64, where each is in Q32.96.
fn rising(factors: &[u128; 19], bits: u32) -> u128 {
    let set = (0..).zip(factors).filter(|(bit, _)| bits >> bit & 1 == 1);
    // A price at a tick is below 2³², so 128 bits suffice for each of the products.
    let times = |ratio, factor: &u128| u128::try_from(product(ratio, *factor) >> 96).unwrap_or(u128::MAX);
    set.fold(1 << 96, |ratio, (_, factor)| times(ratio, factor)) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [TickTable; 2] = [TickTable::Raydium, TickTable::Orca];

    #[test]
    fn the_ends_are_the_published_ones() {
        let highest = [79_226_673_521_066_979_257_578_248_091, 79_226_673_515_401_279_992_447_579_055];
        for (table, highest) in BOTH.into_iter().zip(highest) {
            assert_eq!(table.sqrt_price(MIN_TICK), Some(4_295_048_016));
            assert_eq!(table.sqrt_price(MAX_TICK), Some(highest));
            assert_eq!(table.sqrt_price(0), Some(1 << 64));
            assert_eq!(table.sqrt_price(MAX_TICK + 1), None);
            assert_eq!(table.sqrt_price(i32::MIN), None);
            assert_eq!(table.clamped_sqrt_price(i32::MAX), highest);
        }
    }

    #[test]
    fn a_price_is_found_at_its_tick_and_just_before_the_next() {
        for table in BOTH {
            for tick in (MIN_TICK..MAX_TICK).step_by(997).chain([-1, 0, 1, MAX_TICK - 1]) {
                let (here, next) = (table.sqrt_price(tick).unwrap(), table.sqrt_price(tick + 1).unwrap());
                assert!(here < next);
                for price in [here, next - 1] {
                    assert_eq!(table.tick_between(MIN_TICK, MAX_TICK, price), tick);
                }
            }
        }
    }
}
