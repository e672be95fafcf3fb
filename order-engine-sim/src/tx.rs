//! The bytes of a transaction: the signed message, and the signature, which is the transaction's id.
//!
//! ```text
//! signature (32) │ version (1) │ order (16) │ bound │ minimum (16)
//!                │ legs (1) │ per leg: direction (1) │ amount in (16) │ length (1) │ pool id
//!
//! bound of version 1: recent height (8) │ salt (16)
//! bound of version 2: length (1) │ account │ number (8) │ fee (16)
//! bound of version 3: length (1) │ account │ length (1) │ value │ read at (8) │ fee (16)
//! ```
//!
//! Numbers are big-endian. The encoding is canonical: a decoded message encodes to the same bytes.

use order_engine_core::{AccountNonce, Amount, NonceValue, OpaqueNonce, OrderId, TxId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::base58;
use crate::heights::BLOCKHASH_WINDOW_SLOTS;

/// The version of a transaction that expires at a height.
const BY_HEIGHT: u8 = 1;
/// The version of a transaction that has a number as its nonce.
const BY_NUMBER: u8 = 2;
/// The version of a transaction that has an opaque value as its nonce.
const BY_VALUE: u8 = 3;
const SIGNATURE_BYTES: usize = 32;

/// The content of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The order for which the transaction trades: its tag.
    pub(crate) order_id: OrderId,
    /// What bounds the transaction.
    pub(crate) bound: Bound,
    /// The least output to accept.
    pub(crate) min_amount_out: Amount,
    /// The swaps, in the order of execution. A transaction with a nonce may have none: it cancels others.
    pub(crate) legs: Vec<Swap>,
}

/// What bounds a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// It lands in the slots after a recent height.
    Height {
        /// The height whose blockhash the transaction names.
        recent_height: u64,
        /// A number that makes two transactions over the same route differ.
        salt: u128,
    },
    /// It lands as the one transaction of its account that has this nonce.
    Nonce {
        /// The account and the nonce.
        nonce: AccountNonce,
        /// What the account pays for it.
        fee: u128,
    },
}

impl Message {
    /// Returns the opaque value that bounds the transaction, if one does.
    pub(crate) fn opaque_value(&self) -> Option<&str> {
        match &self.bound {
            Bound::Nonce { nonce: AccountNonce { value: NonceValue::Opaque(value), .. }, .. } => {
                Some(&value.text)
            }
            _ => None,
        }
    }
}

/// Returns the last height at which a transaction may land that names the blockhash of this height.
pub(crate) const fn last_valid_height(recent_height: u64) -> u64 {
    recent_height.saturating_add(BLOCKHASH_WINDOW_SLOTS)
}

/// One swap in one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    /// The pool's id.
    pub(crate) pool: String,
    /// Whether token a of the pool goes in.
    pub(crate) sells_a: bool,
    /// The input.
    pub(crate) amount_in: Amount,
}

/// The error of bytes that are not a transaction of this chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedTx {
    #[error("the transaction is too short, too long or of an unknown version")]
    Encoding,
    #[error("the signature does not match the transaction")]
    Signature,
    #[error("a transaction holds 1 to 255 legs, or none if it has a nonce; its texts have at most 255 bytes")]
    Size,
}

/// The key with which a simulated chain signs and verifies transactions.
///
/// It stands in for a wallet: it makes ids unpredictable from the order alone, and detects bytes that were
/// changed or belong to another chain. It gives no security, because the seed is not a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer {
    key: [u8; SIGNATURE_BYTES],
}

impl Signer {
    /// Returns the signer of the chain with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let key = Sha256::new().chain_update(b"order-engine-sim").chain_update(seed.to_be_bytes()).finalize();
        Self { key: key.into() }
    }

    /// Returns the key.
    #[cfg(feature = "rpc-server")]
    pub(crate) const fn key(&self) -> [u8; SIGNATURE_BYTES] {
        self.key
    }

    /// Returns the signer with this key, or `None` if its length is wrong.
    #[cfg(feature = "rpc-client")]
    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self { key: key.try_into().ok()? })
    }

    /// Signs a message. Returns the transaction's id and bytes.
    pub(crate) fn sign(&self, message: &Message) -> Result<(TxId, Vec<u8>), MalformedTx> {
        let mut bytes = vec![0; SIGNATURE_BYTES];
        encode(message, &mut bytes)?;
        let signature = self.signature(&bytes[SIGNATURE_BYTES..]);
        bytes[..SIGNATURE_BYTES].copy_from_slice(&signature);
        Ok((id_of(&signature), bytes))
    }

    /// Verifies and decodes a transaction. Returns its id and message.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<(TxId, Message), MalformedTx> {
        let (signature, body) = bytes.split_at_checked(SIGNATURE_BYTES).ok_or(MalformedTx::Encoding)?;
        let expected = self.signature(body);
        if signature != expected {
            return Err(MalformedTx::Signature);
        }
        Ok((id_of(&expected), decode(body)?))
    }

    fn signature(&self, body: &[u8]) -> [u8; SIGNATURE_BYTES] {
        Sha256::new().chain_update(self.key).chain_update(body).finalize().into()
    }
}

fn id_of(signature: &[u8; SIGNATURE_BYTES]) -> TxId {
    TxId::new(base58::encode(signature))
}

fn encode(message: &Message, out: &mut Vec<u8>) -> Result<(), MalformedTx> {
    let leg_count = u8::try_from(message.legs.len()).map_err(|_| MalformedTx::Size)?;
    let version = match message.bound {
        Bound::Height { .. } if leg_count == 0 => return Err(MalformedTx::Size),
        Bound::Height { .. } => BY_HEIGHT,
        Bound::Nonce { nonce: AccountNonce { value: NonceValue::Number(_), .. }, .. } => BY_NUMBER,
        Bound::Nonce { .. } => BY_VALUE,
    };
    out.push(version);
    out.extend(message.order_id.as_uuid().as_bytes());
    match &message.bound {
        Bound::Height { recent_height, salt } => {
            out.extend(recent_height.to_be_bytes());
            out.extend(salt.to_be_bytes());
        }
        Bound::Nonce { nonce, fee } => {
            encode_text(nonce.account.as_str(), out)?;
            match &nonce.value {
                NonceValue::Number(number) => out.extend(number.to_be_bytes()),
                NonceValue::Opaque(OpaqueNonce { text, read_at }) => {
                    encode_text(text, out)?;
                    out.extend(read_at.to_be_bytes());
                }
            }
            out.extend(fee.to_be_bytes());
        }
    }
    out.extend(message.min_amount_out.base_units().to_be_bytes());
    out.push(leg_count);
    for leg in &message.legs {
        out.push(u8::from(leg.sells_a));
        out.extend(leg.amount_in.base_units().to_be_bytes());
        encode_text(&leg.pool, out)?;
    }
    Ok(())
}

fn encode_text(text: &str, out: &mut Vec<u8>) -> Result<(), MalformedTx> {
    out.push(u8::try_from(text.len()).map_err(|_| MalformedTx::Size)?);
    out.extend(text.as_bytes());
    Ok(())
}

fn decode(body: &[u8]) -> Result<Message, MalformedTx> {
    let mut reader = Reader { rest: body };
    let version = reader.byte()?;
    let order_id = OrderId::from(Uuid::from_bytes(reader.array()?));
    let bound = match version {
        BY_HEIGHT => Bound::Height { recent_height: reader.number()?, salt: reader.wide_number()? },
        BY_NUMBER => {
            let nonce = AccountNonce::new(reader.text()?, reader.number()?);
            Bound::Nonce { nonce, fee: reader.wide_number()? }
        }
        BY_VALUE => {
            let account = reader.text()?;
            let nonce = AccountNonce::new(account, NonceValue::opaque(reader.text()?, reader.number()?));
            Bound::Nonce { nonce, fee: reader.wide_number()? }
        }
        _ => return Err(MalformedTx::Encoding),
    };
    let min_amount_out = reader.amount()?;
    let legs = (0..reader.byte()?).map(|_| reader.swap()).collect::<Result<Vec<_>, _>>()?;
    let lacks_legs = legs.is_empty() && version == BY_HEIGHT;
    if lacks_legs || !reader.rest.is_empty() {
        return Err(MalformedTx::Encoding);
    }
    Ok(Message { order_id, bound, min_amount_out, legs })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedTx> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MalformedTx::Encoding)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedTx> {
        self.take(N)?.try_into().map_err(|_| MalformedTx::Encoding)
    }

    fn byte(&mut self) -> Result<u8, MalformedTx> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, MalformedTx> {
        self.array().map(u64::from_be_bytes)
    }

    fn wide_number(&mut self) -> Result<u128, MalformedTx> {
        self.array().map(u128::from_be_bytes)
    }

    fn amount(&mut self) -> Result<Amount, MalformedTx> {
        self.wide_number().map(Amount::new)
    }

    fn text(&mut self) -> Result<String, MalformedTx> {
        let length = usize::from(self.byte()?);
        Ok(str::from_utf8(self.take(length)?).map_err(|_| MalformedTx::Encoding)?.to_owned())
    }

    fn swap(&mut self) -> Result<Swap, MalformedTx> {
        let sells_a = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(MalformedTx::Encoding),
        };
        let amount_in = self.amount()?;
        Ok(Swap { pool: self.text()?, sells_a, amount_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Message> {
        let leg = ("[a-z-]{0,40}", any::<bool>(), any::<u128>()).prop_map(|(pool, sells_a, amount)| Swap {
            pool,
            sells_a,
            amount_in: Amount::new(amount),
        });
        let height = (any::<u64>(), any::<u128>())
            .prop_map(|(recent_height, salt)| Bound::Height { recent_height, salt });
        let value = prop_oneof![
            any::<u64>().prop_map(NonceValue::Number),
            ("[0-9a-zA-Z]{0,44}", any::<u64>()).prop_map(|(text, read_at)| NonceValue::opaque(text, read_at)),
        ];
        let nonce = ("[0-9a-fx]{0,42}", value, any::<u128>())
            .prop_map(|(account, value, fee)| Bound::Nonce { nonce: AccountNonce::new(account, value), fee });
        (any::<[u8; 16]>(), prop_oneof![height, nonce], any::<u128>(), prop::collection::vec(leg, 1..5))
            .prop_map(|(order, bound, min, legs)| Message {
                order_id: OrderId::from(Uuid::from_bytes(order)),
                bound,
                min_amount_out: Amount::new(min),
                legs,
            })
    }

    proptest! {
        #[test]
        fn a_signed_message_is_read_back_unchanged(message in messages(), seed: u64) {
            let signer = Signer::new(seed);
            let (id, bytes) = signer.sign(&message).unwrap();
            prop_assert_eq!(signer.open(&bytes), Ok((id, message)));
        }

        #[test]
        fn a_changed_byte_or_another_chain_is_detected(message in messages(), at: prop::sample::Index, flip in 1_u8..) {
            let (_, mut bytes) = Signer::new(1).sign(&message).unwrap();
            prop_assert_eq!(Signer::new(2).open(&bytes), Err(MalformedTx::Signature));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(Signer::new(1).open(&bytes), Err(MalformedTx::Signature));
        }

        #[test]
        fn the_encoding_is_canonical_and_no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = decode(&body) {
                let mut again = Vec::new();
                encode(&message, &mut again).unwrap();
                prop_assert_eq!(again, body);
            }
        }

        #[test]
        fn a_truncated_or_extended_body_is_refused(message in messages(), cut: prop::sample::Index) {
            let mut body = Vec::new();
            encode(&message, &mut body).unwrap();
            prop_assert_eq!(decode(&body[..cut.index(body.len())]), Err(MalformedTx::Encoding));
            body.push(0);
            prop_assert_eq!(decode(&body), Err(MalformedTx::Encoding));
        }
    }

    #[test]
    fn only_a_transaction_with_a_nonce_needs_no_legs() {
        let order_id = OrderId::from(Uuid::nil());
        let by_height = Bound::Height { recent_height: 0, salt: 0 };
        let message = Message { order_id, bound: by_height, min_amount_out: Amount::ZERO, legs: Vec::new() };
        assert_eq!(Signer::new(0).sign(&message), Err(MalformedTx::Size));
        let nonce = AccountNonce::new("wallet", 7);
        let message = Message { bound: Bound::Nonce { nonce, fee: 100 }, ..message };
        let (id, bytes) = Signer::new(0).sign(&message).unwrap();
        assert_eq!(Signer::new(0).open(&bytes), Ok((id, message)));
        assert_eq!(Signer::new(0).open(b"too short"), Err(MalformedTx::Encoding));
    }
}
