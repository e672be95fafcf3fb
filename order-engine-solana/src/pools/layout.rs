//! A pool of any known exchange.

use order_engine_routing::Pool;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::pools::meteora_dlmm::MeteoraDlmm;
use crate::pools::orca_whirlpool::OrcaWhirlpool;
use crate::pools::parts::{Parts, PoolError, PoolSwap};
use crate::pools::raydium_clmm::RaydiumClmm;
use crate::pools::raydium_cpmm::RaydiumCpmm;
use crate::pools::raydium_v4::RaydiumV4;
use crate::programs::{METEORA_DLMM, ORCA_WHIRLPOOL, RAYDIUM_CLMM, RAYDIUM_CPMM, RAYDIUM_V4};

/// What a pool's own account says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    V4(RaydiumV4),
    Cpmm(RaydiumCpmm),
    Clmm(Box<RaydiumClmm>),
    Dlmm(Box<MeteoraDlmm>),
    Orca(Box<OrcaWhirlpool>),
}

impl Layout {
    /// Reads a pool's own account, by the program that it belongs to.
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, PoolError> {
        match account.owner {
            RAYDIUM_V4 => Ok(Self::V4(RaydiumV4::decode(address, account)?)),
            RAYDIUM_CPMM => Ok(Self::Cpmm(RaydiumCpmm::decode(address, account)?)),
            RAYDIUM_CLMM => Ok(Self::Clmm(RaydiumClmm::decode(address, account)?.into())),
            METEORA_DLMM => Ok(Self::Dlmm(MeteoraDlmm::decode(address, account)?.into())),
            ORCA_WHIRLPOOL => Ok(Self::Orca(OrcaWhirlpool::decode(address, account)?.into())),
            _ => Err(PoolError::UnknownProgram(address)),
        }
    }

    /// Returns the tokens a and b.
    pub(crate) fn mints(&self) -> [Pubkey; 2] {
        match self {
            Self::V4(pool) => pool.mints(),
            Self::Cpmm(pool) => pool.mints(),
            Self::Clmm(pool) => pool.mints(),
            Self::Dlmm(pool) => pool.mints(),
            Self::Orca(pool) => pool.mints(),
        }
    }

    /// Returns the further accounts that a snapshot needs.
    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        match self {
            Self::V4(pool) => pool.parts(),
            Self::Cpmm(pool) => pool.parts(),
            Self::Clmm(pool) => pool.parts(),
            Self::Dlmm(pool) => pool.parts(),
            Self::Orca(pool) => pool.parts(),
        }
    }

    /// Learns from the further accounts what the pool's own does not say and its swaps need.
    pub(crate) fn learn(&mut self, parts: &Parts) -> Result<(), PoolError> {
        match self {
            Self::Orca(pool) => pool.learn(parts),
            Self::V4(_) | Self::Cpmm(_) | Self::Clmm(_) | Self::Dlmm(_) => Ok(()),
        }
    }

    /// Returns the snapshot.
    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        match self {
            Self::V4(pool) => pool.pool(parts),
            Self::Cpmm(pool) => pool.pool(parts),
            Self::Clmm(pool) => pool.pool(parts),
            Self::Dlmm(pool) => pool.pool(parts),
            Self::Orca(pool) => pool.pool(parts),
        }
    }

    /// Returns how many arrays of ticks or bins a swap names.
    pub(crate) fn arrays(&self, sells_a: bool) -> usize {
        match self {
            Self::V4(_) | Self::Cpmm(_) => 0,
            Self::Clmm(pool) => pool.arrays(sells_a).len(),
            Self::Dlmm(pool) => pool.arrays(sells_a).len(),
            Self::Orca(pool) => pool.arrays(sells_a).len(),
        }
    }

    /// Returns the most compute units that a swap uses which names so many arrays, as the test `swaps` measures them. A trade
    /// through more than forty bins of a DLMM pair or a hundred groups of ticks of a Whirlpool whose fee adapts, which are some
    /// percent of its price, uses more.
    pub(crate) const fn compute_units(&self, arrays: u32) -> u32 {
        let (alone, per_array) = match self {
            Self::V4(_) => (25_000, 0),
            Self::Cpmm(_) => (40_000, 0),
            Self::Clmm(_) => (90_000, 60_000),
            Self::Dlmm(_) => (80_000, 80_000),
            Self::Orca(pool) if pool.is_adaptive() => (60_000, 180_000),
            Self::Orca(_) => (60_000, 45_000),
        };
        alone + arrays * per_array
    }

    /// Returns the instruction of a swap.
    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        match self {
            Self::V4(pool) => pool.swap(swap),
            Self::Cpmm(pool) => pool.swap(swap),
            Self::Clmm(pool) => pool.swap(swap),
            Self::Dlmm(pool) => pool.swap(swap),
            Self::Orca(pool) => pool.swap(swap),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::programs::{CLOCK, TOKEN};

    /// The programs, how long an account of each is, and what it begins with.
    const KINDS: [(Pubkey, usize, [u8; 8]); 5] = [
        (RAYDIUM_V4, 752, [6, 0, 0, 0, 0, 0, 0, 0]),
        (RAYDIUM_CPMM, 637, [247, 237, 227, 245, 215, 195, 222, 70]),
        (RAYDIUM_CLMM, 1_544, [247, 237, 227, 245, 215, 195, 222, 70]),
        (METEORA_DLMM, 904, [33, 11, 49, 98, 181, 101, 177, 13]),
        (ORCA_WHIRLPOOL, 653, [63, 149, 209, 12, 225, 128, 99, 9]),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever an account holds, it is a pool or an error, and no panic.
        #[test]
        fn any_bytes_are_a_pool_or_an_error(
            kind in 0_usize..5,
            mut data in proptest::collection::vec(any::<u8>(), 1_544),
            of_parts in proptest::collection::vec(any::<u8>(), 10_240),
            owner in prop_oneof![Just(TOKEN), Just(RAYDIUM_CPMM), Just(RAYDIUM_CLMM), Just(METEORA_DLMM), Just(ORCA_WHIRLPOOL)],
            sells_a in any::<bool>(),
        ) {
            let (program, bytes, beginning) = KINDS[kind];
            data.truncate(bytes);
            data[..8].copy_from_slice(&beginning);
            let address = Pubkey::new_from_array([7; 32]);
            let account = Account { owner: program, lamports: 1, data };
            if let Ok(layout) = Layout::decode(address, &account) {
                let part = Account { owner, lamports: 1, data: of_parts };
                let named = layout.parts().into_iter().chain([CLOCK]);
                let accounts: BTreeMap<_, _> = named.map(|address| (address, part.clone())).collect();
                let pool = layout.pool(&Parts { slot: 1, accounts });
                prop_assert!(pool.is_ok() || !pool.unwrap_err().to_string().is_empty());
                let (wallet, source, destination) = (address, address, address);
                let swap = PoolSwap { wallet, source, destination, amount_in: 1, min_amount_out: 1, sells_a };
                prop_assert_eq!(layout.swap(&swap).program_id, program);
            }
        }
    }

    #[test]
    fn an_account_that_is_too_short_or_of_another_program_is_refused() {
        for (program, bytes, beginning) in KINDS {
            let mut data = vec![0; bytes - 1];
            data[..8].copy_from_slice(&beginning);
            let account = Account { owner: program, lamports: 1, data };
            assert!(Layout::decode(Pubkey::default(), &account).is_err(), "{program}");
        }
        let foreign = Account { owner: TOKEN, lamports: 1, data: vec![0; 2_000] };
        let error = Layout::decode(Pubkey::default(), &foreign).unwrap_err();
        assert_eq!(error, PoolError::UnknownProgram(Pubkey::default()));
    }
}
