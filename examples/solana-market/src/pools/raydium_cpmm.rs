//! Pools of Raydium's program for constant products.

use order_engine_solana::Pubkey;
use order_engine_solana::programs::{RAYDIUM_CPMM, TOKEN};

use super::made_pool::{Data, MadePool, any_address};
use super::{Dice, Price};

/// Makes a pool with a fee of a quarter of a percent.
pub(super) fn make(dice: &Dice, mints: [Pubkey; 2], price: Price) -> MadePool {
    let (address, config, observation) = (any_address(), any_address(), any_address());
    let vaults = [any_address(), any_address()];
    let authority = Pubkey::find_program_address(&[b"vault_and_lp_mint_auth_seed"], &RAYDIUM_CPMM);
    let owed = [(); 4].map(|()| dice.amount(30));
    let first = (1 << 40) + dice.amount(42);
    // What it owes to the protocol and the fund is no reserve.
    let held = [first + owed[0] + owed[2], price.of(first) + owed[1] + owed[3]];
    let pool = Data::new(637, &[247, 237, 227, 245, 215, 195, 222, 70])
        .address(8, config)
        .address(72, vaults[0])
        .address(104, vaults[1])
        .address(136, any_address())
        .address(168, mints[0])
        .address(200, mints[1])
        .address(232, TOKEN)
        .address(264, TOKEN)
        .address(296, observation)
        .with(328, &[authority.1, 0, 9, 6, 6])
        .u64(333, 1 << 40)
        .u64(341, owed[0])
        .u64(349, owed[1])
        .u64(357, owed[2])
        .u64(365, owed[3]);
    let rates = Data::new(236, &[218, 244, 33, 104, 203, 203, 43, 111])
        .u64(12, 2_500)
        .u64(20, 120_000)
        .u64(28, 40_000);
    let observed = Data::new(4_075, &[122, 174, 197, 53, 129, 9, 165, 132]).address(11, address);
    MadePool {
        address,
        accounts: vec![
            (address, pool.owned_by(RAYDIUM_CPMM)),
            (config, rates.owned_by(RAYDIUM_CPMM)),
            (observation, observed.owned_by(RAYDIUM_CPMM)),
        ],
        vault_owner: authority.0,
        vaults: [(vaults[0], held[0]), (vaults[1], held[1])],
    }
}
