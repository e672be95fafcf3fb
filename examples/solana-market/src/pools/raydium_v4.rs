//! Pools of Raydium's first program.

use order_engine_solana::Pubkey;
use order_engine_solana::programs::RAYDIUM_V4;

use super::made_pool::{Data, MadePool, any_address};
use super::{Dice, Price};

/// Makes a pool with order books that are switched off.
pub(super) fn make(dice: &Dice, mints: [Pubkey; 2], price: Price) -> MadePool {
    let (address, vaults) = (any_address(), [any_address(), any_address()]);
    let authority = Pubkey::find_program_address(&[b"amm authority"], &RAYDIUM_V4);
    let owed = [dice.amount(30), dice.amount(30)];
    let first = (1 << 40) + dice.amount(42);
    // What it owes is no reserve.
    let held = [first + owed[0], price.of(first) + owed[1]];
    let data = Data::new(752, &[])
        .u64(0, 6) // swaps only
        .u64(8, u64::from(authority.1))
        .u64(16, 7)
        .u64(24, 3)
        .u64(32, 6)
        .u64(40, 6)
        .u64(128, 5)
        .u64(136, 10_000)
        .u64(144, 25)
        .u64(152, 10_000)
        .u64(160, 12)
        .u64(168, 100)
        .u64(176, 25)
        .u64(184, 10_000)
        .u64(192, owed[0])
        .u64(200, owed[1])
        .address(336, vaults[0])
        .address(368, vaults[1])
        .address(400, mints[0])
        .address(432, mints[1])
        .address(464, any_address());
    MadePool {
        address,
        accounts: vec![(address, data.owned_by(RAYDIUM_V4))],
        vault_owner: authority.0,
        vaults: [(vaults[0], held[0]), (vaults[1], held[1])],
    }
}
