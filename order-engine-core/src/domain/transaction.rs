//! A signed transaction, and what a venue reports about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::ids::{AccountId, TxId};
use crate::planted::planted;

/// A transaction that is signed and can be sent, again and again, with one effect at most.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignedTx {
    /// The id under which the venue knows the transaction; it follows from the bytes.
    pub id: TxId,
    /// What is sent, exactly these bytes every time.
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
    /// How long it may land.
    pub validity: Validity,
    /// The least output that the transaction enforces, in base units of the output token.
    pub min_amount_out: Amount,
    /// The most that the chain may take for it, in base units of the chain's own token, if the venue says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fee: Option<Amount>,
}

impl SignedTx {
    /// Returns a transaction that enforces this least output, in base units of the output token.
    pub fn new(
        id: impl Into<TxId>,
        bytes: impl Into<Vec<u8>>,
        validity: Validity,
        min_amount_out: Amount,
    ) -> Self {
        Self { id: id.into(), bytes: bytes.into(), validity, min_amount_out, max_fee: None }
    }

    /// Sets the most that the chain may take for it, in base units of the chain's own token.
    #[must_use]
    pub fn with_max_fee(self, max_fee: Amount) -> Self {
        Self { max_fee: Some(max_fee), ..self }
    }
}

/// Shows no bytes: whoever has them can send them.
impl fmt::Debug for SignedTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedTx")
            .field("id", &self.id)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("validity", &self.validity)
            .field("min_amount_out", &self.min_amount_out)
            .field("max_fee", &self.max_fee)
            .finish()
    }
}

/// A transaction that a venue is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxRef<'a> {
    /// The id under which the venue knows it.
    pub id: &'a TxId,
    /// How long it may land: what a search for it has to cover, and what proves that it never will. Nothing of a
    /// transaction that the chain remembers and the store has forgotten.
    pub validity: Option<&'a Validity>,
}

impl<'a> TxRef<'a> {
    /// Returns a transaction of which no more than the id is known.
    pub const fn by_id(id: &'a TxId) -> Self {
        Self { id, validity: None }
    }

    /// Returns a transaction of this id that may land for so long.
    pub const fn new(id: &'a TxId, validity: &'a Validity) -> Self {
        Self { id, validity: Some(validity) }
    }
}

impl<'a> From<&'a SignedTx> for TxRef<'a> {
    fn from(tx: &'a SignedTx) -> Self {
        Self::new(&tx.id, &tx.validity)
    }
}

/// How long a signed transaction may land. Time alone does not kill one that only a nonce bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// In blocks up to and including this height.
    UntilHeight(u64),
    /// While this is the account's nonce.
    Nonce(AccountNonce),
    /// While both hold.
    NonceUntilHeight {
        /// The account's nonce.
        nonce: AccountNonce,
        /// The last height.
        height: u64,
    },
}

impl Validity {
    /// Returns the nonce that bounds the transaction, if one does.
    pub const fn nonce(&self) -> Option<&AccountNonce> {
        match self {
            Self::UntilHeight(_) => None,
            Self::Nonce(nonce) | Self::NonceUntilHeight { nonce, .. } => Some(nonce),
        }
    }

    /// Returns the last height at which the transaction may land, if there is one.
    pub const fn until_height(&self) -> Option<u64> {
        match self {
            Self::UntilHeight(height) | Self::NonceUntilHeight { height, .. } => Some(*height),
            Self::Nonce(_) => None,
        }
    }
}

/// One of the values that an account gives its transactions, one after the other. The chain lets one transaction of
/// each value land.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountNonce {
    /// The account.
    pub account: AccountId,
    /// The value.
    pub value: NonceValue,
}

impl AccountNonce {
    /// Returns a nonce of an account.
    pub fn new(account: impl Into<AccountId>, value: impl Into<NonceValue>) -> Self {
        Self { account: account.into(), value: value.into() }
    }
}

/// A value that an account gives one transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NonceValue {
    /// A number; the next one is one more. An account may give out numbers in advance, and they are used in their
    /// order and without a gap: the nonce of an EVM account.
    Number(u64),
    /// A value that says nothing about the one after it, and never comes again: a durable nonce of Solana.
    Opaque(OpaqueNonce),
}

/// A value of an account that nobody can foretell, with the moment at which the account had it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpaqueNonce {
    /// The value, as the venue writes it.
    pub text: String,
    /// The height of the block after which the account had the value. Where a venue knows it only roughly: at most
    /// this in a transaction, at least this in an [`AccountView`].
    pub read_at: u64,
}

impl NonceValue {
    /// Returns a value that nobody can foretell, and the height at which the account had it.
    pub fn opaque(text: impl Into<String>, read_at: u64) -> Self {
        Self::Opaque(OpaqueNonce { text: text.into(), read_at })
    }

    /// Returns the number, if it is one.
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Opaque(_) => None,
        }
    }

    /// Whether an account that has this value now has left the other one behind. Of two opaque values only the heights
    /// tell which came first: one that was read no later may be the older one, shown by a node that lags.
    pub fn is_after(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Number(now), Self::Number(earlier)) => now > earlier,
            (Self::Opaque(now), Self::Opaque(earlier)) => {
                let is_later = now.read_at > earlier.read_at || planted!(EarlierValueDecides);
                now.text != earlier.text && is_later
            }
            _ => false,
        }
    }
}

impl From<u64> for NonceValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for NonceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Opaque(OpaqueNonce { text, .. }) => f.pad(text),
        }
    }
}

/// How far an account has come, as one node of the venue says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountView {
    /// The nonce of its next transaction after the newest block that the node has seen.
    pub latest: NonceValue,
    /// The nonce of its next transaction after the newest final block that the node has.
    pub finalized: NonceValue,
    /// The height of that final block; at most this, if the venue knows it only roughly.
    pub finalized_height: u64,
}

impl AccountView {
    /// Returns what a node says: the next nonces, and the height of its newest final block.
    pub fn new(
        latest: impl Into<NonceValue>,
        finalized: impl Into<NonceValue>,
        finalized_height: u64,
    ) -> Self {
        Self { latest: latest.into(), finalized: finalized.into(), finalized_height }
    }
}

/// How far the venue's chain has come, at each level of certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChainView {
    /// The newest height seen.
    pub processed: u64,
    /// The newest height that most validators voted for.
    pub confirmed: u64,
    /// The newest height that cannot be undone.
    pub finalized: u64,
}

impl ChainView {
    /// Returns the newest heights: seen, voted for by most validators, and final.
    pub const fn new(processed: u64, confirmed: u64, finalized: u64) -> Self {
        Self { processed, confirmed, finalized }
    }
}

/// How certain it is that a transaction stays where it landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// In a block that may still be abandoned.
    Processed,
    /// In a block that most validators voted for; it may still be undone.
    Confirmed,
    /// For good.
    Finalized,
}

/// What a landed transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fill {
    /// Base units of the input token that were taken.
    pub amount_in: Amount,
    /// Base units of the output token that were paid.
    pub amount_out: Amount,
    /// The height at which it happened.
    pub height: u64,
}

impl Fill {
    /// Returns what was taken and paid, in base units of the input and of the output token, and at which height.
    pub const fn new(amount_in: Amount, amount_out: Amount, height: u64) -> Self {
        Self { amount_in, amount_out, height }
    }
}

/// What a venue reports about one transaction. Facts only: it draws no conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The node that answered knows nothing of it.
    NotFound {
        /// The finalized height of that node when it searched, if it searched everything up to there
        /// and back to the transaction's signing. `None` if its history has gaps, as a recent-only
        /// cache has; then nothing follows from the absence.
        ///
        /// It is the node's *finalized* height and not the newest that it has seen: on a minority
        /// fork a node may have seen higher blocks and still lack the one of the majority.
        searched_through: Option<u64>,
        /// The newest height that the node has seen, final or not: up to there its chain lacks the transaction.
        /// `None` if it does not say.
        seen_through: Option<u64>,
    },
    /// It landed and did what it should.
    Landed {
        /// How certain that is.
        certainty: Certainty,
        /// What it did.
        fill: Fill,
    },
    /// It landed and failed on the chain; nothing was swapped.
    Reverted {
        /// How certain that is.
        certainty: Certainty,
        /// Why it failed.
        failure: Failure,
        /// Whether another attempt, with another transaction, can help.
        class: FailureClass,
    },
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_json() {
        let tx = SignedTx::new("tx", [1, 2, 3], Validity::UntilHeight(7), Amount::new(1));
        let json = serde_json::to_string(&tx).unwrap();
        assert!(json.contains("AQID"), "{json}");
        assert_eq!(serde_json::from_str::<SignedTx>(&json).unwrap(), tx);
    }

    #[test]
    fn a_number_is_a_number_in_json_and_an_opaque_value_has_its_height() {
        for (nonce, json) in [
            (AccountNonce::new("a", 7), r#"{"account":"a","value":7}"#),
            (
                AccountNonce::new("a", NonceValue::opaque("x", 9)),
                r#"{"account":"a","value":{"text":"x","read_at":9}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&nonce).unwrap(), json);
            assert_eq!(serde_json::from_str::<AccountNonce>(json).unwrap(), nonce);
        }
    }

    #[test]
    fn an_opaque_value_is_left_behind_by_another_one_that_was_read_later() {
        let signed = NonceValue::opaque("x", 9);
        for (text, read_at, is_after) in
            [("y", 10, true), ("y", 9, false), ("y", 8, false), ("x", 10, false), ("x", 8, false)]
        {
            assert_eq!(NonceValue::opaque(text, read_at).is_after(&signed), is_after, "{text} at {read_at}");
        }
        assert!(NonceValue::Number(8).is_after(&7.into()));
        assert!(!NonceValue::Number(7).is_after(&7.into()));
        assert!(!NonceValue::Number(8).is_after(&signed), "an account has one kind of values");
    }
}
