//! What the errors of programs mean for an order.

use order_engine_core::{Failure, FailureClass, FailureCode};
use serde_json::Value;
use solana_pubkey::Pubkey;

use crate::programs::{
    ASSOCIATED_TOKEN, METEORA_DLMM, ORCA_WHIRLPOOL, RAYDIUM_CLMM, RAYDIUM_CPMM, RAYDIUM_V4, SYSTEM, TOKEN,
    TOKEN_2022,
};

/// The pool is disabled by its exchange, or its program does not say whether it is that or not open yet.
pub const POOL_PAUSED: FailureCode = FailureCode::new("pool-paused");
/// The pool opens later.
pub const POOL_NOT_OPEN: FailureCode = FailureCode::new("pool-not-open");
/// The pool, or the part of it that the transaction names, does not hold enough for the trade.
pub const NO_LIQUIDITY: FailureCode = FailureCode::new("no-liquidity");
/// An account that the transaction needs does not exist, or is another one than it should be.
pub const ACCOUNT_MISSING: FailureCode = FailureCode::new("account-missing");
/// The transaction used more compute units than it may.
pub const COMPUTE_EXCEEDED: FailureCode = FailureCode::new("compute-exceeded");
/// A token account is frozen by who issues the token.
pub const ACCOUNT_FROZEN: FailureCode = FailureCode::new("account-frozen");

/// The kinds of errors that are known by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slippage,
    Paused,
    NotOpen,
    NoLiquidity,
    InsufficientFunds,
    AccountMissing,
    ComputeExceeded,
    Frozen,
    Other,
}

impl Kind {
    const fn code(self) -> FailureCode {
        match self {
            Self::Slippage => FailureCode::SLIPPAGE,
            Self::Paused => POOL_PAUSED,
            Self::NotOpen => POOL_NOT_OPEN,
            Self::NoLiquidity => NO_LIQUIDITY,
            Self::InsufficientFunds => FailureCode::INSUFFICIENT_FUNDS,
            Self::AccountMissing => ACCOUNT_MISSING,
            Self::ComputeExceeded => COMPUTE_EXCEEDED,
            Self::Frozen => ACCOUNT_FROZEN,
            Self::Other => FailureCode::TRANSACTION_FAILED,
        }
    }

    /// Whether another quote can help. Another route avoids a closed pool, and another simulation sees what is
    /// missing and how many units it takes.
    const fn class(self) -> FailureClass {
        match self {
            Self::InsufficientFunds | Self::Frozen => FailureClass::Permanent,
            Self::NotOpen => FailureClass::Transient,
            _ => FailureClass::Requote,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Slippage => "The output is below the minimum",
            Self::Paused => "The pool is disabled or not open",
            Self::NotOpen => "The pool is not open yet",
            Self::NoLiquidity => "The pool does not hold enough where the trade would go",
            Self::InsufficientFunds => "The wallet does not hold enough",
            Self::AccountMissing => "An account is missing, or another one than it should be",
            Self::ComputeExceeded => "The transaction used more compute units than it may",
            Self::Frozen => "A token account is frozen",
            Self::Other => "The transaction failed",
        }
    }
}

/// Returns what the error of a transaction means, and whether another attempt can help.
///
/// `err` is the error as nodes write it, `logs` what the programs logged, and `program` tells the program of an
/// instruction by its number.
pub(crate) fn failure(
    err: &Value,
    logs: &[String],
    program: impl Fn(usize) -> Option<Pubkey>,
) -> (Failure, FailureClass) {
    let kind = kind(err, logs, program);
    (Failure::new(kind.code(), format!("{} ({err})", kind.words())), kind.class())
}

fn kind(err: &Value, logs: &[String], program: impl Fn(usize) -> Option<Pubkey>) -> Kind {
    let Some(instruction) = err.get("InstructionError") else {
        return of_transaction(err);
    };
    let number = instruction.get(0).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let reason = instruction.get(1).unwrap_or(&Value::Null);
    match reason.get("Custom").and_then(Value::as_u64) {
        // A program that another one called passes its own code on, so the innermost one says whose code it is.
        Some(code) => {
            let called = innermost_failure(logs).or_else(|| number.and_then(program));
            called.map_or(Kind::Other, |program| of_program(program, code))
        }
        None => of_instruction(reason.as_str().unwrap_or_default(), logs),
    }
}

/// Returns the program that failed first: the innermost one of those that called each other.
fn innermost_failure(logs: &[String]) -> Option<Pubkey> {
    logs.iter().find_map(|line| {
        let (program, rest) = line.strip_prefix("Program ")?.split_once(' ')?;
        rest.starts_with("failed").then(|| program.parse().ok())?
    })
}

fn of_transaction(err: &Value) -> Kind {
    if err.get("InsufficientFundsForRent").is_some() {
        return Kind::InsufficientFunds;
    }
    match err.as_str().unwrap_or_default() {
        // The last of them is a payer that has nothing at all.
        "InsufficientFundsForFee" | "InvalidAccountForFee" | "AccountNotFound" => Kind::InsufficientFunds,
        "ProgramAccountNotFound" | "AddressLookupTableNotFound" | "InvalidAddressLookupTableIndex" => {
            Kind::AccountMissing
        }
        "WouldExceedMaxBlockCostLimit" | "WouldExceedMaxAccountCostLimit" => Kind::ComputeExceeded,
        _ => Kind::Other,
    }
}

fn of_instruction(reason: &str, logs: &[String]) -> Kind {
    match reason {
        "ComputationalBudgetExceeded" => Kind::ComputeExceeded,
        "ProgramFailedToComplete" if ran_out_of_units(logs) => Kind::ComputeExceeded,
        "InsufficientFunds" => Kind::InsufficientFunds,
        "UninitializedAccount" | "MissingAccount" | "NotEnoughAccountKeys" => Kind::AccountMissing,
        _ => Kind::Other,
    }
}

fn ran_out_of_units(logs: &[String]) -> bool {
    logs.iter()
        .any(|line| line.contains("exceeded CUs meter") || line.contains("Computational budget exceeded"))
}

fn of_program(program: Pubkey, code: u64) -> Kind {
    match program {
        RAYDIUM_V4 => of_raydium_v4(code),
        RAYDIUM_CPMM => of_raydium_cpmm(code),
        RAYDIUM_CLMM => of_raydium_clmm(code),
        METEORA_DLMM => of_meteora_dlmm(code),
        ORCA_WHIRLPOOL => of_orca_whirlpool(code),
        TOKEN | TOKEN_2022 => of_token(code),
        SYSTEM if code == 1 => Kind::InsufficientFunds,
        ASSOCIATED_TOKEN => Kind::AccountMissing,
        _ => Kind::Other,
    }
}

/// Its errors are numbered from zero.
const fn of_raydium_v4(code: u64) -> Kind {
    match code {
        22 => Kind::Paused,
        30 => Kind::Slippage,
        40 => Kind::InsufficientFunds,
        _ => Kind::Other,
    }
}

const fn of_raydium_cpmm(code: u64) -> Kind {
    match code {
        6000 => Kind::Paused,
        6005 => Kind::Slippage,
        _ => of_anchor(code),
    }
}

const fn of_raydium_clmm(code: u64) -> Kind {
    match code {
        2505 => Kind::NotOpen,
        6001 => Kind::Paused,
        6022 => Kind::Slippage,
        6027 | 6040 => Kind::NoLiquidity,
        _ => of_anchor(code),
    }
}

const fn of_meteora_dlmm(code: u64) -> Kind {
    match code {
        6003 => Kind::Slippage,
        // Bin arrays are missing in the transaction, or at the end of the pool.
        3005 | 6036 => Kind::NoLiquidity,
        6042 => Kind::Paused,
        _ => of_anchor(code),
    }
}

const fn of_orca_whirlpool(code: u64) -> Kind {
    match code {
        6036 => Kind::Slippage,
        // The arrays that the transaction names end before the trade, or the price has left them.
        6023 | 6038 | 6057 => Kind::NoLiquidity,
        6064 => Kind::NotOpen,
        _ => of_anchor(code),
    }
}

/// Returns the meaning of the codes that all programs built with Anchor share.
const fn of_anchor(code: u64) -> Kind {
    match code {
        3007 | 3012 => Kind::AccountMissing,
        _ => Kind::Other,
    }
}

const fn of_token(code: u64) -> Kind {
    match code {
        1 => Kind::InsufficientFunds,
        17 => Kind::Frozen,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn custom(program: Pubkey, code: u64) -> (String, FailureClass) {
        let err = json!({ "InstructionError": [2, { "Custom": code }] });
        let (failure, class) = failure(&err, &[], |index| (index == 2).then_some(program));
        (failure.code.as_str().to_owned(), class)
    }

    #[test]
    fn an_impossible_minimum_is_slippage_in_every_program() {
        for (program, code) in [
            (RAYDIUM_V4, 30),
            (RAYDIUM_CPMM, 6005),
            (RAYDIUM_CLMM, 6022),
            (METEORA_DLMM, 6003),
            (ORCA_WHIRLPOOL, 6036),
        ] {
            assert_eq!(custom(program, code), ("slippage".into(), FailureClass::Requote), "{program}");
        }
    }

    #[test]
    fn a_code_means_what_its_own_program_says() {
        // Out of bin arrays there, below the minimum here.
        assert_eq!(custom(METEORA_DLMM, 6036).0, "no-liquidity");
        assert_eq!(custom(ORCA_WHIRLPOOL, 6036).0, "slippage");
        assert_eq!(custom(RAYDIUM_V4, 22).0, "pool-paused");
        assert_eq!(custom(RAYDIUM_CLMM, 2505), ("pool-not-open".into(), FailureClass::Transient));
        assert_eq!(custom(RAYDIUM_V4, 1).0, "transaction-failed");
        assert_eq!(custom(TOKEN, 1), ("insufficient-funds".into(), FailureClass::Permanent));
    }

    #[test]
    fn the_innermost_program_says_whose_code_it_is() {
        let err = json!({ "InstructionError": [0, { "Custom": 1 }] });
        let logs = [
            format!("Program {RAYDIUM_V4} invoke [1]"),
            format!("Program {TOKEN} invoke [2]"),
            format!("Program {TOKEN} failed: custom program error: 0x1"),
            format!("Program {RAYDIUM_V4} failed: custom program error: 0x1"),
        ];
        let of = |logs: &[String]| failure(&err, logs, |_| Some(RAYDIUM_V4)).0.code;
        assert_eq!(of(&logs), FailureCode::INSUFFICIENT_FUNDS);
        assert_eq!(of(&[]), FailureCode::TRANSACTION_FAILED);
    }

    #[test]
    fn errors_of_the_runtime_have_their_meaning() {
        let code = |err: Value, logs: &[String]| failure(&err, logs, |_| None).0.code;
        let stopped = json!({ "InstructionError": [1, "ProgramFailedToComplete"] });
        let out_of_units = "Program X failed: exceeded CUs meter at BPF instruction".to_owned();
        assert_eq!(code(stopped.clone(), &[out_of_units]), COMPUTE_EXCEEDED);
        assert_eq!(code(stopped, &[]), FailureCode::TRANSACTION_FAILED);
        assert_eq!(code(json!("InsufficientFundsForFee"), &[]), FailureCode::INSUFFICIENT_FUNDS);
        assert_eq!(
            code(json!({ "InsufficientFundsForRent": { "account_index": 0 } }), &[]),
            FailureCode::INSUFFICIENT_FUNDS
        );
        assert_eq!(code(json!("AddressLookupTableNotFound"), &[]), ACCOUNT_MISSING);
        assert_eq!(code(Value::Null, &[]), FailureCode::TRANSACTION_FAILED);
    }
}
