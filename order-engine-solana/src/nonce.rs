//! Durable nonces: accounts whose value stands for the recent blockhash of a transaction.
//!
//! A transaction with the value of a nonce account may land as long as the account has it, however long that is. Every
//! transaction that advances the account, a failed one too, gives it another value, which nobody can foretell; and no
//! transaction with the old one can land any more.

use solana_hash::Hash;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::draft::Lifetime;
use crate::instructions::system;
use crate::programs::SYSTEM;

/// The bytes of a nonce account.
pub const NONCE_ACCOUNT_BYTES: u64 = 80;
/// The state of an account that has a value.
const INITIALIZED: u32 = 1;

/// What a nonce account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableNonce {
    /// The account.
    pub account: Pubkey,
    /// Who advances it.
    pub authority: Pubkey,
    /// Its value.
    pub value: Hash,
}

impl DurableNonce {
    /// Reads a nonce account.
    ///
    /// # Errors
    /// If the account is none, or has no value yet.
    pub fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        if account.owner != SYSTEM {
            return Err(LayoutError::ForeignOwner(address));
        }
        let bytes_min = usize::try_from(NONCE_ACCOUNT_BYTES).unwrap_or(usize::MAX);
        let fields = Fields::of(&account.data, bytes_min).filter(|fields| fields.u32(4) == INITIALIZED);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "nonce account"))?;
        Ok(Self {
            account: address,
            authority: fields.address(8),
            value: Hash::new_from_array(fields.array(40)),
        })
    }

    /// Returns the life of a transaction with this value.
    pub const fn lifetime(&self) -> Lifetime {
        Lifetime::DurableNonce { account: self.account, authority: self.authority, value: self.value }
    }
}

/// Makes a nonce account that holds so many lamports: at least the rent of [`NONCE_ACCOUNT_BYTES`]. The payer and the new
/// account sign.
pub fn create_nonce_account(
    payer: Pubkey,
    account: Pubkey,
    authority: Pubkey,
    lamports: u64,
) -> [Instruction; 2] {
    [
        system::create_account(payer, account, lamports, NONCE_ACCOUNT_BYTES, SYSTEM),
        system::initialize_nonce(account, authority),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Pubkey = Pubkey::new_from_array([1; 32]);

    fn account(state: u32) -> Account {
        let mut data = vec![0; 80];
        data[0] = 1;
        data[4..8].copy_from_slice(&state.to_le_bytes());
        data[8..40].fill(2);
        data[40..72].fill(3);
        Account { owner: SYSTEM, lamports: 1, data }
    }

    #[test]
    fn the_authority_and_the_value_are_read() {
        let nonce = DurableNonce::decode(KEY, &account(INITIALIZED)).unwrap();
        assert_eq!(nonce.authority, Pubkey::new_from_array([2; 32]));
        assert_eq!(nonce.value, Hash::new_from_array([3; 32]));
        assert_eq!(nonce.account, KEY);
    }

    #[test]
    fn an_account_without_a_value_is_refused() {
        assert!(DurableNonce::decode(KEY, &account(0)).is_err());
        let wallet = Account { data: Vec::new(), ..account(INITIALIZED) };
        assert!(DurableNonce::decode(KEY, &wallet).is_err());
        let foreign = Account { owner: KEY, ..account(INITIALIZED) };
        assert!(DurableNonce::decode(KEY, &foreign).is_err());
    }
}
