//! A pool of any known exchange.

use order_engine_routing::Pool;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::pools::meteora_dlmm::MeteoraDlmm;
use crate::pools::parts::{Parts, PoolError, PoolSwap};
use crate::pools::raydium_clmm::RaydiumClmm;
use crate::pools::raydium_cpmm::RaydiumCpmm;
use crate::pools::raydium_v4::RaydiumV4;
use crate::programs::{METEORA_DLMM, RAYDIUM_CLMM, RAYDIUM_CPMM, RAYDIUM_V4};

/// What a pool's own account says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    V4(RaydiumV4),
    Cpmm(RaydiumCpmm),
    Clmm(Box<RaydiumClmm>),
    Dlmm(Box<MeteoraDlmm>),
}

impl Layout {
    /// Reads a pool's own account, by the program that it belongs to.
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, PoolError> {
        match account.owner {
            RAYDIUM_V4 => Ok(Self::V4(RaydiumV4::decode(address, account)?)),
            RAYDIUM_CPMM => Ok(Self::Cpmm(RaydiumCpmm::decode(address, account)?)),
            RAYDIUM_CLMM => Ok(Self::Clmm(RaydiumClmm::decode(address, account)?.into())),
            METEORA_DLMM => Ok(Self::Dlmm(MeteoraDlmm::decode(address, account)?.into())),
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
        }
    }

    /// Returns the further accounts that a snapshot needs.
    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        match self {
            Self::V4(pool) => pool.parts(),
            Self::Cpmm(pool) => pool.parts(),
            Self::Clmm(pool) => [pool.parts(), pool.vaults().to_vec()].concat(),
            Self::Dlmm(pool) => pool.parts(),
        }
    }

    /// Returns the snapshot.
    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        match self {
            Self::V4(pool) => pool.pool(parts),
            Self::Cpmm(pool) => pool.pool(parts),
            Self::Clmm(pool) => {
                pool.check_mints(parts)?;
                pool.pool(parts)
            }
            Self::Dlmm(pool) => pool.pool(parts),
        }
    }

    /// Returns the instruction of a swap.
    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        match self {
            Self::V4(pool) => pool.swap(swap),
            Self::Cpmm(pool) => pool.swap(swap),
            Self::Clmm(pool) => pool.swap(swap),
            Self::Dlmm(pool) => pool.swap(swap),
        }
    }
}
