//! The bytes of a transaction: what is signed, and the signature that is its id.
//!
//! ```text
//! signature (32) │ version (1) │ order (16) │ recent height (8) │ nonce (16) │ minimum (16)
//!                │ legs (1) │ per leg: direction (1) │ amount in (16) │ length (1) │ pool id
//! ```
//!
//! Numbers are big-endian. The encoding is canonical: what decodes, encodes to the same bytes.

use order_engine_core::{Amount, OrderId, TxId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::base58;
use crate::heights::BLOCKHASH_WINDOW_SLOTS;

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 32;

/// What a transaction asks the chain to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The order for which it trades.
    pub(crate) order_id: OrderId,
    /// The height whose blockhash it names.
    pub(crate) recent_height: u64,
    /// Makes two transactions for one route two.
    pub(crate) nonce: u128,
    /// The least output that it accepts.
    pub(crate) min_amount_out: Amount,
    /// The swaps, in the order of execution.
    pub(crate) legs: Vec<Swap>,
}

/// One swap in one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    /// The pool's id.
    pub(crate) pool: String,
    /// Whether the pool's first token goes in.
    pub(crate) sells_a: bool,
    /// Base units that go in.
    pub(crate) amount_in: Amount,
}

/// Bytes that are no transaction of this chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the transaction is cut short, too long or of an unknown version")]
    Encoding,
    #[error("the signature does not match the transaction")]
    Signature,
    #[error("a transaction holds 1 to 255 legs, with pool ids of at most 255 bytes")]
    Size,
}

impl Message {
    /// The last height at which it may land.
    pub(crate) const fn last_valid_height(&self) -> u64 {
        self.recent_height.saturating_add(BLOCKHASH_WINDOW_SLOTS)
    }
}

/// The key with which a simulated chain signs and checks.
///
/// It stands in for a wallet: it makes ids unpredictable from the order alone and finds bytes that
/// were changed or belong to another chain. It protects nothing, since the seed is no secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer {
    key: [u8; SIGNATURE_BYTES],
}

impl Signer {
    /// The key of the chain with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let key = Sha256::new().chain_update(b"order-engine-sim").chain_update(seed.to_be_bytes()).finalize();
        Self { key: key.into() }
    }

    /// The key itself.
    #[cfg(feature = "rpc-server")]
    pub(crate) const fn key(&self) -> [u8; SIGNATURE_BYTES] {
        self.key
    }

    /// The signer with this key; nothing if it is none.
    #[cfg(feature = "rpc-client")]
    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self { key: key.try_into().ok()? })
    }

    /// Signs: the id, and the bytes to send.
    pub(crate) fn sign(&self, message: &Message) -> Result<(TxId, Vec<u8>), Malformed> {
        let mut bytes = vec![0; SIGNATURE_BYTES];
        encode(message, &mut bytes)?;
        let signature = self.signature(&bytes[SIGNATURE_BYTES..]);
        bytes[..SIGNATURE_BYTES].copy_from_slice(&signature);
        Ok((id_of(&signature), bytes))
    }

    /// Reads bytes that were signed with this key: their id, and what they ask for.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<(TxId, Message), Malformed> {
        let (signature, body) = bytes.split_at_checked(SIGNATURE_BYTES).ok_or(Malformed::Encoding)?;
        let expected = self.signature(body);
        if signature != expected {
            return Err(Malformed::Signature);
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

fn encode(message: &Message, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let leg_count = u8::try_from(message.legs.len()).map_err(|_| Malformed::Size)?;
    if leg_count == 0 {
        return Err(Malformed::Size);
    }
    out.push(VERSION);
    out.extend(message.order_id.as_uuid().as_bytes());
    out.extend(message.recent_height.to_be_bytes());
    out.extend(message.nonce.to_be_bytes());
    out.extend(message.min_amount_out.base_units().to_be_bytes());
    out.push(leg_count);
    for leg in &message.legs {
        let length = u8::try_from(leg.pool.len()).map_err(|_| Malformed::Size)?;
        out.push(u8::from(leg.sells_a));
        out.extend(leg.amount_in.base_units().to_be_bytes());
        out.push(length);
        out.extend(leg.pool.as_bytes());
    }
    Ok(())
}

fn decode(body: &[u8]) -> Result<Message, Malformed> {
    let mut reader = Reader { rest: body };
    if reader.byte()? != VERSION {
        return Err(Malformed::Encoding);
    }
    let message = Message {
        order_id: OrderId::from(Uuid::from_bytes(reader.array()?)),
        recent_height: u64::from_be_bytes(reader.array()?),
        nonce: u128::from_be_bytes(reader.array()?),
        min_amount_out: reader.amount()?,
        legs: (0..reader.byte()?).map(|_| reader.swap()).collect::<Result<_, _>>()?,
    };
    if message.legs.is_empty() || !reader.rest.is_empty() {
        return Err(Malformed::Encoding);
    }
    Ok(message)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Encoding)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Encoding)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn amount(&mut self) -> Result<Amount, Malformed> {
        self.array().map(u128::from_be_bytes).map(Amount::new)
    }

    fn swap(&mut self) -> Result<Swap, Malformed> {
        let sells_a = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Encoding),
        };
        let amount_in = self.amount()?;
        let length = usize::from(self.byte()?);
        let pool = str::from_utf8(self.take(length)?).map_err(|_| Malformed::Encoding)?.to_owned();
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
        fn what_is_signed_is_what_is_read(message in messages(), seed: u64) {
            let signer = Signer::new(seed);
            let (id, bytes) = signer.sign(&message).unwrap();
            prop_assert_eq!(signer.open(&bytes), Ok((id, message)));
        }

        #[test]
        fn a_changed_byte_or_another_chain_is_noticed(message in messages(), at: prop::sample::Index, flip in 1_u8..) {
            let (_, mut bytes) = Signer::new(1).sign(&message).unwrap();
            prop_assert_eq!(Signer::new(2).open(&bytes), Err(Malformed::Signature));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(Signer::new(1).open(&bytes), Err(Malformed::Signature));
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
        fn a_cut_or_prolonged_body_is_no_message(message in messages(), cut: prop::sample::Index) {
            let mut body = Vec::new();
            encode(&message, &mut body).unwrap();
            prop_assert_eq!(decode(&body[..cut.index(body.len())]), Err(Malformed::Encoding));
            body.push(0);
            prop_assert_eq!(decode(&body), Err(Malformed::Encoding));
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
        assert_eq!(Signer::new(0).sign(&message), Err(Malformed::Size));
        assert_eq!(Signer::new(0).open(b"too short"), Err(Malformed::Encoding));
    }
}
