//! Pools of real programs, as the bytes of their accounts.

mod dice;
mod made_pool;
mod meteora_dlmm;
mod orca_whirlpool;
mod price;
mod raydium_clmm;
mod raydium_cpmm;
mod raydium_v4;

use std::path::PathBuf;

use order_engine_solana::Pubkey;
use order_engine_solana::programs::{
    METEORA_DLMM, ORCA_WHIRLPOOL, RAYDIUM_CLMM, RAYDIUM_CPMM, RAYDIUM_V4, TOKEN_2022,
};

pub use dice::Dice;
pub use made_pool::MadePool;
use orca_whirlpool::Kind;
pub use price::Price;

/// A program, the pool of it that a test trades with, and how.
pub struct Case {
    /// The name of the program.
    pub name: &'static str,
    /// Its address.
    pub program: Pubkey,
    /// The name of the file of its code.
    pub file: &'static str,
    /// Swaps sell at least this, and this and two to the power of the other at most.
    pub amount_min: u64,
    /// See [`amount_min`](Self::amount_min).
    pub amount_bits: u64,
    /// The error of the program if it would pay less than the minimum.
    pub below_minimum: u64,
    /// Makes a pool of two mints, which are sorted, with a price of the first one in the second.
    pub make: fn(&Dice, [Pubkey; 2], Price) -> MadePool,
    /// What the second token takes of each transfer, if it is one of Token-2022: basis points, and the most.
    pub transfer_fee: Option<(u16, u64)>,
    /// A variant of a program makes only one in so many of the swaps.
    pub share: u64,
}

const TRANSFER_FEE: Option<(u16, u64)> = Some((37, 1 << 24));

/// All programs, and variants of their pools.
pub const CASES: [Case; 12] = [
    Case {
        name: "Raydium AMM v4",
        program: RAYDIUM_V4,
        file: "raydium_amm_v4.so",
        // Of less it takes no fee, and pays a unit or some more than quoted.
        amount_min: 200,
        amount_bits: 44,
        below_minimum: 30,
        make: raydium_v4::make,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CPMM",
        program: RAYDIUM_CPMM,
        file: "raydium_cp_swap.so",
        amount_min: 0,
        amount_bits: 44,
        below_minimum: 6_005,
        make: raydium_cpmm::make,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CLMM",
        program: RAYDIUM_CLMM,
        file: "raydium_clmm.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_022,
        make: raydium_clmm::make,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Meteora DLMM",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: meteora_dlmm::make,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CPMM with a token that takes a fee",
        program: RAYDIUM_CPMM,
        file: "raydium_cp_swap.so",
        amount_min: 0,
        amount_bits: 44,
        below_minimum: 6_005,
        make: |dice, mints, price| raydium_cpmm::make(dice, mints, price).with(264, TOKEN_2022.as_ref()),
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Raydium CLMM with a token that takes a fee",
        program: RAYDIUM_CLMM,
        file: "raydium_clmm.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_022,
        make: raydium_clmm::make,
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Meteora DLMM with a token that takes a fee",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints, price| meteora_dlmm::make(dice, mints, price).with(881, &[1]),
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Meteora DLMM with limit orders",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints, price| meteora_dlmm::make(dice, mints, price).with(35, &[2]).with_orders(dice),
        transfer_fee: None,
        share: 2,
    },
    Case {
        name: "Meteora DLMM with its fee on y and limit orders",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints, price| meteora_dlmm::make(dice, mints, price).with(35, &[2, 1]).with_orders(dice),
        transfer_fee: None,
        share: 2,
    },
    Case {
        name: "Orca Whirlpool",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints, price| {
            orca_whirlpool::make(dice, mints, price, Kind { is_adaptive: false, is_dynamic: false })
        },
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Orca Whirlpool with an adaptive fee",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints, price| {
            orca_whirlpool::make(dice, mints, price, Kind { is_adaptive: true, is_dynamic: true })
        },
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Orca Whirlpool with a token that takes a fee",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints, price| {
            orca_whirlpool::make(dice, mints, price, Kind { is_adaptive: false, is_dynamic: true })
        },
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
];

impl Case {
    /// Whether it is a pool as a program makes most, and no variant.
    pub fn is_plain(&self) -> bool {
        !self.name.contains(" with ")
    }

    /// Returns where the code of the program is, if it is there.
    pub fn code(&self) -> Option<PathBuf> {
        let file = PathBuf::from(std::env::var_os("SOLANA_PROGRAMS")?).join(self.file);
        file.is_file().then_some(file)
    }
}
