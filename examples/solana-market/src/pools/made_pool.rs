//! A pool, as the bytes of its accounts.

use order_engine_solana::{Account, KeypairSigner, Pubkey, WalletSigner as _};

use crate::surfpool::Surfpool;

/// A pool, its accounts, and its vaults with what they hold.
pub struct MadePool {
    /// The pool.
    pub address: Pubkey,
    pub(super) accounts: Vec<(Pubkey, Account)>,
    pub(super) vault_owner: Pubkey,
    /// The vaults, and what they hold.
    pub vaults: [(Pubkey, u64); 2],
}

impl MadePool {
    /// Changes bytes of the pool's own account.
    pub(super) fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        let own = self.accounts.iter_mut().find(|(address, _)| *address == self.address);
        own.expect("it has an account").1.data[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Writes the pool into a chain.
    pub async fn write(&self, chain: &Surfpool, mints: [Pubkey; 2]) {
        for (address, account) in &self.accounts {
            chain.set_account(*address, account).await;
        }
        for ((vault, amount), mint) in self.vaults.into_iter().zip(mints) {
            chain.set_token_account(vault, self.vault_owner, mint, amount).await;
        }
    }
}

/// The bytes of an account under construction.
pub(super) struct Data(pub(super) Vec<u8>);

impl Data {
    pub(super) fn new(bytes: usize, kind: &[u8]) -> Self {
        let data = Self(vec![0; bytes]);
        data.with(0, kind)
    }

    pub(super) fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn u64(self, offset: usize, number: u64) -> Self {
        self.with(offset, &number.to_le_bytes())
    }

    pub(super) fn address(self, offset: usize, address: Pubkey) -> Self {
        self.with(offset, address.as_ref())
    }

    pub(super) fn owned_by(self, owner: Pubkey) -> Account {
        Account { owner, lamports: 10_000_000_000, data: self.0 }
    }
}

pub(super) fn any_address() -> Pubkey {
    KeypairSigner::random().address()
}
