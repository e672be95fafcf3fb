//! Pools of Raydium's program for concentrated liquidity.

use order_engine_routing::ConcentratedLiquidity;
use order_engine_solana::Pubkey;
use order_engine_solana::programs::RAYDIUM_CLMM;

use super::made_pool::{Data, MadePool, any_address};
use super::{Dice, Price};

const SPACING: i32 = 10;
const TICKS: i32 = 60;
const ARRAY: i32 = SPACING * TICKS;

/// Returns positions around a tick, as their lower and upper ticks and liquidities. The first one spans all others.
fn positions(dice: &Dice, current: i32) -> Vec<(i32, i32, u128)> {
    let aligned = current.div_euclid(SPACING) * SPACING;
    let reach = || i32::try_from(1 + dice.below(150)).unwrap() * SPACING;
    let narrow = (0..12).map(|_| {
        let (from, to) = (aligned - reach(), aligned + reach());
        (from, to, u128::from((1 << 36) + dice.amount(40)))
    });
    std::iter::once((aligned - 1_700, aligned + 1_700, 1 << 36)).chain(narrow).collect()
}

/// Makes a pool with positions around its price.
pub(super) fn make(dice: &Dice, mints: [Pubkey; 2], price: Price) -> MadePool {
    let (config, observation, vaults) = (any_address(), any_address(), [any_address(), any_address()]);
    let seeds: [&[u8]; 4] = [b"pool", config.as_ref(), mints[0].as_ref(), mints[1].as_ref()];
    let (address, bump) = Pubkey::find_program_address(&seeds, &RAYDIUM_CLMM);
    let current = price.tick();
    let positions = positions(dice, current);
    let liquidity: u128 = positions.iter().map(|(_, _, liquidity)| liquidity).sum();
    let sqrt_price = ConcentratedLiquidity::sqrt_price_at_tick(current).unwrap();
    let rates = Data::new(117, &[218, 244, 33, 104, 203, 203, 43, 111])
        .with(43, &120_000_u32.to_le_bytes())
        .with(47, &2_500_u32.to_le_bytes())
        .with(51, &10_u16.to_le_bytes())
        .with(53, &40_000_u32.to_le_bytes());
    let observed = Data::new(52_121, &[122, 174, 197, 53, 129, 9, 165, 132]).address(9, address);
    let mut pool = Data::new(1_544, &[247, 237, 227, 245, 215, 195, 222, 70])
        .with(8, &[bump])
        .address(9, config)
        .address(73, mints[0])
        .address(105, mints[1])
        .address(137, vaults[0])
        .address(169, vaults[1])
        .address(201, observation)
        .with(233, &[6, 6])
        .with(235, &10_u16.to_le_bytes())
        .with(237, &liquidity.to_le_bytes())
        .with(253, &sqrt_price.to_le_bytes())
        .with(269, &current.to_le_bytes());
    let mut accounts =
        vec![(config, rates.owned_by(RAYDIUM_CLMM)), (observation, observed.owned_by(RAYDIUM_CLMM))];
    let first = (current - 2_000).div_euclid(ARRAY);
    for array in first..=(current + 2_000).div_euclid(ARRAY) {
        let start = array * ARRAY;
        let seeds: [&[u8]; 3] = [b"tick_array", address.as_ref(), &start.to_be_bytes()];
        let tick_array = Pubkey::find_program_address(&seeds, &RAYDIUM_CLMM).0;
        let mut data = Data::new(10_240, &[192, 155, 85, 205, 49, 249, 129, 42])
            .address(8, address)
            .with(40, &start.to_le_bytes());
        let mut initialised = 0_u8;
        for number in 0..TICKS {
            let tick = start + number * SPACING;
            let at = 44 + usize::try_from(number).unwrap() * 168;
            let (mut net, mut gross) = (0_i128, 0_u128);
            for (lower, upper, liquidity) in &positions {
                let signed = i128::try_from(*liquidity).unwrap();
                net += if *lower == tick { signed } else { 0 } - if *upper == tick { signed } else { 0 };
                gross += if [lower, upper].contains(&&tick) { *liquidity } else { 0 };
            }
            initialised += u8::from(gross > 0);
            data = data
                .with(at, &tick.to_le_bytes())
                .with(at + 4, &net.to_le_bytes())
                .with(at + 20, &gross.to_le_bytes());
        }
        if initialised > 0 {
            let bit = usize::try_from(array + 512).unwrap();
            pool.0[904 + bit / 8] |= 1 << (bit % 8);
            accounts.push((tick_array, data.with(44 + 60 * 168, &[initialised]).owned_by(RAYDIUM_CLMM)));
        }
    }
    accounts.push((address, pool.owned_by(RAYDIUM_CLMM)));
    MadePool { address, accounts, vault_owner: address, vaults: vaults.map(|vault| (vault, 1 << 56)) }
}
