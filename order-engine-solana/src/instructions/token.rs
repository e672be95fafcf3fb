//! Token accounts and transfers.

use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::instructions::{instruction, readonly, signer, writable, writable_signer};
use crate::programs::{ASSOCIATED_TOKEN, SYSTEM, TOKEN};

const TRANSFER: u8 = 3;
const APPROVE: u8 = 4;
const CLOSE_ACCOUNT: u8 = 9;
const SYNC_NATIVE: u8 = 17;
const CREATE_IDEMPOTENT: u8 = 1;

/// The bytes of a token account without extensions.
pub const ACCOUNT_BYTES: u64 = 165;

/// Returns the address of an owner's token account for a mint of this token program.
pub fn associated_account(owner: Pubkey, mint: Pubkey, token_program: Pubkey) -> Pubkey {
    let seeds = [owner.as_ref(), token_program.as_ref(), mint.as_ref()];
    Pubkey::find_program_address(&seeds, &ASSOCIATED_TOKEN).0
}

/// Returns how many tokens an account of these bytes holds; nothing if it is none.
pub(crate) fn amount(data: &[u8]) -> Option<u64> {
    let is_account = data.len() >= 165;
    data.get(64..72).filter(|_| is_account)?.try_into().ok().map(u64::from_le_bytes)
}

/// Makes the owner's [associated account](associated_account) unless there is one.
pub fn create_associated(payer: Pubkey, owner: Pubkey, mint: Pubkey, token_program: Pubkey) -> Instruction {
    let accounts = vec![
        writable_signer(payer),
        writable(associated_account(owner, mint, token_program)),
        readonly(owner),
        readonly(mint),
        readonly(SYSTEM),
        readonly(token_program),
    ];
    instruction(ASSOCIATED_TOKEN, accounts, &[&[CREATE_IDEMPOTENT]])
}

/// Sends tokens from an account to another one, signed by the owner of the first or its delegate.
pub fn transfer(from: Pubkey, to: Pubkey, authority: Pubkey, amount: u64) -> Instruction {
    let accounts = vec![writable(from), writable(to), signer(authority)];
    instruction(TOKEN, accounts, &[&[TRANSFER], &amount.to_le_bytes()])
}

/// Lets a delegate send so many tokens from an account.
pub fn approve(account: Pubkey, delegate: Pubkey, owner: Pubkey, amount: u64) -> Instruction {
    let accounts = vec![writable(account), readonly(delegate), signer(owner)];
    instruction(TOKEN, accounts, &[&[APPROVE], &amount.to_le_bytes()])
}

/// Counts the lamports that an account of wrapped SOL has got as tokens.
pub fn sync_native(account: Pubkey) -> Instruction {
    instruction(TOKEN, vec![writable(account)], &[&[SYNC_NATIVE]])
}

/// Closes an empty token account, or one of wrapped SOL, and sends its lamports to `to`.
pub fn close(account: Pubkey, to: Pubkey, owner: Pubkey) -> Instruction {
    let accounts = vec![writable(account), writable(to), signer(owner)];
    instruction(TOKEN, accounts, &[&[CLOSE_ACCOUNT]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::{TOKEN_2022, WRAPPED_SOL};

    const A: Pubkey = Pubkey::new_from_array([1; 32]);
    const B: Pubkey = Pubkey::new_from_array([2; 32]);

    #[test]
    fn the_bytes_are_those_of_the_program() {
        assert_eq!(transfer(A, B, A, 258).data, [3, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(approve(A, B, A, 1).data, [4, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(close(A, B, A).data, [9]);
        assert_eq!(sync_native(A).data, [17]);
        assert_eq!(create_associated(A, A, WRAPPED_SOL, TOKEN).data, [1]);
    }

    #[test]
    fn an_associated_account_follows_from_owner_mint_and_program_and_has_no_key() {
        let account = associated_account(A, WRAPPED_SOL, TOKEN);
        assert!(!account.is_on_curve());
        assert_eq!(create_associated(B, A, WRAPPED_SOL, TOKEN).accounts[1].pubkey, account);
        for other in [
            associated_account(B, WRAPPED_SOL, TOKEN),
            associated_account(A, B, TOKEN),
            associated_account(A, WRAPPED_SOL, TOKEN_2022),
        ] {
            assert_ne!(account, other);
        }
    }
}
