//! The accounts of a pool besides its own.

use std::collections::BTreeMap;

use order_engine_core::Amount;
use order_engine_routing::{InvalidPool, Moment};
use solana_instruction::{AccountMeta, Instruction};
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::programs::{CLOCK, TOKEN, TOKEN_2022};

/// Why there is no snapshot of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The account belongs to no program whose pools are known here.
    #[error("{0} belongs to no known exchange")]
    UnknownProgram(Pubkey),
    /// The account is not what it should be.
    #[error("an account of the pool cannot be read")]
    Layout(#[from] LayoutError),
    /// The pool has something that is not known here.
    #[error("the pool {pool} has {what}, which is not supported")]
    Unsupported {
        /// The pool.
        pool: Pubkey,
        /// What it has.
        what: &'static str,
    },
    /// No quorum of nodes tells the same of the pool: it changes just now, or a node lies.
    #[error("no quorum of nodes tells the same of the pool {0}")]
    Disagreement(Pubkey),
    /// The numbers of the pool make no curve: it is empty, for instance.
    #[error("the pool has no valid curve")]
    Invalid(#[source] InvalidPool),
}

impl From<InvalidPool> for PoolError {
    fn from(error: InvalidPool) -> Self {
        Self::Invalid(error)
    }
}

/// The accounts that were read at one slot.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) slot: u64,
    pub(crate) accounts: BTreeMap<Pubkey, Account>,
}

impl Parts {
    pub(crate) fn get(&self, address: Pubkey) -> Result<&Account, LayoutError> {
        self.accounts.get(&address).ok_or(LayoutError::Missing(address))
    }

    /// Returns the fields of an account of a program, which has this many bytes at least.
    pub(crate) fn fields(
        &self,
        address: Pubkey,
        owner: Pubkey,
        (bytes_min, kind): (usize, &'static str),
    ) -> Result<Fields<'_>, LayoutError> {
        let account = self.get(address)?;
        if account.owner != owner {
            return Err(LayoutError::ForeignOwner(address));
        }
        Fields::of(&account.data, bytes_min).ok_or(LayoutError::OtherKind(address, kind))
    }

    /// Returns how many tokens a token account has.
    pub(crate) fn tokens(&self, address: Pubkey) -> Result<u64, LayoutError> {
        let account = self.get(address)?;
        if ![TOKEN, TOKEN_2022].contains(&account.owner) {
            return Err(LayoutError::ForeignOwner(address));
        }
        let fields = Fields::of(&account.data, 165);
        Ok(fields.ok_or(LayoutError::OtherKind(address, "token account"))?.u64(64))
    }

    /// Returns the chain's epoch.
    pub(crate) fn epoch(&self) -> Result<u64, LayoutError> {
        let fields = Fields::of(&self.get(CLOCK)?.data, 40).ok_or(LayoutError::OtherKind(CLOCK, "clock"))?;
        Ok(fields.u64(16))
    }

    /// Returns the chain's time.
    pub(crate) fn time(&self) -> Result<Moment, LayoutError> {
        let fields = Fields::of(&self.get(CLOCK)?.data, 40).ok_or(LayoutError::OtherKind(CLOCK, "clock"))?;
        let seconds = u64::try_from(fields.i64(32)).map_err(|_| LayoutError::Impossible(CLOCK, "time"))?;
        Ok(Moment::from_unix_seconds(seconds))
    }
}

/// A swap with one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSwap {
    pub(crate) wallet: Pubkey,
    pub(crate) source: Pubkey,
    pub(crate) destination: Pubkey,
    pub(crate) amount_in: u64,
    pub(crate) min_amount_out: u64,
    /// Whether the pool's first token goes in.
    pub(crate) sells_a: bool,
}

impl PoolSwap {
    /// Returns the first of two things and the second, or the other way round if the second token goes in.
    pub(crate) fn orient<T>(&self, a: T, b: T) -> (T, T) {
        if self.sells_a { (a, b) } else { (b, a) }
    }

    /// Returns an instruction with the amounts after its discriminator, and something behind them.
    pub(crate) fn instruction(
        &self,
        program_id: Pubkey,
        accounts: Vec<AccountMeta>,
        discriminator: &[u8],
        behind: &[u8],
    ) -> Instruction {
        let amounts = [self.amount_in.to_le_bytes(), self.min_amount_out.to_le_bytes()].concat();
        let data = [discriminator, &amounts, behind].concat();
        Instruction { program_id, accounts, data }
    }
}

/// Returns what is left of a vault that also holds what is not the pool's.
pub(crate) fn reserve(vault: u64, others: &[u64], pool: Pubkey) -> Result<Amount, LayoutError> {
    let left = others.iter().try_fold(vault, |left, other| left.checked_sub(*other));
    let left = left.ok_or(LayoutError::Impossible(pool, "vault: it holds less than it owes"))?;
    Ok(Amount::new(u128::from(left)))
}

/// Returns the moment at which a pool opens, if it names one.
pub(crate) fn opening(unix_seconds: u64) -> Option<Moment> {
    (unix_seconds > 0).then(|| Moment::from_unix_seconds(unix_seconds))
}
