//! Which transaction has used a nonce for good.
//!
//! That a node does not know a transaction proves nothing, whatever the node says about itself: behind one address there may
//! be many, and some lag. But a nonce is used once. So the proof that a transaction can never land is the transaction that has
//! its nonce, in a final block, as a quorum of the nodes shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::{Address, B256, U64};
use serde_json::json;

use crate::agreement::{BlockId, quorum_of};
use crate::rpc::wire::{Block, Transaction};
use crate::rpc::{Cluster, RpcError};

/// Of how many nonces it is remembered what used them.
const USES_MAX: usize = 4_096;
/// How many blocks before the newest final one are read one by one if the nodes have forgotten the older states.
const BLOCKS_READ_MAX: u64 = 512;

/// Finds out what used the nonces of a wallet.
#[derive(Debug)]
pub(crate) struct NonceUses {
    wallet: Address,
    /// What used a nonce for good; it never changes.
    known: Mutex<BTreeMap<u64, Transaction>>,
}

impl NonceUses {
    pub(crate) fn new(wallet: Address) -> Self {
        Self { wallet, known: Mutex::default() }
    }

    /// Returns how many nonces the wallet has used up to a final block, as a quorum of the nodes says.
    pub(crate) async fn count(&self, cluster: &Cluster, block: BlockId) -> Result<u64, RpcError> {
        let at = json!({ "blockHash": block.hash });
        let counts = cluster.ask_all::<U64>("eth_getTransactionCount", &json!([self.wallet, at])).await;
        let (counts, errors): (Vec<_>, Vec<_>) = counts.into_iter().partition(Result::is_ok);
        let agreed = quorum_of(counts.into_iter().flatten().collect(), cluster.quorum());
        agreed.map(|count: U64| count.to()).ok_or_else(|| {
            errors.into_iter().find_map(Result::err).unwrap_or(RpcError::NoQuorum { what: "a nonce" })
        })
    }

    /// Returns the transaction that has used a nonce in the final blocks up to one; `None` if it is not used there.
    ///
    /// # Errors
    /// If too few nodes answer or agree, or none has the states or blocks in which the use can be found.
    pub(crate) async fn of(
        &self,
        cluster: &Cluster,
        nonce: u64,
        newest: BlockId,
    ) -> Result<Option<Transaction>, RpcError> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&nonce) {
            return Ok(Some(known.clone()));
        }
        if self.count(cluster, newest).await? <= nonce {
            return Ok(None);
        }
        let transaction = match self.block_of(cluster, nonce, newest.number).await {
            Ok(number) => self.agreed_use(cluster, nonce, number).await?,
            Err(_) => self.read_back(cluster, nonce, newest.number).await?,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(nonce, transaction.clone());
        if known.len() > USES_MAX {
            known.pop_first();
        }
        Ok(Some(transaction))
    }

    /// Returns the number of the block with the transaction that used a nonce, which is not after `newest`. Any node may say so:
    /// a wrong block has no such transaction.
    async fn block_of(&self, cluster: &Cluster, nonce: u64, newest: u64) -> Result<u64, RpcError> {
        // Back in growing steps, because most nodes have the states of recent blocks only.
        let (mut unused, mut used, mut step) = (newest, newest, 1);
        loop {
            if unused == 0 {
                break;
            }
            unused = unused.saturating_sub(step);
            step *= 2;
            if self.count_at(cluster, unused).await? <= nonce {
                break;
            }
            used = unused;
        }
        while used - unused > 1 {
            let middle = unused + (used - unused) / 2;
            if self.count_at(cluster, middle).await? <= nonce { unused = middle } else { used = middle }
        }
        Ok(used)
    }

    async fn count_at(&self, cluster: &Cluster, number: u64) -> Result<u64, RpcError> {
        let count: U64 =
            cluster.query("eth_getTransactionCount", json!([self.wallet, U64::from(number)])).await?;
        Ok(count.to())
    }

    /// Looks for the use in recent blocks, one after the other.
    async fn read_back(&self, cluster: &Cluster, nonce: u64, newest: u64) -> Result<Transaction, RpcError> {
        for number in (newest.saturating_sub(BLOCKS_READ_MAX)..=newest).rev() {
            let params = json!([U64::from(number), true]);
            let block: Option<Block> = cluster.query("eth_getBlockByNumber", params).await?;
            if block.is_some_and(|block| self.in_block(&block, nonce).is_some()) {
                return self.agreed_use(cluster, nonce, number).await;
            }
        }
        Err(RpcError::NoQuorum { what: "the use of a nonce" })
    }

    /// Returns the transaction with a nonce in a block, as a quorum of the nodes shows both.
    async fn agreed_use(&self, cluster: &Cluster, nonce: u64, number: u64) -> Result<Transaction, RpcError> {
        let params = json!([U64::from(number), true]);
        let blocks = cluster.ask_all::<Option<Block>>("eth_getBlockByNumber", &params).await;
        let shown: Vec<(B256, Transaction)> = blocks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|block| Some((block.hash, self.in_block(&block, nonce)?.clone())))
            .collect();
        let agreed = quorum_of(shown, cluster.quorum());
        agreed.map(|(_, tx)| tx).ok_or(RpcError::NoQuorum { what: "the use of a nonce" })
    }

    fn in_block<'a>(&self, block: &'a Block, nonce: u64) -> Option<&'a Transaction> {
        block.transactions.iter().find(|tx| tx.from == self.wallet && tx.nonce.to::<u64>() == nonce)
    }
}
