//! The search for transactions.

use alloy_primitives::{Address, B256, U64};
use order_engine_core::{Certainty, NonceValue, TxRef, Validity};
use serde_json::{Value, json};

use crate::agreement::{Agreed, BlockId, agree, quorum_th};
use crate::draft::hash_of;
use crate::nonce_use::NonceUses;
use crate::rpc::wire::Receipt;
use crate::rpc::{Cluster, RpcError};

/// The most transactions in one request.
const RECEIPTS_MAX: usize = 50;

/// What is known of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// It is in no block that the nodes know.
    Absent {
        /// The final height up to which it is in no block for certain, because another transaction has used its nonce.
        searched_through: Option<u64>,
        /// The height up to which a quorum of the nodes has seen no block with it.
        seen_through: Option<u64>,
    },
    /// It is in a block.
    Landed {
        /// What it did there.
        receipt: Receipt,
        /// How certain that is.
        certainty: Certainty,
    },
}

/// What one node answers to one question for a receipt.
type Answer = Result<Option<Receipt>, RpcError>;

/// The final blocks and the safe ones, read once for a search.
struct Heights {
    newest_final: Result<BlockId, RpcError>,
    /// The highest safe block; the final one if the chain has none.
    safe: u64,
}

/// Asks all nodes about transactions of a wallet, and returns what they agree on, in the order asked.
///
/// # Errors
/// If fewer nodes answer than the quorum.
pub(crate) async fn search(
    cluster: &Cluster,
    (wallet, uses): (Address, &NonceUses),
    txs: &[TxRef<'_>],
) -> Result<Vec<Found>, RpcError> {
    let heights = Heights::read(cluster).await;
    let mut found = Vec::with_capacity(txs.len());
    for txs in txs.chunks(RECEIPTS_MAX) {
        // The heights before the search, so that what is not found was searched for up to there.
        let seen = cluster.ask_all::<U64>("eth_blockNumber", &json!([])).await;
        let hashes: Vec<Option<B256>> = txs.iter().map(|tx| hash_of(tx.id)).collect();
        let reports = receipts(cluster, wallet, &hashes).await;
        for (place, tx) in txs.iter().enumerate() {
            let answers = reports.iter().map(|node| node.as_ref().and_then(|node| node[place].as_ref().ok()));
            let seen = seen.iter().zip(answers.clone()).filter(|(_, answer)| answer.is_some());
            let seen = quorum_th(seen.filter_map(|(seen, _)| seen.as_ref().ok()), cluster.quorum());
            let reports: Vec<Option<Receipt>> = answers.flatten().cloned().collect();
            let agreed =
                agree(&reports, cluster.quorum()).ok_or(RpcError::NoQuorum { what: "a transaction" })?;
            found.push(match agreed {
                Agreed::Absent => Found::Absent {
                    searched_through: absence(cluster, uses, tx, &heights).await,
                    seen_through: seen.map(|height| height.to()),
                },
                Agreed::Found { receipt, is_agreed } => {
                    let certainty = if is_agreed {
                        certainty(cluster, &receipt, &heights).await
                    } else {
                        Certainty::Processed
                    };
                    Found::Landed { receipt, certainty }
                }
            });
        }
    }
    Ok(found)
}

impl Heights {
    async fn read(cluster: &Cluster) -> Self {
        let newest_final = cluster.final_block().await;
        let safe = cluster.safe().await.map_or(0, |head| head.number.to());
        Self { safe: newest_final.as_ref().map_or(safe, |block| safe.max(block.number)), newest_final }
    }
}

/// Returns the answers of each node that answered.
async fn receipts(cluster: &Cluster, wallet: Address, hashes: &[Option<B256>]) -> Vec<Option<Vec<Answer>>> {
    let asked = |hash: &Option<B256>| hash.unwrap_or(B256::ZERO);
    let calls: Vec<(&'static str, Value)> =
        hashes.iter().map(|hash| ("eth_getTransactionReceipt", json!([asked(hash)]))).collect();
    let nodes = cluster.ask_all_batch::<Option<Receipt>>(&calls).await;
    let checked = |(hash, answer): (&Option<B256>, Answer)| match answer {
        Ok(Some(receipt)) if receipt.transaction_hash != asked(hash) || receipt.from != wallet => {
            Err(RpcError::malformed("the node answered with another receipt"))
        }
        answer => answer,
    };
    let node = |answers: Vec<Answer>| hashes.iter().zip(answers).map(checked).collect();
    nodes.into_iter().map(|answers| answers.ok().map(node)).collect()
}

/// Returns the final height up to which a transaction is in no block: that of the newest final block, if another transaction
/// has used its nonce up to there.
async fn absence(cluster: &Cluster, uses: &NonceUses, tx: &TxRef<'_>, heights: &Heights) -> Option<u64> {
    let (hash, nonce) = (hash_of(tx.id)?, tx.validity.and_then(nonce_of)?);
    let newest = heights.newest_final.as_ref().ok()?;
    match uses.of(cluster, nonce, *newest).await {
        Ok(Some(other)) if other.hash != hash => Some(newest.number),
        // It is unused; or used by this very transaction, and the receipts lag.
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(error = %order_engine_core::telemetry::chain(&error), nonce, "nobody shows what used a nonce");
            None
        }
    }
}

fn nonce_of(validity: &Validity) -> Option<u64> {
    validity.nonce().map(|nonce| &nonce.value).and_then(NonceValue::number)
}

/// Returns how certain a receipt is on which the nodes agree.
async fn certainty(cluster: &Cluster, receipt: &Receipt, heights: &Heights) -> Certainty {
    let number: u64 = receipt.block_number.to();
    let is_final = heights.newest_final.as_ref().is_ok_and(|block| number <= block.number);
    if !is_final {
        return if number <= heights.safe { Certainty::Confirmed } else { Certainty::Processed };
    }
    // A node may have shown a block of a fork that it has not left yet.
    match cluster.hash_at(number).await {
        Ok(hash) if hash == receipt.block_hash => Certainty::Finalized,
        _ => Certainty::Processed,
    }
}
