//! The accounts whose transactions the venue signs.

use std::fmt::Write as _;

use order_engine_core::{AccountId, OrderId};
use sha2::{Digest, Sha256};

use crate::chance;

/// The bytes of an address, as on chains of the EVM.
const ADDRESS_BYTES: usize = 20;

/// Some accounts, over which orders are spread.
#[derive(Clone, Debug)]
pub(crate) struct Wallets {
    /// At least one.
    accounts: Vec<AccountId>,
}

impl Wallets {
    /// Returns so many accounts of the chain with this seed, at least one.
    pub(crate) fn new(seed: u64, accounts: usize) -> Self {
        Self { accounts: (0..accounts.max(1)).map(|index| address(seed, index)).collect() }
    }

    /// Returns these accounts, or `None` if there are none.
    #[cfg(feature = "rpc-client")]
    pub(crate) fn of_accounts(accounts: Vec<AccountId>) -> Option<Self> {
        (!accounts.is_empty()).then_some(Self { accounts })
    }

    /// Returns all accounts.
    pub(crate) fn accounts(&self) -> &[AccountId] {
        &self.accounts
    }

    /// Returns the account of an order. It is always the same, in every process.
    pub(crate) fn account_of(&self, order: OrderId) -> &AccountId {
        let subject = chance::subject(&order.to_string());
        let index = subject % self.accounts.len() as u64;
        &self.accounts[usize::try_from(index).unwrap_or(0)]
    }
}

fn address(seed: u64, index: usize) -> AccountId {
    let hash = Sha256::new()
        .chain_update(b"order-engine-sim account")
        .chain_update(seed.to_be_bytes())
        .chain_update((index as u64).to_be_bytes())
        .finalize();
    let mut text = "0x".to_owned();
    for byte in &hash[..ADDRESS_BYTES] {
        // A write to a string succeeds.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_spread_over_the_accounts_and_keep_theirs() {
        let wallets = Wallets::new(7, 4);
        assert_eq!(wallets.accounts().len(), 4);
        assert_eq!(wallets.accounts()[0].as_str().len(), 42);
        assert_ne!(wallets.accounts()[0], Wallets::new(8, 4).accounts()[0]);
        let order = |number| OrderId::from(uuid::Uuid::from_u128(number));
        for account in wallets.accounts() {
            let count = (0..1_000).filter(|&number| wallets.account_of(order(number)) == account).count();
            assert!((200..300).contains(&count), "{count} of 1000");
        }
        assert_eq!(wallets.account_of(order(9)), Wallets::new(7, 4).account_of(order(9)));
    }
}
