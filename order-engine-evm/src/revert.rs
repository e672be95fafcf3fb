//! What it means that a contract reverted.

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Revert, SolError as _};
use order_engine_core::{Failure, FailureClass, FailureCode, StepError};
use serde_json::Value;

use crate::abi::Erc20;
use crate::rpc::RpcError;

/// The wallet has not allowed the router to take what it sells.
pub const ALLOWANCE_MISSING: FailureCode = FailureCode::new("allowance-missing");
/// The pool does not hold enough where the trade would go.
pub const NO_LIQUIDITY: FailureCode = FailureCode::new("no-liquidity");
/// A token moves another amount than it is told to: it takes a fee, or balances change by themselves.
pub const TOKEN_NOT_SUPPORTED: FailureCode = FailureCode::new("token-not-supported");
/// A token refused to move: it is paused, or the wallet is blocked.
pub const TRANSFER_REFUSED: FailureCode = FailureCode::new("transfer-refused");
/// The transaction used all gas that it may.
pub const OUT_OF_GAS: FailureCode = FailureCode::new("out-of-gas");

/// The code with which nodes answer a call that reverted.
const REVERTED: i64 = 3;

/// The reasons that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slippage,
    Expired,
    Allowance,
    InsufficientFunds,
    NoLiquidity,
    UnsupportedToken,
    TransferRefused,
    Other,
}

impl Kind {
    const fn code(self) -> FailureCode {
        match self {
            Self::Slippage => FailureCode::SLIPPAGE,
            Self::Expired => FailureCode::TRANSACTION_EXPIRED,
            Self::Allowance => ALLOWANCE_MISSING,
            Self::InsufficientFunds => FailureCode::INSUFFICIENT_FUNDS,
            Self::NoLiquidity => NO_LIQUIDITY,
            Self::UnsupportedToken => TOKEN_NOT_SUPPORTED,
            Self::TransferRefused => TRANSFER_REFUSED,
            Self::Other => FailureCode::TRANSACTION_FAILED,
        }
    }

    /// Whether another quote can help.
    const fn class(self) -> FailureClass {
        match self {
            Self::Slippage | Self::Expired | Self::NoLiquidity | Self::Other => FailureClass::Requote,
            Self::Allowance | Self::InsufficientFunds | Self::UnsupportedToken | Self::TransferRefused => {
                FailureClass::Permanent
            }
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Slippage => "The output is below the minimum",
            Self::Expired => "The transaction came after its deadline",
            Self::Allowance => "The wallet has not allowed the router to take what it sells",
            Self::InsufficientFunds => "The wallet does not hold enough",
            Self::NoLiquidity => "The pool does not hold enough where the trade would go",
            Self::UnsupportedToken => "A token moves another amount than it is told to",
            Self::TransferRefused => "A token refused to move",
            Self::Other => "The transaction failed",
        }
    }
}

/// Returns what the data of a revert means, and whether another attempt can help.
pub(crate) fn failure(data: &[u8]) -> (Failure, FailureClass) {
    let (kind, reason) = decoded(data);
    (Failure::new(kind.code(), format!("{} ({reason})", kind.words())), kind.class())
}

/// Returns the failure of a transaction that used all its gas.
pub(crate) fn out_of_gas() -> (Failure, FailureClass) {
    let message = "The transaction used all gas that it may";
    (Failure::new(OUT_OF_GAS, message), FailureClass::Requote)
}

/// Returns the error of a step whose simulation failed.
pub(crate) fn step_error((failure, class): (Failure, FailureClass)) -> StepError {
    match class {
        FailureClass::Unavailable => StepError::unavailable(failure),
        FailureClass::Transient => StepError::transient(failure),
        FailureClass::Requote => StepError::requote(failure),
        FailureClass::Permanent => StepError::permanent(failure),
    }
}

/// Returns the data of the revert, if a node refused a call because it reverts.
pub(crate) fn revert_data(error: &RpcError) -> Option<Bytes> {
    let RpcError::Refused { code, message, data, .. } = error else { return None };
    let text = data.as_deref().and_then(|data| match data {
        Value::String(text) => Some(text.as_str()),
        // Some nodes put it one level deeper.
        data => data.get("data").and_then(Value::as_str),
    });
    let bytes = text.and_then(|text| hex::decode(text).ok()).map(Bytes::from);
    let is_revert = *code == REVERTED || message.contains("revert");
    is_revert.then(|| bytes.unwrap_or_default())
}

fn decoded(data: &[u8]) -> (Kind, String) {
    if let Ok(Revert { reason }) = Revert::abi_decode(data) {
        return (of_text(&reason), reason);
    }
    if Erc20::ERC20InsufficientBalance::abi_decode(data).is_ok() {
        return (Kind::InsufficientFunds, "ERC20InsufficientBalance".into());
    }
    if Erc20::ERC20InsufficientAllowance::abi_decode(data).is_ok() {
        return (Kind::Allowance, "ERC20InsufficientAllowance".into());
    }
    let reason = match data.len() {
        0 => "without a reason".into(),
        // Four bytes name a custom error or a panic; what follows may be long.
        _ => format!("0x{}", hex::encode(&data[..data.len().min(36)])),
    };
    (Kind::Other, reason)
}

/// Returns the meaning of the reasons of Uniswap's contracts, and of usual tokens.
fn of_text(reason: &str) -> Kind {
    match reason {
        "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT"
        | "UniswapV2Router: EXCESSIVE_INPUT_AMOUNT"
        | "Too little received"
        | "Too much requested"
        | "Insufficient WETH9"
        | "Insufficient token" => Kind::Slippage,
        "UniswapV2Router: EXPIRED" | "Transaction too old" => Kind::Expired,
        "ERC20: insufficient allowance" | "ERC20: transfer amount exceeds allowance" => Kind::Allowance,
        "ERC20: transfer amount exceeds balance" => Kind::InsufficientFunds,
        "UniswapV2: INSUFFICIENT_LIQUIDITY"
        | "UniswapV2Library: INSUFFICIENT_LIQUIDITY"
        | "UniswapV2: INSUFFICIENT_OUTPUT_AMOUNT"
        | "UniswapV2Library: INSUFFICIENT_INPUT_AMOUNT"
        | "SPL" => Kind::NoLiquidity,
        // The pair got less than it was told that it would get.
        "UniswapV2: K" | "UniswapV2: INSUFFICIENT_INPUT_AMOUNT" | "IIA" => Kind::UnsupportedToken,
        // Whether it is the balance or the allowance has been asked before.
        "TransferHelper: TRANSFER_FROM_FAILED"
        | "TransferHelper: TRANSFER_FAILED"
        | "UniswapV2: TRANSFER_FAILED"
        | "STF"
        | "ST"
        | "TF" => Kind::TransferRefused,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};
    use serde_json::json;

    use super::*;

    fn code(reason: &str) -> (String, FailureClass) {
        let (failure, class) = failure(&Revert::from(reason).abi_encode());
        assert!(failure.message.ends_with(&format!("({reason})")), "{failure}");
        (failure.code.as_str().to_owned(), class)
    }

    #[test]
    fn a_missed_minimum_is_slippage_in_every_contract() {
        for reason in [
            "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT",
            "Too little received",
            "Insufficient WETH9",
            "Insufficient token",
        ] {
            assert_eq!(code(reason), ("slippage".into(), FailureClass::Requote));
        }
    }

    #[test]
    fn each_reason_has_its_code_and_class() {
        assert_eq!(code("Transaction too old"), ("transaction-expired".into(), FailureClass::Requote));
        assert_eq!(code("UniswapV2Router: EXPIRED").0, "transaction-expired");
        assert_eq!(code("UniswapV2: K"), ("token-not-supported".into(), FailureClass::Permanent));
        assert_eq!(code("STF"), ("transfer-refused".into(), FailureClass::Permanent));
        assert_eq!(code("SPL").0, "no-liquidity");
        assert_eq!(code("something new"), ("transaction-failed".into(), FailureClass::Requote));
        let (missing, _) = failure(&[]);
        assert_eq!(missing.message, "The transaction failed (without a reason)");
    }

    #[test]
    fn custom_errors_of_tokens_are_known() {
        let (owner, needed) = (Address::ZERO, U256::from(1));
        let balance = Erc20::ERC20InsufficientBalance { sender: owner, balance: U256::ZERO, needed };
        assert_eq!(failure(&balance.abi_encode()).0.code, FailureCode::INSUFFICIENT_FUNDS);
        let allowance = Erc20::ERC20InsufficientAllowance { spender: owner, allowance: U256::ZERO, needed };
        assert_eq!(failure(&allowance.abi_encode()).0.code, ALLOWANCE_MISSING);
        let (other, _) = failure(&[0xde, 0xad, 0xbe, 0xef, 1]);
        assert_eq!(other.message, "The transaction failed (0xdeadbeef01)");
    }

    #[test]
    fn the_data_of_a_revert_is_found_where_nodes_put_it() {
        let refused = |code, message: &str, data: Value| RpcError::Refused {
            code,
            message: message.into(),
            data: Some(Box::new(data)),
            may_pass: false,
        };
        let found = |error| revert_data(&error).map(|data| data.to_vec());
        assert_eq!(found(refused(3, "execution reverted", json!("0x01"))), Some(vec![1]));
        assert_eq!(found(refused(-32_000, "execution reverted", json!({ "data": "0x02" }))), Some(vec![2]));
        assert_eq!(found(refused(-32_000, "execution reverted", Value::Null)), Some(vec![]));
        assert_eq!(found(refused(-32_000, "nonce too low", Value::Null)), None);
    }
}
