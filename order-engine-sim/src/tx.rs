//! The bytes of a transaction: the signed message, and the signature, which is the transaction's id.
//!
//! ```text
//! signature (32) │ version (1) │ order (16) │ recent height (8) │ nonce (16) │ minimum (16)
//!                │ legs (1) │ per leg: direction (1) │ amount in (16) │ length (1) │ pool id
//! ```
//!
//! Numbers are big-endian. The encoding is canonical: a decoded message encodes to the same bytes.

use order_engine_core::{Amount, OrderId, TxId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::base58;
use crate::heights::BLOCKHASH_WINDOW_SLOTS;

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 32;

/// The content of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The order for which the transaction trades.
    pub(crate) order_id: OrderId,
    /// The height whose blockhash the transaction names.
    pub(crate) recent_height: u64,
    /// A number that makes two transactions over the same route differ.
    pub(crate) nonce: u128,
    /// The least output to accept.
    pub(crate) min_amount_out: Amount,
    /// The swaps, in the order of execution.
    pub(crate) legs: Vec<Swap>,
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
    #[error("a transaction holds 1 to 255 legs, with pool ids of at most 255 bytes")]
    Size,
}

impl Message {
    /// Returns the last height at which the transaction may land.
    pub(crate) const fn last_valid_height(&self) -> u64 {
        self.recent_height.saturating_add(BLOCKHASH_WINDOW_SLOTS)
    }
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
    if leg_count == 0 {
        return Err(MalformedTx::Size);
    }
    out.push(VERSION);
    out.extend(message.order_id.as_uuid().as_bytes());
    out.extend(message.recent_height.to_be_bytes());
    out.extend(message.nonce.to_be_bytes());
    out.extend(message.min_amount_out.base_units().to_be_bytes());
    out.push(leg_count);
    for leg in &message.legs {
        let length = u8::try_from(leg.pool.len()).map_err(|_| MalformedTx::Size)?;
        out.push(u8::from(leg.sells_a));
        out.extend(leg.amount_in.base_units().to_be_bytes());
        out.push(length);
        out.extend(leg.pool.as_bytes());
    }
    Ok(())
}

fn decode(body: &[u8]) -> Result<Message, MalformedTx> {
    let mut reader = Reader { rest: body };
    if reader.byte()? != VERSION {
        return Err(MalformedTx::Encoding);
    }
    let message = Message {
        order_id: OrderId::from(Uuid::from_bytes(reader.array()?)),
        recent_height: u64::from_be_bytes(reader.array()?),
        nonce: u128::from_be_bytes(reader.array()?),
        min_amount_out: reader.amount()?,
        legs: (0..reader.byte()?).map(|_| reader.swap()).collect::<Result<_, _>>()?,
    };
    if message.legs.is_empty() || !reader.rest.is_empty() {
        return Err(MalformedTx::Encoding);
    }
    Ok(message)
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

    fn amount(&mut self) -> Result<Amount, MalformedTx> {
        self.array().map(u128::from_be_bytes).map(Amount::new)
    }

    fn swap(&mut self) -> Result<Swap, MalformedTx> {
        let sells_a = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(MalformedTx::Encoding),
        };
        let amount_in = self.amount()?;
        let length = usize::from(self.byte()?);
        let pool = str::from_utf8(self.take(length)?).map_err(|_| MalformedTx::Encoding)?.to_owned();
        Ok(Swap { pool, sells_a, amount_in })
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
        (any::<[u8; 16]>(), any::<u64>(), any::<u128>(), any::<u128>(), prop::collection::vec(leg, 1..5))
            .prop_map(|(order, recent_height, nonce, min, legs)| Message {
                order_id: OrderId::from(Uuid::from_bytes(order)),
                recent_height,
                nonce,
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
    fn a_transaction_needs_legs() {
        let message = Message {
            order_id: OrderId::from(Uuid::nil()),
            recent_height: 0,
            nonce: 0,
            min_amount_out: Amount::ZERO,
            legs: Vec::new(),
        };
        assert_eq!(Signer::new(0).sign(&message), Err(MalformedTx::Size));
        assert_eq!(Signer::new(0).open(b"too short"), Err(MalformedTx::Encoding));
    }
}
