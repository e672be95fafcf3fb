//! The prices of ticks, as the contract's `TickMath` computes them.

use ruint::aliases::U256;

/// The lowest tick.
pub(super) const MIN_TICK: i32 = -MAX_TICK;
/// The highest tick.
pub(super) const MAX_TICK: i32 = 887_272;
/// A trade goes down to the price above this one, that of the lowest tick.
pub(super) const MIN_SQRT_PRICE: U256 = U256::from_limbs([4_295_128_739, 0, 0, 0]);
/// A trade goes up to the price below this one, that of the highest tick.
pub(super) const MAX_SQRT_PRICE: U256 =
    U256::from_limbs([0x5d95_1d52_6398_8d26, 0xefd1_fc6a_5064_8849, 0xfffd_8963, 0]);

/// `2¹²⁸ · 1.0001^(−2ⁱ/2)` for each bit `i` of a tick: the contract's own constants, because the price at a tick must equal
/// the contract's to the last bit.
const FALLING: [u128; 20] = [
    0xfffc_b933_bd6f_ad37_aa2d_162d_1a59_4001,
    0xfff9_7272_373d_4132_59a4_6990_580e_213a,
    0xfff2_e50f_5f65_6932_ef12_357c_f3c7_fdcc,
    0xffe5_caca_7e10_e4e6_1c36_24ea_a094_1cd0,
    0xffcb_9843_d60f_6159_c9db_5883_5c92_6644,
    0xff97_3b41_fa98_c081_472e_6896_dfb2_54c0,
    0xff2e_a164_66c9_6a38_43ec_78b3_26b5_2861,
    0xfe5d_ee04_6a99_a2a8_11c4_61f1_969c_3053,
    0xfcbe_86c7_900a_88ae_dcff_c83b_479a_a3a4,
    0xf987_a725_3ac4_1317_6f2b_074c_f781_5e54,
    0xf339_2b08_22b7_0005_940c_7a39_8e4b_70f3,
    0xe715_9475_a2c2_9b74_43b2_9c7f_a6e8_89d9,
    0xd097_f3bd_fd20_22b8_845a_d8f7_92aa_5825,
    0xa9f7_4646_2d87_0fdf_8a65_dc1f_90e0_61e5,
    0x70d8_69a1_56d2_a1b8_90bb_3df6_2baf_32f7,
    0x31be_135f_97d0_8fd9_8123_1505_542f_cfa6,
    0x09aa_508b_5b7a_84e1_c677_de54_f3e9_9bc9,
    0x005d_6af8_dedb_8119_6699_c329_225e_e604,
    0x0000_2216_e584_f5fa_1ea9_2604_1bed_fe98,
    0x0000_0000_048a_1703_91f7_dc42_444e_8fa2,
];

/// Returns the square root of the price at a tick in Q64.96, or `None` if there is no such tick.
pub(super) fn sqrt_price_at_tick(tick: i32) -> Option<U256> {
    if !(MIN_TICK..=MAX_TICK).contains(&tick) {
        return None;
    }
    let bits = tick.unsigned_abs();
    let set = (0..).zip(FALLING).filter(|(bit, _)| bits >> bit & 1 == 1);
    let one: U256 = U256::ONE << 128;
    // Each factor is below one, so the product stays below 2²⁵⁶.
    let mut ratio = set.fold(one, |ratio, (_, factor)| (ratio * U256::from(factor)) >> 128);
    if tick > 0 {
        ratio = U256::MAX / ratio;
    }
    let scale: U256 = U256::ONE << 32;
    Some(ratio.div_ceil(scale))
}

/// Returns the highest tick whose price is not above this one, which must be between those of the lowest and of the highest tick.
pub(super) fn tick_at(sqrt_price_x96: U256) -> i32 {
    let (mut low, mut high) = (MIN_TICK, MAX_TICK);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match sqrt_price_at_tick(middle) {
            Some(price) if price <= sqrt_price_x96 => low = middle,
            _ => high = middle - 1,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_published_ones() {
        let highest = "1461446703485210103287273052203988822378723970342";
        assert_eq!(MAX_SQRT_PRICE.to_string(), highest);
        assert_eq!(sqrt_price_at_tick(MIN_TICK), Some(MIN_SQRT_PRICE));
        assert_eq!(sqrt_price_at_tick(MAX_TICK), Some(MAX_SQRT_PRICE));
        assert_eq!(sqrt_price_at_tick(0), Some(U256::ONE << 96));
        assert_eq!(sqrt_price_at_tick(MAX_TICK + 1), None);
        assert_eq!(sqrt_price_at_tick(i32::MIN), None);
    }

    #[test]
    fn each_factor_is_the_square_of_the_one_before() {
        for pair in FALLING.windows(2) {
            let square: U256 = (U256::from(pair[0]) * U256::from(pair[0])) >> 128;
            let off = square.abs_diff(U256::from(pair[1]));
            assert!(off <= U256::from(4), "{:x} is off by {off}", pair[1]);
        }
    }

    #[test]
    fn a_price_is_found_at_its_tick_and_just_before_the_next() {
        for tick in (MIN_TICK..MAX_TICK).step_by(9_973).chain([-1, 0, 1, MAX_TICK - 1]) {
            let (here, next) = (sqrt_price_at_tick(tick).unwrap(), sqrt_price_at_tick(tick + 1).unwrap());
            assert!(here < next);
            for price in [here, next - U256::ONE] {
                assert_eq!(tick_at(price), tick);
            }
        }
    }
}
