//! The transactions that one node holds, with the rule of real nodes for replacements.

use std::collections::BTreeMap;

use alloy_consensus::TxEip1559;
use alloy_consensus::transaction::RlpEcdsaDecodableTx as _;
use order_engine_evm::{Address, B256, Bytes};

/// A signed transaction as a node reads it.
#[derive(Clone, Debug)]
pub(crate) struct RawTx {
    pub(crate) sender: Address,
    pub(crate) nonce: u64,
    pub(crate) hash: B256,
    pub(crate) max_fee: u128,
    pub(crate) tip: u128,
    pub(crate) bytes: Bytes,
    /// Whether it is an approval, which belongs to no order.
    pub(crate) is_approval: bool,
}

/// The selector of `approve(address,uint256)`.
pub(crate) const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

impl RawTx {
    /// Reads the bytes, and whose signature is under them.
    pub(crate) fn read(bytes: Bytes) -> Self {
        let signed = TxEip1559::eip2718_decode(&mut &bytes[..]).expect("it is a transaction of EIP-1559");
        let (hash, digest) = (*signed.hash(), signed.signature_hash());
        let sender = signed.signature().recover_address_from_prehash(&digest).expect("it is signed");
        let TxEip1559 { nonce, max_fee_per_gas: max_fee, max_priority_fee_per_gas: tip, input, .. } =
            signed.strip_signature();
        Self { sender, nonce, hash, max_fee, tip, bytes, is_approval: input.starts_with(&APPROVE) }
    }
}

/// Why a node does not take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Known,
    Underpriced,
}

/// The transactions of one node, by sender and nonce. Those in blocks stay, as if a node put them back after each
/// reorganisation.
#[derive(Debug, Default)]
pub(crate) struct TxPool(BTreeMap<(Address, u64), RawTx>);

impl TxPool {
    /// Takes a transaction, if it pays a tenth more in both fees than the one whose place it takes.
    pub(crate) fn add(&mut self, tx: &RawTx) -> Result<(), Refusal> {
        if let Some(old) = self.0.get(&(tx.sender, tx.nonce)) {
            if old.hash == tx.hash {
                return Err(Refusal::Known);
            }
            if tx.max_fee * 10 < old.max_fee * 11 || tx.tip * 10 < old.tip * 11 {
                return Err(Refusal::Underpriced);
            }
        }
        self.0.insert((tx.sender, tx.nonce), tx.clone());
        Ok(())
    }

    pub(crate) fn get(&self, sender: Address, nonce: u64) -> Option<&RawTx> {
        self.0.get(&(sender, nonce))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets a transaction.
    pub(crate) fn forget(&mut self, sender: Address, nonce: u64) -> bool {
        self.0.remove(&(sender, nonce)).is_some()
    }
}
