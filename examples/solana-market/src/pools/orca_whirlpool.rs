//! Pools of Orca.

use order_engine_routing::Whirlpool;
use order_engine_solana::programs::ORCA_WHIRLPOOL;
use order_engine_solana::{Account, Pubkey};

use super::made_pool::{Data, MadePool, any_address};
use super::{Dice, Price};

/// Which kind of a Whirlpool.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) is_adaptive: bool,
    /// Whether its tick arrays are of the kind in which ticks that are not initialised take one byte.
    pub(super) is_dynamic: bool,
}

const SPACING: i32 = 8;
const ARRAY: i32 = 88 * SPACING;

/// Makes a pool with positions around its price.
pub(super) fn make(dice: &Dice, mints: [Pubkey; 2], price: Price, kind: Kind) -> MadePool {
    let (config, vaults) = (any_address(), [any_address(), any_address()]);
    let tier = if kind.is_adaptive { 1_025_u16 } else { 8 };
    let seeds: [&[u8]; 5] =
        [b"whirlpool", config.as_ref(), mints[0].as_ref(), mints[1].as_ref(), &tier.to_le_bytes()];
    let (address, bump) = Pubkey::find_program_address(&seeds, &ORCA_WHIRLPOOL);
    let current = price.tick();
    let aligned = current.div_euclid(SPACING) * SPACING;
    let reach = || i32::try_from(1 + dice.below(150)).unwrap() * SPACING;
    let narrow =
        (0..12).map(|_| (aligned - reach(), aligned + reach(), u128::from((1 << 36) + dice.amount(40))));
    let widest = 1_400 / SPACING * SPACING;
    let positions: Vec<(i32, i32, u128)> =
        std::iter::once((aligned - widest, aligned + widest, 1 << 36)).chain(narrow).collect();
    let liquidity: u128 = positions.iter().map(|(_, _, liquidity)| liquidity).sum();
    let sqrt_price = Whirlpool::sqrt_price_at_tick(current).unwrap();
    let pool = Data::new(653, &[63, 149, 209, 12, 225, 128, 99, 9])
        .address(8, config)
        .with(40, &[bump])
        .with(41, &8_u16.to_le_bytes())
        .with(43, &tier.to_le_bytes())
        .with(45, &3_000_u16.to_le_bytes())
        .with(47, &1_300_u16.to_le_bytes())
        .with(49, &liquidity.to_le_bytes())
        .with(65, &sqrt_price.to_le_bytes())
        .with(81, &current.to_le_bytes())
        .address(101, mints[0])
        .address(133, vaults[0])
        .address(181, mints[1])
        .address(213, vaults[1]);
    let mut accounts = vec![(address, pool.owned_by(ORCA_WHIRLPOOL))];
    for array in (current - 2_000).div_euclid(ARRAY)..=(current + 2_000).div_euclid(ARRAY) {
        accounts.push(orca_array(address, array * ARRAY, &positions, kind.is_dynamic));
    }
    if kind.is_adaptive {
        let oracle = Pubkey::find_program_address(&[b"oracle", address.as_ref()], &ORCA_WHIRLPOOL).0;
        let data = Data::new(254, &[139, 194, 131, 179, 140, 179, 229, 244])
            .address(8, address)
            .with(48, &30_u16.to_le_bytes())
            .with(50, &600_u16.to_le_bytes())
            .with(52, &5_000_u16.to_le_bytes())
            .with(54, &4_000_u32.to_le_bytes())
            .with(58, &350_000_u32.to_le_bytes())
            .with(62, &8_u16.to_le_bytes())
            .with(64, &64_u16.to_le_bytes());
        accounts.push((oracle, data.owned_by(ORCA_WHIRLPOOL)));
    }
    MadePool { address, accounts, vault_owner: address, vaults: vaults.map(|vault| (vault, 1 << 56)) }
}

/// Returns a tick array of a Whirlpool with the ends of these positions.
fn orca_array(
    pool: Pubkey,
    start: i32,
    positions: &[(i32, i32, u128)],
    is_dynamic: bool,
) -> (Pubkey, Account) {
    let text = start.to_string();
    let seeds: [&[u8]; 3] = [b"tick_array", pool.as_ref(), text.as_bytes()];
    let address = Pubkey::find_program_address(&seeds, &ORCA_WHIRLPOOL).0;
    let mut map = 0_u128;
    let mut ticks = Vec::new();
    for number in 0..88 {
        let tick = start + number * SPACING;
        let (mut net, mut gross) = (0_i128, 0_u128);
        for (lower, upper, liquidity) in positions {
            let signed = i128::try_from(*liquidity).unwrap();
            net += if *lower == tick { signed } else { 0 } - if *upper == tick { signed } else { 0 };
            gross += if [lower, upper].contains(&&tick) { *liquidity } else { 0 };
        }
        let is_initialised = gross > 0;
        map |= u128::from(is_initialised) << number;
        ticks.push(u8::from(is_initialised));
        if is_initialised || !is_dynamic {
            ticks.extend(net.to_le_bytes());
            ticks.extend(gross.to_le_bytes());
            ticks.extend([0; 112 - 32]);
        }
    }
    let data = if is_dynamic {
        let mut data = Data::new(60, &[17, 216, 246, 142, 225, 199, 218, 56])
            .with(8, &start.to_le_bytes())
            .address(12, pool)
            .with(44, &map.to_le_bytes());
        data.0.extend(ticks);
        data
    } else {
        Data::new(9_988, &[69, 97, 189, 190, 110, 7, 66, 187])
            .with(8, &start.to_le_bytes())
            .with(12, &ticks)
            .address(9_956, pool)
    };
    (address, data.owned_by(ORCA_WHIRLPOOL))
}
