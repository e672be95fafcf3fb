//! The search for transactions, with the evidence of how far each node has searched.
//!
//! The answer of `getSignatureStatuses` does not say what the answering node holds as final, and behind one address there may be
//! many nodes. So the request also names *witnesses*: transactions of somebody else that just became final. A node that
//! shows a witness as final, in the same answer in which it does not know the transaction, has itself come as far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use order_engine_core::{Certainty, TxId};
use serde_json::{Value, json};
use solana_pubkey::Pubkey;

use crate::agreement::{Agreed, NodeReport, agree, quorum_th};
use crate::rpc::wire::{EpochInfo, ListedSignature, STATUSES_MAX, SignatureStatus, WithContext};
use crate::rpc::{Cluster, RpcError};

/// How many of the newest transactions are read to find one that is final. A node returns final ones only, but some ignore
/// what they are asked for.
const WITNESSES_READ: usize = 100;
/// Of how many transactions it is remembered when they were signed.
const BIRTHS_MAX: usize = 65_536;

/// A final block: its slot, and a height that it has at least.
type Place = (u64, u64);

/// Searches for transactions on all nodes.
#[derive(Debug)]
pub(crate) struct Searcher {
    /// An account that is part of a transaction in nearly every block.
    busy_account: Pubkey,
    /// A node that has everything from this slot on has everything.
    complete_from_slot: u64,
    births: Mutex<Births>,
}

/// The slots before which transactions were not signed.
#[derive(Debug, Default)]
struct Births {
    slots: BTreeMap<TxId, u64>,
    order: VecDeque<TxId>,
}

/// The transactions that are asked about, and the witnesses.
struct Request<'a> {
    tx_ids: &'a [TxId],
    witnesses: Vec<String>,
}

impl Searcher {
    pub(crate) fn new(busy_account: Pubkey, complete_from_slot: u64) -> Self {
        Self { busy_account, complete_from_slot, births: Mutex::default() }
    }

    /// Remembers that a transaction was signed after this slot, so that nodes with a shorter history can prove its
    /// absence.
    pub(crate) fn note_birth(&self, tx_id: &TxId, slot: u64) {
        let mut births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
        if births.slots.insert(tx_id.clone(), slot).is_none() {
            births.order.push_back(tx_id.clone());
        }
        if births.order.len() > BIRTHS_MAX
            && let Some(oldest) = births.order.pop_front()
        {
            births.slots.remove(&oldest);
        }
    }

    /// Remembers the same of a transaction of which nothing is remembered yet.
    pub(crate) fn note_birth_unless_known(&self, tx_id: &TxId, slot: u64) {
        let is_known = {
            let births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
            births.slots.contains_key(tx_id)
        };
        if !is_known {
            self.note_birth(tx_id, slot);
        }
    }

    /// Returns the slot after which a transaction was signed as far as is remembered, or else this one.
    pub(crate) fn birth(&self, tx_id: &TxId, or_else: u64) -> u64 {
        let births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
        births.slots.get(tx_id).copied().unwrap_or(or_else)
    }

    /// Returns the slot at which a search for a transaction has to begin: that of its signing, and none before the
    /// history begins.
    fn oldest_slot(&self, tx_id: &TxId) -> u64 {
        let births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
        births.slots.get(tx_id).copied().unwrap_or(0).max(self.complete_from_slot)
    }

    /// Asks all nodes about transactions, and returns what they agree on, in the order asked.
    ///
    /// # Errors
    /// If fewer nodes answer than the quorum.
    pub(crate) async fn search(&self, cluster: &Cluster, tx_ids: &[TxId]) -> Result<Vec<Agreed>, RpcError> {
        let witnesses = self.witnesses(cluster).await;
        let most = STATUSES_MAX.saturating_sub(witnesses.len()).max(1);
        let mut agreed = Vec::with_capacity(tx_ids.len());
        for tx_ids in tx_ids.chunks(most) {
            let request = Request { tx_ids, witnesses: witnesses.clone() };
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
        let ids = request.tx_ids.iter().map(TxId::as_str).chain(request.witnesses.iter().map(String::as_str));
        let params = json!([ids.collect::<Vec<_>>(), { "searchTransactionHistory": true }]);
        let answers = cluster.ask_all("getSignatureStatuses", &params).await;
        let answered = |answer: &Result<WithContext<Vec<Option<SignatureStatus>>>, RpcError>| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.value.len() == request.tx_ids.len() + request.witnesses.len())
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
            .any(|answer| answer.value[..request.tx_ids.len()].iter().any(Option::is_none));
        let (places, first_slots) =
            if is_any_absent { evidence(cluster).await } else { (Vec::new(), Vec::new()) };
        let mut nodes = Vec::new();
        for (node, answer) in answers.into_iter().enumerate().filter(|(_, answer)| answered(answer)) {
            let Ok(WithContext { context, mut value }) = answer else { continue };
            cluster.note_slot(node, context.slot);
            let witnesses = value.split_off(request.tx_ids.len());
            let searched_through = searched_through(&witnesses, &places, cluster.quorum());
            nodes.push((value, searched_through, first_slots.get(node).copied().flatten()));
        }
        let agree_on = |(index, tx_id): (usize, &TxId)| {
            let reports: Vec<NodeReport> = nodes
                .iter()
                .map(|(statuses, searched_through, first_slot)| match &statuses[index] {
                    Some(status) => NodeReport::Found(status.clone()),
                    None => {
                        NodeReport::Absent { searched_through: *searched_through, first_slot: *first_slot }
                    }
                })
                .collect();
            agree(&reports, cluster.quorum(), self.oldest_slot(tx_id))
        };
        Ok(request.tx_ids.iter().enumerate().map(agree_on).collect())
    }
}

/// Returns final blocks that the nodes name, by which slots are told in heights, and where the history of each node
/// begins.
async fn evidence(cluster: &Cluster) -> (Vec<Place>, Vec<Option<u64>>) {
    let finalized = json!([{ "commitment": "finalized" }]);
    let places = cluster.ask_all::<EpochInfo>("getEpochInfo", &finalized);
    let first_slots = cluster.ask_all::<u64>("getFirstAvailableBlock", &Value::Null);
    let (places, first_slots) = tokio::join!(places, first_slots);
    let place = |info: EpochInfo| (info.absolute_slot, info.block_height);
    (places.into_iter().flatten().map(place).collect(), first_slots.into_iter().map(Result::ok).collect())
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
    fn a_transaction_that_nobody_here_signed_needs_the_whole_history() {
        let searcher = Searcher::new(Pubkey::default(), 31);
        searcher.note_birth(&"mine".into(), 700);
        assert_eq!(searcher.oldest_slot(&"mine".into()), 700);
        assert_eq!(searcher.oldest_slot(&"other".into()), 31);
    }

    #[test]
    fn no_transaction_is_older_than_the_history() {
        let searcher = Searcher::new(Pubkey::default(), 31);
        searcher.note_birth(&"early".into(), 0);
        assert_eq!(searcher.oldest_slot(&"early".into()), 31);
    }

    #[test]
    fn only_so_many_births_are_remembered() {
        let searcher = Searcher::new(Pubkey::default(), 0);
        for number in 0..=BIRTHS_MAX {
            searcher.note_birth(&TxId::new(number.to_string()), 7);
        }
        assert_eq!(searcher.oldest_slot(&"0".into()), 0);
        assert_eq!(searcher.oldest_slot(&"1".into()), 7);
    }
}
