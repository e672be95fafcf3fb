//! The nonce accounts of a venue: what their values are, and since when.
//!
//! A value counts only if a quorum of nodes shows it at finality: one that a fork takes back could come again. Nodes name
//! the slot of their answer. The engine counts heights, so a slot is told as the least and the greatest height that it can
//! have by the final blocks that a quorum names.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use order_engine_core::{
    AccountId, AccountNonce, AccountView, Failure, FailureCode, NonceSource, NonceValue, StepError, Validity,
    VenueError,
};
use serde_json::json;
use solana_pubkey::Pubkey;

use super::SolanaVenue;
use super::prepare::Bound;
use crate::agreement::quorum_th;
use crate::nonce::DurableNonce;
use crate::rpc::wire::{ACCOUNTS_MAX, AccountJson, EpochInfo, WithContext};
use crate::rpc::{Cluster, RpcError};
use crate::search::VALID_HEIGHTS;
use crate::venue_error::{unavailable, venue_error};

/// What stands for the value of an account that is no nonce account any more.
const CLOSED: &str = "closed";

/// The values of nonce accounts that this process has seen at finality.
#[derive(Debug, Default)]
pub(super) struct SeenValues {
    known: Mutex<BTreeMap<Pubkey, Seen>>,
}

/// A value of an account at finality.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    nonce: Option<DurableNonce>,
    /// The least height of the block after which the account had it last, as far as is known.
    last_at: u64,
    /// The greatest height of the block after which it was first seen.
    first_at: u64,
}

/// A value that nodes agree on, and between which slots they have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agreed {
    nonce: Option<DurableNonce>,
    first_slot: u64,
    last_slot: u64,
}

/// What a node shows: the slot, and the accounts in the order asked.
type Shown = (u64, Vec<Option<DurableNonce>>);

/// Final blocks that nodes name.
struct Places {
    infos: Vec<EpochInfo>,
    quorum: usize,
}

impl SeenValues {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Pubkey, Seen>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what nodes agree on now. Returns what is known of the account with it. An answer of nodes that lag changes
    /// nothing.
    fn note(&self, account: Pubkey, now: Option<Seen>) -> Option<Seen> {
        let mut known = self.known();
        let Some(now) = now else { return known.get(&account).cloned() };
        let seen = match known.remove(&account) {
            Some(before) if before.nonce == now.nonce => Seen {
                last_at: before.last_at.max(now.last_at),
                first_at: before.first_at.min(now.first_at),
                ..now
            },
            Some(before) if before.last_at >= now.last_at => before,
            _ => now,
        };
        known.insert(account, seen.clone());
        Some(seen)
    }
}

impl Places {
    async fn ask(cluster: &Cluster) -> Self {
        let finalized = json!([{ "commitment": "finalized" }]);
        let answers = cluster.ask_all::<EpochInfo>("getEpochInfo", &finalized).await;
        Self { infos: answers.into_iter().flatten().collect(), quorum: cluster.quorum() }
    }

    /// Returns a height that the block of a slot has at least: so many nodes say so that one of them is right.
    fn height_min(&self, slot: u64) -> Option<u64> {
        let height =
            |info: &EpochInfo| info.block_height.saturating_sub(info.absolute_slot.saturating_sub(slot));
        quorum_th(self.infos.iter().map(height), self.quorum)
    }

    /// Returns a height that it has at most: no slot has more than one block.
    fn height_max(&self, slot: u64) -> Option<u64> {
        let height =
            |info: &EpochInfo| info.block_height.saturating_add(slot.saturating_sub(info.absolute_slot));
        let mut heights: Vec<u64> = self.infos.iter().map(height).collect();
        heights.sort_unstable();
        heights.get(self.quorum - 1).copied()
    }
}

impl SolanaVenue {
    /// Takes a value for a transaction that no other one has; nothing if the venue has no nonce accounts.
    pub(super) async fn choose_nonce(&self, nonces: &dyn NonceSource) -> Result<Option<Bound>, StepError> {
        let accounts = &self.options.nonce_accounts;
        if accounts.is_empty() {
            return Ok(None);
        }
        let (shown, places) = self.shown(accounts, "finalized").await.map_err(unavailable)?;
        let wallet = self.signer.address();
        let mut offered = BTreeMap::new();
        for (index, account) in accounts.iter().enumerate() {
            let agreed = agree(&shown, index, self.cluster.quorum());
            let Some((nonce, agreed)) = agreed.and_then(|agreed| Some((agreed.nonce?, agreed))) else {
                tracing::warn!(%account, "a nonce account has no value that the nodes agree on");
                continue;
            };
            if nonce.authority != wallet {
                tracing::warn!(%account, "a nonce account has another authority than the wallet");
                continue;
            }
            let Some(read_at) = places.height_max(agreed.last_slot) else { continue };
            let value = NonceValue::opaque(nonce.value.to_string(), read_at);
            let name = AccountNonce::new(account.to_string(), value);
            offered.insert(name, nonce);
        }
        if offered.is_empty() {
            let message = "The nodes agree on the value of no nonce account of the wallet";
            return Err(StepError::unavailable(Failure::new(FailureCode::VENUE_UNAVAILABLE, message)));
        }
        let chosen = nonces.choose(offered.keys().cloned().collect()).await?;
        let Some(nonce) = offered.get(&chosen) else { return Ok(None) };
        Ok(Some(Bound { lifetime: nonce.lifetime(), validity: Validity::Nonce(chosen) }))
    }

    /// Returns how far nonce accounts have come.
    pub(super) async fn nonce_views(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        let parse = |account: &AccountId| {
            account.as_str().parse().map_err(|_| VenueError::new(format!("{account} is no address")))
        };
        let addresses = accounts.iter().map(parse).collect::<Result<Vec<Pubkey>, VenueError>>()?;
        let mut views = Vec::with_capacity(addresses.len());
        for addresses in addresses.chunks(ACCOUNTS_MAX) {
            let (finalized, newest) =
                tokio::join!(self.shown(addresses, "finalized"), self.shown(addresses, "processed"));
            let (finalized, newest) = (finalized.map_err(venue_error)?, newest.map_err(venue_error)?);
            for (index, address) in addresses.iter().enumerate() {
                views.push(self.view_of(*address, index, &finalized, &newest));
            }
        }
        Ok(views)
    }

    fn view_of(
        &self,
        address: Pubkey,
        index: usize,
        (finalized, places): &(Vec<Shown>, Places),
        (newest, newest_places): &(Vec<Shown>, Places),
    ) -> AccountView {
        let seen = |agreed: Agreed| {
            let last_at = places.height_min(agreed.first_slot)?;
            Some(Seen { nonce: agreed.nonce, last_at, first_at: places.height_max(agreed.last_slot)? })
        };
        let now = agree(finalized, index, self.cluster.quorum()).and_then(seen);
        // What no quorum says was read before everything else, and proves nothing.
        let known =
            self.seen_values.note(address, now).unwrap_or(Seen { nonce: None, last_at: 0, first_at: 0 });
        let at_finality = opaque(known.nonce.as_ref(), known.last_at);
        // One node alone must not make it look as if nothing were left to replace or to cancel.
        let newest = agree(newest, index, self.cluster.quorum()).and_then(|agreed| {
            Some(opaque(agreed.nonce.as_ref(), newest_places.height_min(agreed.first_slot)?))
        });
        AccountView::new(newest.unwrap_or_else(|| at_finality.clone()), at_finality, known.first_at)
    }

    /// Asks all nodes for nonce accounts, a hundred at most, and for final blocks.
    async fn shown(&self, accounts: &[Pubkey], commitment: &str) -> Result<(Vec<Shown>, Places), RpcError> {
        let named: Vec<String> = accounts.iter().map(Pubkey::to_string).collect();
        let params = json!([named, { "encoding": "base64", "commitment": commitment }]);
        let answers: Vec<Result<WithContext<Vec<Option<AccountJson>>>, RpcError>> =
            self.cluster.ask_all("getMultipleAccounts", &params).await;
        // Afterwards, so that an account is seldom read beyond the blocks that are named.
        let places = Places::ask(&self.cluster).await;
        let (mut shown, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(answer) if answer.value.len() == accounts.len() => {
                    let values = accounts.iter().zip(&answer.value);
                    let decoded = values.map(|(address, account)| decode(*address, account.as_ref()));
                    shown.push((answer.context.slot, decoded.collect()));
                }
                Ok(_) => failed = Some(RpcError::malformed("another number of accounts was asked for")),
                Err(error) => failed = Some(error),
            }
        }
        match failed.filter(|_| shown.len() < self.cluster.quorum()) {
            Some(error) => Err(error),
            None => Ok((shown, places)),
        }
    }
}

fn decode(address: Pubkey, account: Option<&AccountJson>) -> Option<DurableNonce> {
    DurableNonce::decode(address, &account?.decode().ok()?).ok()
}

fn opaque(nonce: Option<&DurableNonce>, read_at: u64) -> NonceValue {
    NonceValue::opaque(nonce.map_or_else(|| CLOSED.to_owned(), |nonce| nonce.value.to_string()), read_at)
}

/// Returns the value of an account that a quorum of nodes shows; of several the one that was shown last.
fn agree(shown: &[Shown], index: usize, quorum: usize) -> Option<Agreed> {
    let of_account: Vec<(u64, Option<DurableNonce>)> =
        shown.iter().filter_map(|(slot, values)| Some((*slot, *values.get(index)?))).collect();
    let of_value = |(_, nonce): &(u64, Option<DurableNonce>)| {
        let mut slots: Vec<u64> =
            of_account.iter().filter(|(_, other)| other == nonce).map(|(slot, _)| *slot).collect();
        slots.sort_unstable_by(|one, other| other.cmp(one));
        // Of so many nodes one is right, and it has the value at a slot between these. Nodes that stand too far apart do
        // not tell when that is: one that claims to be far ahead would make the transaction look signed much later.
        let agreed = slots.windows(quorum).find(|slots| slots[0] - slots[quorum - 1] <= VALID_HEIGHTS)?;
        Some(Agreed { nonce: *nonce, first_slot: agreed[quorum - 1], last_slot: agreed[0] })
    };
    of_account.iter().filter_map(of_value).max_by_key(|agreed| agreed.first_slot)
}

#[cfg(test)]
mod tests {
    use solana_hash::Hash;

    use super::*;

    fn nonce(value: u8) -> DurableNonce {
        let (account, authority) = (Pubkey::new_from_array([1; 32]), Pubkey::new_from_array([2; 32]));
        DurableNonce { account, authority, value: Hash::new_from_array([value; 32]) }
    }

    fn agreed(shown: &[(u64, u8)], quorum: usize) -> Option<(u8, u64, u64)> {
        let shown: Vec<Shown> =
            shown.iter().map(|(slot, value)| (*slot, vec![Some(nonce(*value))])).collect();
        let agreed = agree(&shown, 0, quorum)?;
        Some((agreed.nonce.unwrap().value.to_bytes()[0], agreed.first_slot, agreed.last_slot))
    }

    #[test]
    fn fewer_nodes_than_the_quorum_prove_no_value() {
        assert_eq!(agreed(&[(100, 1), (101, 1), (102, 2)], 2), Some((1, 100, 101)));
        assert_eq!(agreed(&[(100, 1), (102, 2)], 2), None);
        assert_eq!(agreed(&[(100, 1), (102, 2)], 1), Some((2, 102, 102)));
        assert_eq!(agreed(&[], 1), None);
        let lagging = [(100, 1), (100, 1), (105, 2), (106, 2)];
        assert_eq!(agreed(&lagging, 2), Some((2, 105, 106)), "the others lag");
        assert_eq!(
            agreed(&[(100, 1), (105, 1), (1_000_000, 1)], 2),
            Some((1, 100, 105)),
            "one is too far ahead"
        );
        assert_eq!(agreed(&[(100, 1), (1_000_000, 1)], 2), None);
    }

    #[test]
    fn a_slot_has_a_height_between_those_that_blocks_allow() {
        let at = |absolute_slot, block_height| EpochInfo { absolute_slot, block_height };
        let places = Places { infos: vec![at(1_000, 900)], quorum: 1 };
        assert_eq!((places.height_min(990), places.height_max(990)), (Some(890), Some(900)));
        assert_eq!((places.height_min(1_005), places.height_max(1_005)), (Some(900), Some(905)));
        let lied = Places { infos: vec![at(1_000, 900), at(1_000, 1_000_000), at(1_000, 900)], quorum: 2 };
        assert_eq!((lied.height_min(1_000), lied.height_max(1_000)), (Some(900), Some(900)));
        let few = Places { infos: vec![at(1_000, 900)], quorum: 2 };
        assert_eq!((few.height_min(1_000), few.height_max(1_000)), (None, None));
    }

    #[test]
    fn a_value_is_known_since_it_was_first_seen_and_an_older_one_changes_nothing() {
        let values = SeenValues::default();
        let account = Pubkey::new_from_array([1; 32]);
        let seen = |value, last_at, first_at| Seen { nonce: Some(nonce(value)), last_at, first_at };
        let note = |now: Option<Seen>| values.note(account, now);
        assert_eq!(note(None), None);
        assert_eq!(note(Some(seen(1, 100, 104))), Some(seen(1, 100, 104)));
        assert_eq!(note(Some(seen(1, 120, 124))), Some(seen(1, 120, 104)));
        assert_eq!(note(Some(seen(2, 130, 133))), Some(seen(2, 130, 133)));
        assert_eq!(note(Some(seen(1, 119, 123))), Some(seen(2, 130, 133)), "the nodes lag");
        assert_eq!(note(None), Some(seen(2, 130, 133)));
    }
}
