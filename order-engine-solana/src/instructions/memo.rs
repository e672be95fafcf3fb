//! Text in a transaction, by which its order is found.

use order_engine_core::OrderId;
use solana_instruction::Instruction;

use crate::instructions::instruction;
use crate::programs::MEMO;

/// What the memo of an order begins with.
pub(crate) const PREFIX: &str = "order-engine:";

/// Writes a text into the transaction.
pub fn memo(text: &str) -> Instruction {
    instruction(MEMO, Vec::new(), &[text.as_bytes()])
}

/// Returns the text that ties a transaction to its order: `order-engine:` and the order's id.
pub fn tag(order: OrderId) -> String {
    format!("{PREFIX}{order}")
}

/// Returns whether the memos of a transaction, as a node lists them, have this text as one whole memo.
///
/// A node writes the length in bytes before each: `[49] text; [5] other`.
pub(crate) fn lists(memos: &str, text: &str) -> bool {
    let entry = format!("[{}] {text}", text.len());
    // A memo of somebody else may contain the entry, but then it is in the middle of a longer one.
    memos == entry
        || memos.starts_with(&format!("{entry}; "))
        || memos.ends_with(&format!("; {entry}"))
        || memos.contains(&format!("; {entry}; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_text_without_accounts() {
        let order = OrderId::from_bytes([7; 16]);
        let written = memo(&tag(order));
        assert_eq!(written.data, format!("order-engine:{order}").into_bytes());
        assert_eq!((written.program_id, written.accounts.len()), (MEMO, 0));
    }

    #[test]
    fn a_memo_is_found_whole_among_others() {
        assert!(lists("[3] abc", "abc"));
        assert!(lists("[1] x; [3] abc", "abc"));
        assert!(lists("[3] abc; [1] x", "abc"));
        assert!(lists("[1] x; [3] abc; [1] y", "abc"));
        assert!(!lists("[4] abcd", "abc"));
        assert!(!lists("[3] abcd", "abc"));
        assert!(!lists("", "abc"));
    }
}
