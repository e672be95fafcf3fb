//! A transaction before it is signed (EIP-1559), and its signed bytes.

use alloy_consensus::transaction::RlpEcdsaDecodableTx as _;
use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use order_engine_core::{AccountId, AccountNonce, Amount, SignedTx, StepError, TxId, Validity};

use crate::fees::GasFees;
use crate::keys::{SignError, WalletSigner, is_signed_by};
use crate::venue_error::{not_signed, rejected};

/// What a transaction does, what it pays, and which nonce it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) input: Bytes,
    pub(crate) fees: GasFees,
}

impl Draft {
    fn unsigned(&self) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.fees.gas_limit,
            max_fee_per_gas: self.fees.max_fee_per_gas,
            max_priority_fee_per_gas: self.fees.max_priority_fee_per_gas,
            to: TxKind::Call(self.to),
            value: self.value,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: self.input.clone(),
        }
    }

    /// Signs the transaction, which promises an order so much.
    ///
    /// # Errors
    /// If the signer does not answer, or refuses.
    pub(crate) async fn sign(
        &self,
        signer: &dyn WalletSigner,
        min_amount_out: Amount,
    ) -> Result<SignedTx, StepError> {
        let unsigned = self.unsigned();
        let message = unsigned.encoded_for_signing();
        let signature = signer.sign(&message).await.map_err(|error| not_signed(&error))?;
        if !is_signed_by(signer.address(), &message, &signature) {
            return Err(not_signed(&SignError::Invalid));
        }
        let transaction = unsigned.into_signed(signature);
        let (id, bytes) = (tx_id(*transaction.hash()), transaction.encoded_2718());
        let nonce = AccountNonce::new(account_id(signer.address()), self.nonce);
        let tx = SignedTx::new(id, bytes, Validity::Nonce(nonce), min_amount_out);
        Ok(tx.with_max_fee(Amount::new(self.fees.max_fee_wei())))
    }

    /// Reads the signed bytes of a transaction that was made here.
    ///
    /// # Errors
    /// If they are something else.
    pub(crate) fn of_signed(bytes: &[u8]) -> Result<Self, StepError> {
        let other = || rejected("The bytes are no transaction of this venue");
        let tx = TxEip1559::eip2718_decode(&mut &*bytes).map_err(|_| other())?;
        let tx = tx.strip_signature();
        let TxKind::Call(to) = tx.to else { return Err(other()) };
        Ok(Self {
            chain_id: tx.chain_id,
            nonce: tx.nonce,
            to,
            value: tx.value,
            input: tx.input,
            fees: GasFees {
                gas_limit: tx.gas_limit,
                max_fee_per_gas: tx.max_fee_per_gas,
                max_priority_fee_per_gas: tx.max_priority_fee_per_gas,
            },
        })
    }
}

/// Returns the id of a transaction: its hash, by which every node and explorer knows it.
pub(crate) fn tx_id(hash: B256) -> TxId {
    TxId::new(hash.to_string())
}

/// Returns the hash of a transaction from its id; `None` if it is no id of a transaction of the EVM.
pub fn hash_of(id: &TxId) -> Option<B256> {
    id.as_str().strip_prefix("0x")?.parse().ok()
}

/// Returns the name of a wallet's account: its address.
pub(crate) fn account_id(wallet: Address) -> AccountId {
    AccountId::new(wallet.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::LocalSigner;

    fn draft() -> Draft {
        Draft {
            chain_id: 31_337,
            nonce: 7,
            to: Address::with_last_byte(9),
            value: U256::from(5),
            input: vec![1, 2, 3].into(),
            fees: GasFees { gas_limit: 21_640, max_fee_per_gas: 30, max_priority_fee_per_gas: 2 },
        }
    }

    #[tokio::test]
    async fn what_is_signed_is_read_back_and_its_id_is_its_hash() {
        let signer = LocalSigner::from_bytes(&[7; 32]).unwrap();
        let tx = draft().sign(&signer, Amount::new(3)).await.unwrap();
        assert_eq!(Draft::of_signed(&tx.bytes).unwrap(), draft());
        let hash = alloy_primitives::keccak256(&tx.bytes);
        assert_eq!(hash_of(&tx.id), Some(hash));
        assert_eq!(tx.id.as_str(), format!("{hash:#x}"));
        assert_eq!(tx.max_fee, Some(Amount::new(21_640 * 30)));
        let nonce = tx.validity.nonce().unwrap();
        assert_eq!(*nonce, AccountNonce::new(account_id(signer.address()), 7));
    }

    #[test]
    fn foreign_bytes_and_ids_are_refused() {
        assert!(Draft::of_signed(&[2, 0xc0]).is_err());
        assert!(Draft::of_signed(&[]).is_err());
        for id in ["", "0x12", "5Pjw", &format!("{:#x}:3", B256::ZERO)] {
            assert_eq!(hash_of(&TxId::from(id)), None, "{id}");
        }
    }
}
