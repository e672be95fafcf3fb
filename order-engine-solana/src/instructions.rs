//! Instructions of the programs that every cluster has, byte by byte.

pub mod compute_budget;
pub mod memo;
pub mod system;
pub mod token;

use solana_instruction::{AccountMeta, Instruction};
use solana_pubkey::Pubkey;

/// Returns a writable account that does not sign.
pub(crate) const fn writable(address: Pubkey) -> AccountMeta {
    AccountMeta { pubkey: address, is_signer: false, is_writable: true }
}

/// Returns an account that is only read, and does not sign.
pub(crate) const fn readonly(address: Pubkey) -> AccountMeta {
    AccountMeta { pubkey: address, is_signer: false, is_writable: false }
}

/// Returns an account that signs and is only read.
pub(crate) const fn signer(address: Pubkey) -> AccountMeta {
    AccountMeta { pubkey: address, is_signer: true, is_writable: false }
}

/// Returns a writable account that signs.
pub(crate) const fn writable_signer(address: Pubkey) -> AccountMeta {
    AccountMeta { pubkey: address, is_signer: true, is_writable: true }
}

/// Returns an instruction whose data are these parts, one after the other.
pub(crate) fn instruction(program_id: Pubkey, accounts: Vec<AccountMeta>, data: &[&[u8]]) -> Instruction {
    Instruction { program_id, accounts, data: data.concat() }
}
