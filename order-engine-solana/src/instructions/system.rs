//! Lamports, new accounts and durable nonces.

use sha2::{Digest as _, Sha256};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::instructions::{instruction, readonly, signer, writable, writable_signer};
use crate::programs::{RECENT_BLOCKHASHES, RENT, SYSTEM};

const CREATE_ACCOUNT: u32 = 0;
const TRANSFER: u32 = 2;
const CREATE_ACCOUNT_WITH_SEED: u32 = 3;
const ADVANCE_NONCE: u32 = 4;
const WITHDRAW_NONCE: u32 = 5;
const INITIALIZE_NONCE: u32 = 6;

/// Makes an account of so many bytes that belongs to a program. The new account signs, too.
pub fn create_account(
    payer: Pubkey,
    account: Pubkey,
    lamports: u64,
    space: u64,
    owner: Pubkey,
) -> Instruction {
    let accounts = vec![writable_signer(payer), writable_signer(account)];
    let data = [&lamports.to_le_bytes()[..], &space.to_le_bytes(), owner.as_ref()].concat();
    instruction(SYSTEM, accounts, &[&CREATE_ACCOUNT.to_le_bytes(), &data])
}

/// Makes an account of so many bytes that belongs to a program, at the [address](seeded_address) that the payer and a seed
/// give. Only the payer signs.
pub fn create_account_with_seed(
    payer: Pubkey,
    seed: &str,
    lamports: u64,
    space: u64,
    owner: Pubkey,
) -> Instruction {
    let accounts = vec![writable_signer(payer), writable(seeded_address(payer, seed, owner))];
    let length = u64::try_from(seed.len()).unwrap_or(u64::MAX);
    let seed = [payer.as_ref(), &length.to_le_bytes(), seed.as_bytes()].concat();
    let data = [&seed[..], &lamports.to_le_bytes(), &space.to_le_bytes(), owner.as_ref()].concat();
    instruction(SYSTEM, accounts, &[&CREATE_ACCOUNT_WITH_SEED.to_le_bytes(), &data])
}

/// Returns the address that a wallet and a seed of at most 32 bytes give for an account of this program.
pub fn seeded_address(base: Pubkey, seed: &str, owner: Pubkey) -> Pubkey {
    let hash = Sha256::new().chain_update(base).chain_update(seed).chain_update(owner).finalize();
    Pubkey::new_from_array(hash.into())
}

/// Sends lamports from a wallet to an account.
pub fn transfer(from: Pubkey, to: Pubkey, lamports: u64) -> Instruction {
    let accounts = vec![writable_signer(from), writable(to)];
    instruction(SYSTEM, accounts, &[&TRANSFER.to_le_bytes(), &lamports.to_le_bytes()])
}

/// Makes a new account a nonce account, which this authority advances.
pub fn initialize_nonce(account: Pubkey, authority: Pubkey) -> Instruction {
    let accounts = vec![writable(account), readonly(RECENT_BLOCKHASHES), readonly(RENT)];
    instruction(SYSTEM, accounts, &[&INITIALIZE_NONCE.to_le_bytes(), authority.as_ref()])
}

/// Gives a nonce account its next value. As the first instruction of a transaction it makes the account's value
/// stand for the recent blockhash.
pub fn advance_nonce(account: Pubkey, authority: Pubkey) -> Instruction {
    let accounts = vec![writable(account), readonly(RECENT_BLOCKHASHES), signer(authority)];
    instruction(SYSTEM, accounts, &[&ADVANCE_NONCE.to_le_bytes()])
}

/// Takes lamports out of a nonce account; all of them close it.
pub fn withdraw_nonce(account: Pubkey, authority: Pubkey, to: Pubkey, lamports: u64) -> Instruction {
    let accounts = vec![
        writable(account),
        writable(to),
        readonly(RECENT_BLOCKHASHES),
        readonly(RENT),
        signer(authority),
    ];
    instruction(SYSTEM, accounts, &[&WITHDRAW_NONCE.to_le_bytes(), &lamports.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Pubkey = Pubkey::new_from_array([1; 32]);
    const B: Pubkey = Pubkey::new_from_array([2; 32]);

    #[test]
    fn the_bytes_are_those_of_the_program() {
        assert_eq!(transfer(A, B, 258).data, [2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(advance_nonce(A, B).data, [4, 0, 0, 0]);
        assert_eq!(withdraw_nonce(A, B, A, 1).data, [5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(initialize_nonce(A, B).data, [&[6, 0, 0, 0][..], &[2; 32]].concat());
        let created = create_account(A, B, 1, 80, SYSTEM).data;
        assert_eq!(created, [&[0, 0, 0, 0, 1][..], &[0; 7], &[80], &[0; 7], &[0; 32]].concat());
        let seeded = create_account_with_seed(A, "seed", 1, 80, SYSTEM).data;
        let seed = [&[3, 0, 0, 0][..], &[1; 32], &[4], &[0; 7], b"seed"].concat();
        assert_eq!(seeded, [&seed[..], &[1], &[0; 7], &[80], &[0; 7], &[0; 32]].concat());
    }

    #[test]
    fn only_the_authority_signs_for_a_nonce() {
        let signers = |instruction: &Instruction| -> Vec<Pubkey> {
            instruction.accounts.iter().filter(|meta| meta.is_signer).map(|meta| meta.pubkey).collect()
        };
        assert_eq!(signers(&advance_nonce(A, B)), [B]);
        assert_eq!(signers(&withdraw_nonce(A, B, A, 1)), [B]);
        assert!(signers(&initialize_nonce(A, B)).is_empty());
    }
}
