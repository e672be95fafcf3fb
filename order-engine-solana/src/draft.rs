//! A transaction before and after its signing.

use std::collections::BTreeSet;
use std::fmt;

use solana_hash::Hash;
use solana_instruction::Instruction;
use solana_message::{AddressLookupTableAccount, VersionedMessage, v0};
use solana_pubkey::Pubkey;
use solana_signature::Signature;

use crate::instructions::system;
use crate::keys::{SignError, WalletSigner};

/// The most bytes of a transaction: what fits into one packet of the network.
pub const TRANSACTION_BYTES_MAX: usize = 1_232;
/// The most accounts of a transaction, those from tables included: what the chain locks at once.
pub const TRANSACTION_ACCOUNTS_MAX: usize = 64;
const SIGNATURE_BYTES: usize = 64;

/// What bounds the life of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The hash of a recent block: the transaction may land until 150 blocks after it.
    Blockhash(Hash),
    /// The value of a nonce account: the transaction may land while the account has it. The first instruction
    /// advances the account.
    DurableNonce {
        /// The nonce account.
        account: Pubkey,
        /// Who advances it, and signs.
        authority: Pubkey,
        /// Its value.
        value: Hash,
    },
}

/// The instructions of a transaction, and who pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who pays the fee, and signs first.
    pub payer: Pubkey,
    /// What is done, in this order.
    pub instructions: Vec<Instruction>,
    /// Tables whose addresses the transaction names by number, which makes it smaller.
    pub tables: Vec<AddressLookupTableAccount>,
}

/// A transaction whose message is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    message: VersionedMessage,
    bytes: Vec<u8>,
}

/// A transaction as it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The first signature, under which the chain knows the transaction.
    pub id: Signature,
    /// What is sent.
    pub bytes: Vec<u8>,
}

/// Shows no bytes: whoever has them can send them.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("id", &format_args!("{}", self.id))
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .finish()
    }
}

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// It does not fit into a packet.
    #[error("the transaction has {bytes} bytes, and no more than {TRANSACTION_BYTES_MAX} can be sent")]
    TooLarge {
        /// Its size with all signatures.
        bytes: usize,
    },
    /// It names more accounts than a transaction may.
    #[error(
        "the transaction names {accounts} accounts, and no more than {TRANSACTION_ACCOUNTS_MAX} are allowed"
    )]
    TooManyAccounts {
        /// How many it names, those from tables included.
        accounts: usize,
    },
    /// The instructions cannot be put into a message.
    #[error("the transaction cannot be compiled")]
    Uncompilable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A wallet has to sign whose signer is not there.
    #[error("nobody signs for {0}")]
    NoSigner(Pubkey),
    /// A signer gave no signature.
    #[error("the transaction is not signed")]
    Sign(#[from] SignError),
}

impl Draft {
    /// Returns a transaction of these instructions without tables.
    pub const fn new(payer: Pubkey, instructions: Vec<Instruction>) -> Self {
        Self { payer, instructions, tables: Vec::new() }
    }

    /// Sets [`tables`](Self::tables).
    #[must_use]
    pub fn with_tables(self, tables: Vec<AddressLookupTableAccount>) -> Self {
        Self { tables, ..self }
    }

    /// Fixes the message, and checks its size.
    ///
    /// # Errors
    /// If it cannot be compiled, names too many accounts, or does not fit into a packet.
    pub fn compile(&self, lifetime: Lifetime) -> Result<Unsigned, DraftError> {
        let (hash, advance) = match lifetime {
            Lifetime::Blockhash(hash) => (hash, None),
            Lifetime::DurableNonce { account, authority, value } => {
                (value, Some(system::advance_nonce(account, authority)))
            }
        };
        let instructions: Vec<Instruction> =
            advance.into_iter().chain(self.instructions.iter().cloned()).collect();
        let message = v0::Message::try_compile(&self.payer, &instructions, &self.tables, hash);
        let message = message.map_err(|error| DraftError::Uncompilable(error.into()))?;
        let accounts = message.account_keys.len() + looked_up(&message);
        if accounts > TRANSACTION_ACCOUNTS_MAX {
            return Err(DraftError::TooManyAccounts { accounts });
        }
        let unsigned = Unsigned::new(VersionedMessage::V0(message));
        let bytes = unsigned.size();
        if bytes > TRANSACTION_BYTES_MAX { Err(DraftError::TooLarge { bytes }) } else { Ok(unsigned) }
    }
}

/// Returns how many accounts of a message come from tables.
fn looked_up(message: &v0::Message) -> usize {
    let tables = message.address_table_lookups.iter();
    tables.map(|table| table.writable_indexes.len() + table.readonly_indexes.len()).sum()
}

impl Unsigned {
    /// Reads the message of a signed transaction; nothing if the bytes are none of version 0.
    pub(crate) fn of_signed(bytes: &[u8]) -> Option<v0::Message> {
        let (signatures, rest) = bytes.split_first()?;
        let message = rest.get(usize::from(*signatures) * SIGNATURE_BYTES..)?;
        match wincode::deserialize(message).ok()? {
            VersionedMessage::V0(message) => Some(message),
            _ => None,
        }
    }

    pub(crate) fn new(message: VersionedMessage) -> Self {
        let bytes = message.serialize();
        Self { message, bytes }
    }

    /// Returns the size with all signatures, in bytes.
    pub fn size(&self) -> usize {
        // Their number takes one byte, because no packet holds more than 19.
        1 + self.signatures() * SIGNATURE_BYTES + self.bytes.len()
    }

    /// Returns how many wallets sign.
    pub fn signatures(&self) -> usize {
        usize::from(self.message.header().num_required_signatures)
    }

    /// Returns what the wallets sign.
    pub fn message_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the writable accounts, apart from those that come from tables.
    pub fn written_accounts(&self) -> Vec<Pubkey> {
        let keys = self.message.static_account_keys();
        let reserved: Option<&BTreeSet<Pubkey>> = None;
        let is_written =
            |index: &usize| self.message.is_maybe_writable_with_reserved_addresses(*index, reserved);
        (0..keys.len()).filter(is_written).map(|index| keys[index]).collect()
    }

    /// Returns the program of an instruction by its number.
    pub fn program(&self, instruction: usize) -> Option<Pubkey> {
        let instruction = self.message.instructions().get(instruction)?;
        self.message.static_account_keys().get(usize::from(instruction.program_id_index)).copied()
    }

    /// Returns the bytes with empty signatures, as a simulation that checks none takes them.
    pub fn to_unsigned_bytes(&self) -> Vec<u8> {
        self.with_signatures(&vec![Signature::default(); self.signatures()])
    }

    /// Has every wallet sign that must.
    ///
    /// # Errors
    /// If the signer of a wallet is missing or gives no signature.
    pub async fn sign(&self, signers: &[&dyn WalletSigner]) -> Result<Signed, DraftError> {
        let mut signatures = Vec::with_capacity(self.signatures());
        for wallet in &self.message.static_account_keys()[..self.signatures()] {
            let signer = signers.iter().find(|signer| signer.address() == *wallet);
            let signature = signer.ok_or(DraftError::NoSigner(*wallet))?.sign(&self.bytes).await?;
            if !signature.verify(wallet.as_ref(), &self.bytes) {
                return Err(SignError::Invalid.into());
            }
            signatures.push(signature);
        }
        let id = signatures.first().copied().ok_or(DraftError::NoSigner(Pubkey::default()))?;
        Ok(Signed { id, bytes: self.with_signatures(&signatures) })
    }

    fn with_signatures(&self, signatures: &[Signature]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.push(u8::try_from(signatures.len()).unwrap_or(u8::MAX));
        for signature in signatures {
            bytes.extend_from_slice(signature.as_ref());
        }
        bytes.extend_from_slice(&self.bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use solana_transaction::versioned::VersionedTransaction;

    use super::*;
    use crate::instructions::memo;
    use crate::keys::KeypairSigner;

    fn transfer(payer: Pubkey) -> Draft {
        Draft::new(payer, vec![system::transfer(payer, Pubkey::new_from_array([9; 32]), 1)])
    }

    const RECENT: Lifetime = Lifetime::Blockhash(Hash::new_from_array([8; 32]));

    #[tokio::test]
    async fn the_bytes_are_those_that_solana_reads() {
        let wallet = KeypairSigner::random();
        let unsigned = transfer(wallet.address()).compile(RECENT).unwrap();
        let signed = unsigned.sign(&[&wallet]).await.unwrap();
        assert_eq!(signed.bytes.len(), unsigned.size());
        let read: VersionedTransaction = wincode::deserialize(&signed.bytes).unwrap();
        assert_eq!(read.signatures, [signed.id]);
        assert!(read.signatures[0].verify(wallet.address().as_ref(), &read.message.serialize()));
        assert_eq!(wincode::serialize(&read).unwrap(), signed.bytes);
        read.sanitize().unwrap();
    }

    #[tokio::test]
    async fn a_durable_nonce_is_advanced_first() {
        let (wallet, account) = (KeypairSigner::random(), Pubkey::new_from_array([5; 32]));
        let value = Hash::new_from_array([6; 32]);
        let lifetime = Lifetime::DurableNonce { account, authority: wallet.address(), value };
        let unsigned = transfer(wallet.address()).compile(lifetime).unwrap();
        let signed = unsigned.sign(&[&wallet]).await.unwrap();
        let read: VersionedTransaction = wincode::deserialize(&signed.bytes).unwrap();
        assert!(read.uses_durable_nonce());
        assert_eq!(read.message.recent_blockhash(), &value);
    }

    #[test]
    fn what_does_not_fit_into_a_packet_is_refused_before_it_is_signed() {
        let payer = Pubkey::new_from_array([1; 32]);
        let with_text =
            |length: usize| Draft::new(payer, vec![memo::memo(&"x".repeat(length))]).compile(RECENT);
        let most = (0..TRANSACTION_BYTES_MAX).rev().find(|length| with_text(*length).is_ok()).unwrap();
        assert_eq!(with_text(most).unwrap().size(), TRANSACTION_BYTES_MAX);
        assert_eq!(with_text(most).unwrap().to_unsigned_bytes().len(), TRANSACTION_BYTES_MAX);
        let error = with_text(most + 1).unwrap_err();
        assert!(
            matches!(error, DraftError::TooLarge { bytes } if bytes == TRANSACTION_BYTES_MAX + 1),
            "{error}"
        );
    }

    #[test]
    fn a_table_makes_a_transaction_smaller() {
        let payer = Pubkey::new_from_array([1; 32]);
        let targets: Vec<Pubkey> = (10..20).map(|byte| Pubkey::new_from_array([byte; 32])).collect();
        let transfers = targets.iter().map(|target| system::transfer(payer, *target, 1)).collect();
        let draft = Draft::new(payer, transfers);
        let table = AddressLookupTableAccount { key: Pubkey::new_from_array([7; 32]), addresses: targets };
        let plain = draft.compile(RECENT).unwrap().size();
        let with_table = draft.clone().with_tables(vec![table]).compile(RECENT).unwrap().size();
        // Ten keys become ten numbers, the table's key and two lengths.
        assert_eq!(plain - with_table, 10 * 32 - (32 + 10 + 2));
    }

    #[test]
    fn accounts_from_tables_count_too() {
        let payer = Pubkey::new_from_array([1; 32]);
        let targets: Vec<Pubkey> = (10..73).map(|byte| Pubkey::new_from_array([byte; 32])).collect();
        let table =
            AddressLookupTableAccount { key: Pubkey::new_from_array([7; 32]), addresses: targets.clone() };
        let with = |count: usize| {
            let transfers = targets[..count].iter().map(|target| system::transfer(payer, *target, 1));
            Draft::new(payer, transfers.collect()).with_tables(vec![table.clone()])
        };
        // The wallet and the system's program are the other two.
        let error = with(63).compile(RECENT).unwrap_err();
        assert!(matches!(error, DraftError::TooManyAccounts { accounts: 65 }), "{error}");
        assert!(matches!(with(62).compile(RECENT), Err(DraftError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_missing_signer_is_named() {
        let payer = Pubkey::new_from_array([1; 32]);
        let error =
            transfer(payer).compile(RECENT).unwrap().sign(&[&KeypairSigner::random()]).await.unwrap_err();
        assert!(matches!(error, DraftError::NoSigner(wallet) if wallet == payer), "{error}");
    }

    #[test]
    fn written_accounts_and_programs_are_those_of_the_message() {
        let payer = Pubkey::new_from_array([1; 32]);
        let unsigned = transfer(payer).compile(RECENT).unwrap();
        assert_eq!(unsigned.written_accounts(), [payer, Pubkey::new_from_array([9; 32])]);
        assert_eq!(unsigned.program(0), Some(crate::programs::SYSTEM));
        assert_eq!(unsigned.program(1), None);
    }
}
