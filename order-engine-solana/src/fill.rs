//! What a landed transaction did, from its own balances.

use order_engine_core::Amount;
use solana_pubkey::Pubkey;

use crate::fees::ComputeBudget;
use crate::instructions::compute_budget::UNITS_MAX;
use crate::programs::{ASSOCIATED_TOKEN, COMPUTE_BUDGET, WRAPPED_SOL};
use crate::rpc::wire::{ByMint, InstructionJson, LandedTransaction, Meta, TokenBalance};

/// The units that an instruction may use where no limit is set.
const UNITS_DEFAULT_PER_INSTRUCTION: u32 = 200_000;
const SET_UNIT_LIMIT: u8 = 2;
const SET_UNIT_PRICE: u8 = 3;
/// Where the mint stands among the accounts of an instruction that makes a token account.
const CREATED_MINT: usize = 3;

/// What a wallet gave and got, in base units. SOL and wrapped SOL are one token here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchanged {
    pub(crate) amount_in: Amount,
    pub(crate) amount_out: Amount,
}

/// Returns what the payer of a transaction gave of one token and got of another one, without the fee and without the
/// rent of its own accounts; nothing if its balances say neither clearly.
///
/// What is left of a token on the way, between the legs of a route, is neither.
pub(crate) fn exchanged(tx: &LandedTransaction) -> Option<Exchanged> {
    let owner = tx.transaction.message.account_keys.first()?;
    let tokens = token_changes(&tx.meta, owner)?;
    let lamports = lamport_change(&tx.meta, owner).checked_add(i128::from(fee_lamports(tx)))?;
    match bought_mint(tx) {
        Some(bought) => exchanged_for(bought, &tokens, lamports),
        None => exchanged_clearly(tokens, lamports),
    }
}

/// Returns the mint of the first instruction that makes a token account unless it is there, by which the venue says what
/// is bought.
fn bought_mint(tx: &LandedTransaction) -> Option<&str> {
    let instructions = &tx.transaction.message.instructions;
    let program = ASSOCIATED_TOKEN.to_string();
    let creates = |one: &&InstructionJson| tx.account(one.program_id_index) == Some(program.as_str());
    tx.account(*instructions.iter().find(creates)?.accounts.get(CREATED_MINT)?)
}

/// Returns what was given for a token that is known. Only what is sold becomes less, because no leg sells more than
/// the legs before it must pay.
fn exchanged_for(bought: &str, tokens: &ByMint, lamports: i128) -> Option<Exchanged> {
    let is_sol = bought == WRAPPED_SOL.to_string();
    let out = if is_sol { lamports } else { tokens.get(bought).copied().unwrap_or(0) };
    let mut sold = tokens.iter().filter(|(mint, change)| **change < 0 && *mint != bought);
    let given = match (sold.next(), sold.next()) {
        (Some((_, change)), None) => *change,
        // What is left of lamports between two other tokens is rent.
        (None, _) if !is_sol => lamports.min(0),
        (None, _) => 0,
        (Some(_), Some(_)) => return None,
    };
    let amount_out = Amount::new(u128::try_from(out).ok()?);
    Some(Exchanged { amount_in: Amount::new(given.unsigned_abs()), amount_out })
}

/// Returns what was given and got where only one token became less and only one more.
fn exchanged_clearly(mut changes: ByMint, lamports: i128) -> Option<Exchanged> {
    let has = |changes: &ByMint, is_sign: fn(&i128) -> bool| {
        changes.values().filter(|change| is_sign(change)).count()
    };
    let is_between_tokens =
        has(&changes, |change| *change < 0) == 1 && has(&changes, |change| *change > 0) == 1;
    // What is left of lamports between two other tokens is rent.
    if !is_between_tokens && lamports != 0 {
        changes.insert(WRAPPED_SOL.to_string(), lamports);
    }
    let one = |is_sign: fn(&i128) -> bool| {
        let mut found = changes.values().filter(|change| is_sign(change));
        match (found.next(), found.next()) {
            (found, None) => Some(Amount::new(found.copied().unwrap_or(0).unsigned_abs())),
            (_, Some(_)) => None,
        }
    };
    Some(Exchanged { amount_in: one(|change| *change < 0)?, amount_out: one(|change| *change > 0)? })
}

/// Returns how the owner's tokens changed, by their mints, without wrapped SOL, which counts as lamports.
fn token_changes(meta: &Meta, owner: &str) -> Option<ByMint> {
    let mut changes = ByMint::new();
    let before = meta.pre_token_balances.iter().flatten().map(|balance| (balance, -1));
    let after = meta.post_token_balances.iter().flatten().map(|balance| (balance, 1));
    for (balance, sign) in before.chain(after).filter(|(balance, _)| is_of(balance, owner)) {
        if balance.mint != WRAPPED_SOL.to_string() {
            let amount: i128 = balance.ui_token_amount.amount.parse().ok()?;
            *changes.entry(balance.mint.clone()).or_default() += sign * amount;
        }
    }
    changes.retain(|_, change| *change != 0);
    Some(changes)
}

/// Returns how the lamports of the payer and of its token accounts changed together.
fn lamport_change(meta: &Meta, owner: &str) -> i128 {
    let mut accounts: Vec<usize> = [&meta.pre_token_balances, &meta.post_token_balances]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|balance| is_of(balance, owner))
        .map(|balance| balance.account_index)
        .chain([0])
        .collect();
    accounts.sort_unstable();
    accounts.dedup();
    let at = |balances: &[u64], index: usize| balances.get(index).copied().map_or(0, i128::from);
    accounts.iter().map(|index| at(&meta.post_balances, *index) - at(&meta.pre_balances, *index)).sum()
}

fn is_of(balance: &TokenBalance, owner: &str) -> bool {
    balance.owner.as_deref() == Some(owner)
}

/// Returns the fee of a transaction, the priority fee included, which some nodes leave out of what they call the fee.
pub(crate) fn fee_lamports(tx: &LandedTransaction) -> u64 {
    let message = &tx.transaction.message;
    let programs: Vec<Option<Pubkey>> = message
        .instructions
        .iter()
        .map(|instruction| message.account_keys.get(instruction.program_id_index)?.parse().ok())
        .collect();
    let budget = |kind: u8| {
        let instructions = message.instructions.iter().zip(&programs);
        instructions.filter(|(_, program)| **program == Some(COMPUTE_BUDGET)).find_map(|(instruction, _)| {
            let data = bs58::decode(&instruction.data).into_vec().ok()?;
            let (first, rest) = data.split_first()?;
            let mut number = [0; 8];
            number.get_mut(..rest.len())?.copy_from_slice(rest);
            (*first == kind).then(|| u64::from_le_bytes(number))
        })
    };
    let others = programs.iter().filter(|program| **program != Some(COMPUTE_BUDGET)).count();
    let by_default =
        u64::try_from(others).unwrap_or(u64::MAX).saturating_mul(u64::from(UNITS_DEFAULT_PER_INSTRUCTION));
    let unit_limit = budget(SET_UNIT_LIMIT).unwrap_or(by_default).min(u64::from(UNITS_MAX));
    let budget = ComputeBudget {
        unit_limit: u32::try_from(unit_limit).unwrap_or(UNITS_MAX),
        unit_price_micro_lamports: budget(SET_UNIT_PRICE).unwrap_or(0),
    };
    tx.meta.fee.max(budget.fee_lamports(message.header.num_required_signatures))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WALLET: &str = "1R6cGA7KDHxUae15kUK27n1zRArCa89hZj9uDMRpbYh";
    const USDC: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v";

    fn tokens(index: usize, mint: &str, owner: &str, amount: u64) -> Value {
        json!({ "accountIndex": index, "mint": mint, "owner": owner, "uiTokenAmount": { "amount": amount.to_string() } })
    }

    /// A transaction of the wallet with a limit of 100,000 units for 10,000 micro-lamports each: 6,000 lamports.
    fn landed(meta: &Value) -> LandedTransaction {
        let data = |kind: u8, number: &[u8]| bs58::encode([&[kind], number].concat()).into_string();
        let instruction = |data: String| json!({ "programIdIndex": 1, "accounts": [], "data": data });
        let budget =
            [data(2, &100_000_u32.to_le_bytes()), data(3, &10_000_u64.to_le_bytes())].map(instruction);
        let message = json!({
            "accountKeys": [WALLET, COMPUTE_BUDGET.to_string()],
            "header": { "numRequiredSignatures": 1 },
            "instructions": budget,
        });
        serde_json::from_value(json!({ "slot": 7, "meta": meta, "transaction": { "message": message } }))
            .unwrap()
    }

    fn amounts(amount_in: u128, amount_out: u128) -> Exchanged {
        Exchanged { amount_in: Amount::new(amount_in), amount_out: Amount::new(amount_out) }
    }

    #[test]
    fn wrapped_and_unwrapped_sol_is_one_token_without_fee_and_rent() {
        // 1,000,000 lamports are sold out of the wallet, which pays the fee and the rent of a new token account.
        let sold = landed(&json!({
            "fee": 5_000,
            "preBalances": [10_000_000, 1, 0], "postBalances": [10_000_000 - 6_000 - 2_039_280 - 1_000_000, 1, 2_039_280],
            "preTokenBalances": [], "postTokenBalances": [tokens(2, USDC, WALLET, 150)],
        }));
        assert_eq!(exchanged(&sold), Some(amounts(1_000_000, 150)));
        // The same out of an account of wrapped SOL, which stays.
        let wrapped = WRAPPED_SOL.to_string();
        let sold = landed(&json!({
            "fee": 6_000,
            "preBalances": [10_000_000, 1, 2_039_280, 9_000_000], "postBalances": [10_000_000 - 6_000, 1, 2_039_280, 8_000_000],
            "preTokenBalances": [tokens(2, USDC, WALLET, 1), tokens(3, &wrapped, WALLET, 6_960_720)],
            "postTokenBalances": [tokens(2, USDC, WALLET, 151), tokens(3, &wrapped, WALLET, 5_960_720)],
        }));
        assert_eq!(exchanged(&sold), Some(amounts(1_000_000, 150)));
        // Bought, and unwrapped by closing the account.
        let bought = landed(&json!({
            "fee": 6_000,
            "preBalances": [10_000_000, 1, 2_039_280], "postBalances": [10_000_000 - 6_000 + 777, 1, 2_039_280],
            "preTokenBalances": [tokens(2, USDC, WALLET, 150)], "postTokenBalances": [tokens(2, USDC, WALLET, 50)],
        }));
        assert_eq!(exchanged(&bought), Some(amounts(100, 777)));
    }

    #[test]
    fn between_two_other_tokens_lamports_do_not_count_nor_do_other_wallets() {
        let swapped = landed(&json!({
            "fee": 6_000,
            "preBalances": [10_000_000, 1, 5, 5, 5], "postBalances": [9_000_000, 1, 5, 5, 5],
            "preTokenBalances": [tokens(2, USDC, WALLET, 10), tokens(4, USDC, "pool", 10)],
            "postTokenBalances": [tokens(2, USDC, WALLET, 7), tokens(3, "other", WALLET, 4), tokens(4, USDC, "pool", 13)],
        }));
        assert_eq!(exchanged(&swapped), Some(amounts(3, 4)));
    }

    /// The same with an instruction that makes the account of what is bought, whose mint comes from a lookup table.
    fn landed_buying(mint: &str, meta: &Value) -> LandedTransaction {
        let mut tx = landed(meta);
        tx.transaction.message.account_keys.push(ASSOCIATED_TOKEN.to_string());
        tx.meta.loaded_addresses.writable = vec!["x".to_owned()];
        tx.meta.loaded_addresses.readonly = vec![mint.to_owned()];
        let accounts = vec![0, 3, 0, 4];
        let creating =
            InstructionJson { program_id_index: 2, accounts, data: bs58::encode([1]).into_string() };
        tx.transaction.message.instructions.push(creating);
        tx
    }

    #[test]
    fn what_is_left_of_a_token_on_the_way_is_neither_sold_nor_bought() {
        let bonk = "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263";
        // The rent of a new account for the token on the way is the wallet's own.
        let (before, after) = ([10_000_000, 1, 5, 0], [10_000_000 - 6_000 - 2_039_280, 1, 5, 2_039_280]);
        let meta = |bought: &str| {
            json!({
                "fee": 6_000, "preBalances": before, "postBalances": after,
                "preTokenBalances": [tokens(2, USDC, WALLET, 10)],
                "postTokenBalances": [tokens(2, USDC, WALLET, 7), tokens(3, bonk, WALLET, 4), tokens(4, bought, WALLET, 50)],
            })
        };
        assert_eq!(exchanged(&landed_buying("other", &meta("other"))), Some(amounts(3, 50)));
        // SOL is bought, and the account of wrapped SOL is closed.
        let mut for_sol = meta("other");
        for_sol["postBalances"][0] = json!(after[0] + 777);
        for_sol["postTokenBalances"].as_array_mut().unwrap().pop();
        let for_sol = landed_buying(&WRAPPED_SOL.to_string(), &for_sol);
        assert_eq!(exchanged(&for_sol), Some(amounts(3, 777)));
        // SOL is sold.
        let of_sol = landed_buying(
            USDC,
            &json!({
                "fee": 6_000, "preBalances": before, "postBalances": [after[0] - 1_000, 1, 5, 2_039_280],
                "preTokenBalances": [tokens(2, USDC, WALLET, 10)],
                "postTokenBalances": [tokens(2, USDC, WALLET, 17), tokens(3, bonk, WALLET, 4)],
            }),
        );
        assert_eq!(exchanged(&of_sol), Some(amounts(1_000, 7)));
        // Two tokens that become less are not clear.
        let unclear = landed_buying(
            USDC,
            &json!({
                "fee": 6_000, "preBalances": [10_000_000, 1, 5, 5, 5], "postBalances": [9_994_000, 1, 5, 5, 5],
                "preTokenBalances": [tokens(2, "x", WALLET, 10), tokens(3, "y", WALLET, 10)],
                "postTokenBalances": [tokens(2, "x", WALLET, 9), tokens(3, "y", WALLET, 9), tokens(4, USDC, WALLET, 9)],
            }),
        );
        assert_eq!(exchanged(&unclear), None);
    }

    #[test]
    fn what_is_not_clear_is_not_guessed() {
        let unclear = landed(&json!({
            "fee": 6_000, "preBalances": [10_000_000, 1], "postBalances": [9_994_000, 1],
            "preTokenBalances": [tokens(2, USDC, WALLET, 10)],
            "postTokenBalances": [tokens(3, "x", WALLET, 4), tokens(4, "y", WALLET, 4)],
        }));
        assert_eq!(exchanged(&unclear), None);
        let nothing = landed(&json!({ "fee": 6_000, "preBalances": [6_000, 1], "postBalances": [0, 1] }));
        assert_eq!(exchanged(&nothing), Some(amounts(0, 0)));
    }
}
