//! What the instructions of Jupiter's program really say.

use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::instructions::token;
use crate::jupiter::api::ApiError;
use crate::programs::{ASSOCIATED_TOKEN, JUPITER, SYSTEM};
use crate::swap_builder::SwapRequest;

/// The instructions of routes with an exact input, which both end with the same arguments.
const ROUTE: [u8; 8] = [229, 23, 203, 151, 122, 227, 173, 42];
const SHARED_ACCOUNTS_ROUTE: [u8; 8] = [193, 32, 155, 51, 65, 214, 156, 129];
/// The input, the quoted output, the slippage and the fee of a platform.
const END_BYTES: usize = 8 + 8 + 2 + 1;
const ONE_BPS: u128 = 10_000;
/// What of the instruction that makes a token account is checked: its one byte.
const CREATE_IDEMPOTENT: [u8; 1] = [1];

/// Checks that a swap sells exactly what it should out of the wallet's account, enforces the least output itself, pays into the
/// wallet's account and no platform, and has nobody else sign.
pub(super) fn check_swap(swap: &Instruction, request: &SwapRequest<'_>) -> Result<(), ApiError> {
    if swap.program_id != JUPITER {
        return Err(ApiError::Other("an instruction of another program"));
    }
    let is_known = swap.data.starts_with(&ROUTE) || swap.data.starts_with(&SHARED_ACCOUNTS_ROUTE);
    let end = swap.data.len().checked_sub(END_BYTES).filter(|end| is_known && *end >= ROUTE.len());
    let end = end.ok_or(ApiError::Other("an instruction that is not known"))?;
    let number = |at: usize| {
        let bytes = swap.data.get(end + at..end + at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    if number(0) != request.amount_in {
        return Err(ApiError::Other("a swap of another amount"));
    }
    let slippage_bps = u128::from(u16::from_le_bytes([swap.data[end + 16], swap.data[end + 17]]));
    let kept = ONE_BPS.checked_sub(slippage_bps).ok_or(ApiError::Other("a slippage above the whole"))?;
    // Rounded down, in case the program does.
    if u128::from(number(8)) * kept / ONE_BPS < u128::from(request.min_amount_out) {
        return Err(ApiError::Other("a swap that may pay less than the least output"));
    }
    if swap.data[end + 18] != 0 {
        return Err(ApiError::Other("a swap with a fee for a platform"));
    }
    for account in [request.source, request.destination] {
        if !swap.accounts.iter().any(|meta| meta.pubkey == account && meta.is_writable) {
            return Err(ApiError::Other("a swap with other token accounts"));
        }
    }
    check_signers(swap, request.wallet)
}

/// Checks that an instruction before the swap makes a token account of the wallet unless it is there, and nothing else.
pub(super) fn check_setup(setup: &Instruction, wallet: Pubkey) -> Result<(), ApiError> {
    let other = || ApiError::Other("an instruction before the swap that makes no token account");
    let [payer, account, owner, mint, system, program] = setup.accounts.as_slice() else {
        return Err(other());
    };
    let is_own = payer.pubkey == wallet && owner.pubkey == wallet && system.pubkey == SYSTEM;
    let expected = token::associated_account(wallet, mint.pubkey, program.pubkey);
    let makes = setup.program_id == ASSOCIATED_TOKEN && setup.data == CREATE_IDEMPOTENT;
    if !makes || !is_own || account.pubkey != expected {
        return Err(other());
    }
    check_signers(setup, wallet)
}

fn check_signers(instruction: &Instruction, wallet: Pubkey) -> Result<(), ApiError> {
    if instruction.accounts.iter().any(|meta| meta.is_signer && meta.pubkey != wallet) {
        return Err(ApiError::Other("an instruction that somebody else signs"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use order_engine_core::{Amount, Leg};

    use super::*;
    use crate::instructions::{readonly, signer, writable, writable_signer};
    use crate::programs::TOKEN;

    const WALLET: Pubkey = Pubkey::new_from_array([1; 32]);
    const SOURCE: Pubkey = Pubkey::new_from_array([2; 32]);
    const DESTINATION: Pubkey = Pubkey::new_from_array([3; 32]);

    fn swap(kind: [u8; 8], (amount, quoted): (u64, u64), slippage_bps: u16, platform: u8) -> Instruction {
        let plan = [0_u8; 7];
        let end =
            [&amount.to_le_bytes()[..], &quoted.to_le_bytes(), &slippage_bps.to_le_bytes(), &[platform]];
        let data = [&kind[..], &plan, &end.concat()].concat();
        let accounts = vec![readonly(TOKEN), signer(WALLET), writable(SOURCE), writable(DESTINATION)];
        Instruction { program_id: JUPITER, accounts, data }
    }

    fn check(instruction: &Instruction) -> Result<(), String> {
        let leg = Leg::new("Jupiter", "x", ("a", Amount::new(100)), ("b", Amount::new(1_000)));
        let request = SwapRequest::new(&leg, WALLET, (SOURCE, DESTINATION), (100, 990));
        check_swap(instruction, &request).map_err(|error| error.to_string())
    }

    #[test]
    fn a_swap_enforces_the_least_output_itself() {
        assert_eq!(check(&swap(ROUTE, (100, 1_000), 100, 0)), Ok(()));
        assert_eq!(check(&swap(SHARED_ACCOUNTS_ROUTE, (100, 1_000), 100, 0)), Ok(()));
        assert_eq!(check(&swap(ROUTE, (100, 990), 0, 0)), Ok(()));
        for refused in [
            swap(ROUTE, (100, 1_000), 101, 0),
            swap(ROUTE, (100, 989), 0, 0),
            swap(ROUTE, (100, u64::MAX), 10_001, 0),
            swap(ROUTE, (101, 1_000), 0, 0),
            swap(ROUTE, (100, 1_000), 0, 1),
            // Its exact-out relative, and one that is not known.
            swap([208, 51, 239, 151, 123, 43, 237, 92], (100, 1_000), 0, 0),
            swap([0; 8], (100, 1_000), 0, 0),
        ] {
            assert!(check(&refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_swap_is_of_the_wallets_accounts_and_nobody_else_signs() {
        let good = swap(ROUTE, (100, 1_000), 0, 0);
        let with = |change: &dyn Fn(&mut Instruction)| {
            let mut changed = good.clone();
            change(&mut changed);
            check(&changed)
        };
        assert!(with(&|swap| swap.program_id = TOKEN).is_err());
        assert!(with(&|swap| swap.accounts[3].pubkey = TOKEN).is_err());
        assert!(with(&|swap| swap.accounts[2].is_writable = false).is_err());
        assert!(with(&|swap| swap.accounts.push(signer(TOKEN))).is_err());
        assert!(with(&|swap| swap.data.truncate(20)).is_err());
        assert!(with(&|swap| swap.accounts.push(readonly(TOKEN))).is_ok());
    }

    #[test]
    fn only_token_accounts_of_the_wallet_are_made_before() {
        let mint = Pubkey::new_from_array([9; 32]);
        let create = token::create_associated(WALLET, WALLET, mint, TOKEN);
        assert!(check_setup(&create, WALLET).is_ok());
        assert!(check_setup(&token::create_associated(WALLET, SOURCE, mint, TOKEN), WALLET).is_err());
        assert!(check_setup(&token::close(SOURCE, DESTINATION, WALLET), WALLET).is_err());
        let mut other = create.clone();
        other.accounts[1] = writable(DESTINATION);
        assert!(check_setup(&other, WALLET).is_err());
        let mut signed = create;
        signed.accounts[3] = writable_signer(mint);
        assert!(check_setup(&signed, WALLET).is_err());
    }
}
