//! The search for transactions, with the evidence of how far each node has searched.
//!
//! The answer of `getSignatureStatuses` does not say what the answering node holds as final, and behind one address there may be
//! many nodes. So the request also names *witnesses*: transactions of somebody else that just became final. A node that
//! shows a witness as final, in the same answer in which it does not know the transaction, has itself come as far.

use std::collections::{BTreeMap, BTreeSet};

use order_engine_core::{Certainty, NonceValue, TxRef, Validity};
use serde_json::{Value, json};
use solana_pubkey::Pubkey;

use crate::agreement::{Agreed, HistoryStart, NodeReport, SearchStart, agree, quorum_th};
use crate::rpc::wire::{BlockHead, EpochInfo, ListedSignature, STATUSES_MAX, SignatureStatus, WithContext};
use crate::rpc::{Cluster, RpcError};

/// How many of the newest transactions are read to find one that is final. A node returns final ones only, but some ignore
/// what they are asked for.
const WITNESSES_READ: usize = 100;
/// For how many heights after its block a hash is valid.
pub(crate) const VALID_HEIGHTS: u64 = 150;

/// A final block: its slot, and a height that it has at least.
type Place = (u64, u64);

/// Searches for transactions on all nodes.
#[derive(Debug)]
pub(crate) struct Searcher {
    /// An account that is part of a transaction in nearly every block.
    busy_account: Pubkey,
    /// A node that has everything from this slot on has everything.
    complete_from_slot: u64,
}

/// The transactions that are asked about, and the witnesses.
struct Request<'a> {
    txs: &'a [TxRef<'a>],
    witnesses: Vec<String>,
}

impl Searcher {
    pub(crate) const fn new(busy_account: Pubkey, complete_from_slot: u64) -> Self {
        Self { busy_account, complete_from_slot }
    }

    fn start_of(&self, tx: &TxRef<'_>) -> SearchStart {
        SearchStart { slot: self.complete_from_slot, height: tx.validity.and_then(signed_after) }
    }

    /// Asks all nodes about transactions, and returns what they agree on, in the order asked.
    ///
    /// # Errors
    /// If fewer nodes answer than the quorum.
    pub(crate) async fn search(&self, cluster: &Cluster, txs: &[TxRef<'_>]) -> Result<Vec<Agreed>, RpcError> {
        let witnesses = self.witnesses(cluster).await;
        let most = STATUSES_MAX.saturating_sub(witnesses.len()).max(1);
        let mut agreed = Vec::with_capacity(txs.len());
        for txs in txs.chunks(most) {
            let request = Request { txs, witnesses: witnesses.clone() };
            agreed.extend(self.search_some(cluster, &request).await?);
        }
        Ok(agreed)
    }

    /// Returns the newest final transaction that each node knows of the busy account.
    async fn witnesses(&self, cluster: &Cluster) -> Vec<String> {
        let settings = json!({ "limit": WITNESSES_READ, "commitment": "finalized" });
        let params = json!([self.busy_account.to_string(), settings]);
        let lists: Vec<Result<Vec<ListedSignature>, RpcError>> =
            cluster.ask_all("getSignaturesForAddress", &params).await;
        let mut witnesses: Vec<String> = lists
            .into_iter()
            .flatten()
            .filter_map(|listed| {
                let is_final = |one: &ListedSignature| {
                    one.confirmation_status == Some(Certainty::Finalized) && one.is_transaction()
                };
                listed.into_iter().find(is_final).map(|one| one.signature)
            })
            .collect();
        witnesses.sort_unstable();
        witnesses.dedup();
        witnesses
    }

    async fn search_some(&self, cluster: &Cluster, request: &Request<'_>) -> Result<Vec<Agreed>, RpcError> {
        let ids =
            request.txs.iter().map(|tx| tx.id.as_str()).chain(request.witnesses.iter().map(String::as_str));
        let params = json!([ids.collect::<Vec<_>>(), { "searchTransactionHistory": true }]);
        let answers = cluster.ask_all("getSignatureStatuses", &params).await;
        let answered = |answer: &Result<WithContext<Vec<Option<SignatureStatus>>>, RpcError>| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.value.len() == request.txs.len() + request.witnesses.len())
        };
        if answers.iter().filter(|answer| answered(answer)).count() < cluster.quorum() {
            let failed = answers.into_iter().find_map(Result::err);
            return Err(
                failed.unwrap_or_else(|| RpcError::malformed("another number of statuses was asked for"))
            );
        }
        let is_any_absent = answers
            .iter()
            .filter(|answer| answered(answer))
            .flatten()
            .any(|answer| answer.value[..request.txs.len()].iter().any(Option::is_none));
        let (places, histories) =
            if is_any_absent { self.evidence(cluster).await } else { (Vec::new(), Vec::new()) };
        let mut nodes = Vec::new();
        for (node, answer) in answers.into_iter().enumerate().filter(|(_, answer)| answered(answer)) {
            let Ok(WithContext { context, mut value }) = answer else { continue };
            cluster.note_slot(node, context.slot);
            let witnesses = value.split_off(request.txs.len());
            let searched_through = searched_through(&witnesses, &places, cluster.quorum());
            nodes.push((value, searched_through, histories.get(node).copied().flatten()));
        }
        let agree_on = |(index, tx): (usize, &TxRef<'_>)| {
            let reports: Vec<NodeReport> = nodes
                .iter()
                .map(|(statuses, searched_through, history)| match &statuses[index] {
                    Some(status) => NodeReport::Found(status.clone()),
                    None => NodeReport::Absent { searched_through: *searched_through, history: *history },
                })
                .collect();
            agree(&reports, cluster.quorum(), self.start_of(tx))
        };
        Ok(request.txs.iter().enumerate().map(agree_on).collect())
    }

    /// Returns final blocks that the nodes name, by which slots are told in heights, and where the history of each node
    /// begins.
    async fn evidence(&self, cluster: &Cluster) -> (Vec<Place>, Vec<Option<HistoryStart>>) {
        let finalized = json!([{ "commitment": "finalized" }]);
        let places = cluster.ask_all::<EpochInfo>("getEpochInfo", &finalized);
        let (places, histories) = tokio::join!(places, self.histories(cluster));
        let place = |info: EpochInfo| (info.absolute_slot, info.block_height);
        (places.into_iter().flatten().map(place).collect(), histories)
    }

    /// Returns where the history of each node begins. The height is asked for where the history is not the whole one.
    async fn histories(&self, cluster: &Cluster) -> Vec<Option<HistoryStart>> {
        let slots = cluster.ask_all::<u64>("getFirstAvailableBlock", &Value::Null).await;
        let slots: Vec<Option<u64>> = slots.into_iter().map(Result::ok).collect();
        let pruned: BTreeSet<u64> =
            slots.iter().flatten().copied().filter(|slot| *slot > self.complete_from_slot).collect();
        let mut heights = BTreeMap::new();
        for slot in pruned {
            heights.insert(slot, block_heights(cluster, slot).await);
        }
        let start = |(node, slot): (usize, Option<u64>)| {
            let slot = slot?;
            let height = heights.get(&slot).and_then(|heights| heights.get(node).copied().flatten());
            Some(HistoryStart { slot, height })
        };
        slots.into_iter().enumerate().map(start).collect()
    }
}

/// Returns the height of the block of a slot, as each node tells it.
async fn block_heights(cluster: &Cluster, slot: u64) -> Vec<Option<u64>> {
    let heads = cluster.ask_all::<Option<BlockHead>>("getBlock", &BlockHead::params(slot, "finalized")).await;
    heads.into_iter().map(|head| head.ok().flatten()?.block_height).collect()
}

/// Returns a height that the chain had when a transaction was signed, if what bounds it says so.
///
/// The height at which it expires is at most twice the life of a hash after the signing (see
/// [`SolanaVenue::prepare`](crate::SolanaVenue)), and that at which its nonce was read may be told too high by as much as one life.
/// One life more, because a fork may have fewer blocks than the one that was left.
fn signed_after(validity: &Validity) -> Option<u64> {
    let read_at = || match &validity.nonce()?.value {
        NonceValue::Opaque(value) => Some(value.read_at),
        NonceValue::Number(_) => None,
    };
    let height = validity.until_height().or_else(read_at)?;
    Some(height.saturating_sub(3 * VALID_HEIGHTS))
}

/// Returns the height through which a node has searched, by the newest witness that it shows as final.
fn searched_through(witnesses: &[Option<SignatureStatus>], places: &[Place], quorum: usize) -> Option<u64> {
    let is_final = |status: &&SignatureStatus| status.confirmation_status == Some(Certainty::Finalized);
    let newest = witnesses.iter().flatten().filter(is_final).map(|status| status.slot).max()?;
    quorum_th(places.iter().map(|place| height_at_least(newest, *place)), quorum)
}

/// Returns a height that the block of a slot has at least, by the height of another block: no slot has more than one block.
const fn height_at_least(slot: u64, (known_slot, known_height): Place) -> u64 {
    known_height.saturating_sub(known_slot.saturating_sub(slot))
}

#[cfg(test)]
mod tests {
    use order_engine_core::AccountNonce;

    use super::*;

    fn witness(slot: u64, certainty: Certainty) -> SignatureStatus {
        SignatureStatus { slot, err: None, confirmation_status: Some(certainty) }
    }

    #[test]
    fn only_a_final_witness_shows_how_far_a_node_has_come() {
        let places = [(1_000, 900)];
        let through = |shown: &[SignatureStatus]| {
            let shown: Vec<_> = shown.iter().cloned().map(Some).chain([None]).collect();
            searched_through(&shown, &places, 1)
        };
        assert_eq!(through(&[]), None);
        assert_eq!(through(&[witness(990, Certainty::Confirmed)]), None);
        assert_eq!(through(&[witness(990, Certainty::Finalized)]), Some(890));
        assert_eq!(
            through(&[witness(980, Certainty::Finalized), witness(995, Certainty::Finalized)]),
            Some(895)
        );
        assert_eq!(through(&[witness(1_005, Certainty::Finalized)]), Some(900), "slots may be empty");
        assert_eq!(searched_through(&[Some(witness(990, Certainty::Finalized))], &[], 1), None);
    }

    #[test]
    fn one_node_that_exaggerates_a_height_is_not_believed() {
        let places = [(1_000, 900), (1_000, 1_000_000)];
        assert_eq!(searched_through(&[Some(witness(1_000, Certainty::Finalized))], &places, 2), Some(900));
    }

    #[test]
    fn what_bounds_a_transaction_tells_when_it_was_signed() {
        let nonce = |value| Validity::Nonce(AccountNonce::new("account", value));
        assert_eq!(signed_after(&Validity::UntilHeight(1_000)), Some(550));
        assert_eq!(signed_after(&nonce(NonceValue::opaque("value", 1_000))), Some(550));
        assert_eq!(signed_after(&Validity::UntilHeight(200)), Some(0), "no height is below the first one");
        assert_eq!(signed_after(&nonce(NonceValue::Number(7))), None);
    }
}
