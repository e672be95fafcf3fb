//! The search of a wallet's history for the transactions of an order.

use alloy_primitives::U64;
use order_engine_core::{OrderId, TxId, VenueError};
use serde_json::json;

use crate::agreement::BlockId;
use crate::draft::tx_id;
use crate::nonce_use::NonceUses;
use crate::rpc::wire::Head;
use crate::rpc::{Cluster, RpcError};
use crate::tag;
use crate::venue_error::venue_error;

/// How much earlier than on this machine a block may be dated on the chain, in seconds.
const CLOCK_SKEW_S: u64 = 600;

/// Returns the final transactions of a wallet that carry the tag of an order, among those that its nonces have had since the order was
/// accepted.
///
/// # Errors
/// If no node answers or has the states since then, or the wallet has used more nonces than `nonces_max`.
pub(crate) async fn find(
    cluster: &Cluster,
    uses: &NonceUses,
    order: OrderId,
    nonces_max: u64,
) -> Result<Vec<TxId>, VenueError> {
    let newest = cluster.final_block().await.map_err(venue_error)?;
    let accepted_s = u64::try_from(order.accepted_at().timestamp()).unwrap_or(0);
    let oldest = block_before(cluster, accepted_s.saturating_sub(CLOCK_SKEW_S), newest).await;
    let oldest = oldest.map_err(venue_error)?;
    let first = uses.count(cluster, oldest).await.map_err(venue_error)?;
    let end = uses.count(cluster, newest).await.map_err(venue_error)?;
    if end.saturating_sub(first) > nonces_max {
        return Err(VenueError::new("the wallet has more transactions since the order than are looked at"));
    }
    let mut found = Vec::new();
    for nonce in (first..end).rev() {
        let tx = uses.of(cluster, nonce, newest).await.map_err(venue_error)?;
        let tx = tx.filter(|tx| tag::carries(&tx.input, order));
        found.extend(tx.map(|tx| tx_id(tx.hash)));
    }
    Ok(found)
}

/// Returns the newest final block that is not after a time, or the first one.
async fn block_before(cluster: &Cluster, time_s: u64, newest: BlockId) -> Result<BlockId, RpcError> {
    let (mut low, mut high) = (0, newest.number);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if head(cluster, middle).await?.timestamp.to::<u64>() <= time_s {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(BlockId { number: low, hash: cluster.hash_at(low).await? })
}

async fn head(cluster: &Cluster, number: u64) -> Result<Head, RpcError> {
    let head: Option<Head> = cluster.query("eth_getBlockByNumber", json!([U64::from(number), false])).await?;
    head.ok_or_else(|| RpcError::malformed("a final block is missing"))
}
