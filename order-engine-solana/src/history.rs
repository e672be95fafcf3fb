//! The search of a wallet's history for the transactions of an order.

use order_engine_core::{OrderId, TxId, VenueError};
use serde_json::json;
use solana_pubkey::Pubkey;

use crate::instructions::memo;
use crate::rpc::wire::{ListedSignature, SIGNATURES_MAX};
use crate::rpc::{Cluster, RpcError};
use crate::venue_error::venue_error;

/// How much earlier than on this machine a block may be dated on the chain, in seconds. Its time is a vote of the validators.
const CLOCK_SKEW_S: i64 = 600;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// A node whose history begins here or before has everything.
    pub(crate) complete_from_slot: u64,
    /// The most transactions that are looked at.
    pub(crate) transactions_max: usize,
}

/// Returns the final transactions of a wallet that carry the tag of an order.
///
/// # Errors
/// If no node answers, or the history could not be searched back to the order's acceptance.
pub(crate) async fn find(
    cluster: &Cluster,
    wallet: Pubkey,
    order: OrderId,
    extent: Extent,
) -> Result<Vec<TxId>, VenueError> {
    let (tag, accepted_s) = (memo::tag(order), order.accepted_at().timestamp() - CLOCK_SKEW_S);
    let (mut found, mut looked_at, mut before) = (Vec::new(), 0, None::<String>);
    while looked_at < extent.transactions_max {
        let settings = json!({ "limit": SIGNATURES_MAX, "before": before, "commitment": "finalized" });
        let params = json!([wallet.to_string(), settings]);
        let page: Vec<ListedSignature> =
            cluster.query("getSignaturesForAddress", params).await.map_err(venue_error)?;
        looked_at += page.len();
        let carries =
            |one: &&ListedSignature| one.memo.as_deref().is_some_and(|memos| memo::lists(memos, &tag));
        found.extend(
            page.iter()
                .filter(carries)
                .filter(|one| one.is_transaction())
                .map(|one| TxId::new(one.signature.clone())),
        );
        let Some(oldest) = page.last().filter(|_| page.len() == SIGNATURES_MAX) else {
            let is_complete = is_complete_since(cluster, accepted_s, extent).await.map_err(venue_error)?;
            let begins_late = || VenueError::new("the history of its nodes begins after the order");
            return is_complete.then_some(found).ok_or_else(begins_late);
        };
        if oldest.block_time.is_some_and(|time| time < accepted_s) {
            return Ok(found);
        }
        before = Some(oldest.signature.clone());
    }
    Err(VenueError::new("the wallet has more transactions since the order than are looked at"))
}

/// Returns whether the history of all nodes begins before a time.
async fn is_complete_since(cluster: &Cluster, time_s: i64, extent: Extent) -> Result<bool, RpcError> {
    let first_slots = cluster.ask_all::<u64>("getFirstAvailableBlock", &json!([])).await;
    let first = first_slots.into_iter().collect::<Result<Vec<u64>, RpcError>>()?.into_iter().max();
    let Some(first) = first.filter(|first| *first > extent.complete_from_slot) else { return Ok(true) };
    let time: Option<i64> = cluster.query("getBlockTime", json!([first])).await?;
    Ok(time.is_some_and(|time| time < time_s))
}
