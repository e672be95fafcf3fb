//! Reading pools with all their accounts at one slot, as one node or a quorum of nodes tells them.

use std::collections::{BTreeMap, BTreeSet};

use solana_pubkey::Pubkey;

use crate::account::{Account, Fields};
use crate::agreement::quorum_th;
use crate::pools::parts::Parts;
use crate::programs::CLOCK;
use crate::rpc::{AccountsAtSlot, Cluster, RpcError};

/// The most accounts that are read at one slot.
const ACCOUNTS_MAX: usize = 100;

/// A pool, and the accounts that a snapshot of it needs, its own among them.
pub(crate) type Wanted = (Pubkey, Vec<Pubkey>);

/// Reads pools, as many as fit with one call. A pool of which no quorum of nodes tells the same is `None`.
///
/// # Errors
/// If no node answers, or fewer than the quorum.
pub(crate) async fn read(
    cluster: &Cluster,
    wanted: &[Wanted],
    quorum: usize,
) -> Result<Vec<(Pubkey, Option<Parts>)>, RpcError> {
    let mut read = Vec::with_capacity(wanted.len());
    for batch in batches(wanted) {
        let addresses = addresses(batch);
        let tellings = if quorum > 1 {
            of_all(cluster, &addresses, quorum).await?
        } else {
            vec![cluster.accounts(&addresses).await?]
        };
        let tellings: Vec<Parts> = tellings.into_iter().map(|telling| parts(&addresses, telling)).collect();
        read.extend(batch.iter().map(|(pool, named)| (*pool, agreed(&tellings, named, quorum))));
    }
    Ok(read)
}

async fn of_all(
    cluster: &Cluster,
    addresses: &[Pubkey],
    quorum: usize,
) -> Result<Vec<AccountsAtSlot>, RpcError> {
    let (mut told, mut failed) = (Vec::new(), None);
    for answer in cluster.accounts_of_all(addresses).await? {
        match answer {
            Ok(answer) => told.push(answer),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if told.len() < quorum => Err(error),
        _ => Ok(told),
    }
}

/// Returns the pools in groups whose accounts are few enough for one call.
fn batches(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let (mut batches, mut first, mut named) = (Vec::new(), 0, BTreeSet::from([CLOCK]));
    for (number, (_, accounts)) in wanted.iter().enumerate() {
        let with_it: BTreeSet<Pubkey> = named.iter().chain(accounts).copied().collect();
        if with_it.len() > ACCOUNTS_MAX && number > first {
            batches.push(&wanted[first..number]);
            first = number;
            named = accounts.iter().copied().chain([CLOCK]).collect();
        } else {
            named = with_it;
        }
    }
    if first < wanted.len() {
        batches.push(&wanted[first..]);
    }
    batches
}

/// Returns the accounts of some pools and the clock, each once.
fn addresses(batch: &[Wanted]) -> Vec<Pubkey> {
    let named = batch.iter().flat_map(|(_, accounts)| accounts).copied().chain([CLOCK]);
    named.collect::<BTreeSet<Pubkey>>().into_iter().collect()
}

fn parts(addresses: &[Pubkey], told: AccountsAtSlot) -> Parts {
    let accounts = addresses.iter().copied().zip(told.accounts);
    let accounts = accounts.filter_map(|(address, account)| Some((address, account?))).collect();
    Parts { slot: told.slot, accounts }
}

/// Returns the accounts of which a quorum of nodes says the same, at the newest slot and time that as many have reached, so
/// that fewer liars than the quorum make neither a price nor a time.
fn agreed(tellings: &[Parts], named: &[Pubkey], quorum: usize) -> Option<Parts> {
    let accounts = |parts: &Parts| -> BTreeMap<Pubkey, Account> {
        let found = named.iter().filter_map(|address| Some((*address, parts.accounts.get(address)?.clone())));
        found.collect()
    };
    let told: Vec<BTreeMap<Pubkey, Account>> = tellings.iter().map(accounts).collect();
    let agree = |one: &BTreeMap<Pubkey, Account>| {
        let alike = told.iter().zip(tellings).filter(move |(other, _)| *other == one);
        alike.map(|(_, parts)| parts).collect::<Vec<&Parts>>()
    };
    let (mut accounts, group) =
        told.iter().map(|one| (one.clone(), agree(one))).find(|(_, group)| group.len() >= quorum)?;
    let slot = quorum_th(group.iter().map(|parts| parts.slot), quorum)?;
    let clocks = group.iter().filter_map(|parts| parts.accounts.get(&CLOCK));
    let mut clocks: Vec<&Account> = clocks.collect();
    clocks.sort_by_key(|clock| std::cmp::Reverse(time(clock)));
    if let Some(clock) = clocks.into_iter().nth(quorum.saturating_sub(1)) {
        accounts.insert(CLOCK, clock.clone());
    }
    Some(Parts { slot, accounts })
}

fn time(clock: &Account) -> i64 {
    Fields::of(&clock.data, 40).map_or(0, |fields| fields.i64(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::TOKEN;

    const fn key(number: u8) -> Pubkey {
        Pubkey::new_from_array([number; 32])
    }

    fn account(data: Vec<u8>) -> Account {
        Account { owner: TOKEN, lamports: 1, data }
    }

    /// What a node tells of one account, and of the time.
    fn telling(slot: u64, seconds: i64, content: u8) -> Parts {
        let mut clock = vec![0; 40];
        clock[32..].copy_from_slice(&seconds.to_le_bytes());
        Parts { slot, accounts: [(key(1), account(vec![content])), (CLOCK, account(clock))].into() }
    }

    #[test]
    fn a_lie_and_a_slot_or_time_that_one_node_names_count_for_nothing() {
        let read = |tellings: &[Parts], quorum| {
            let parts = agreed(tellings, &[key(1)], quorum)?;
            Some((parts.slot, time(&parts.accounts[&CLOCK]), parts.accounts[&key(1)].data[0]))
        };
        let honest = [telling(10, 100, 7), telling(11, 101, 7)];
        let with = |liar: Parts| [liar, honest[0].clone(), honest[1].clone()];
        assert_eq!(read(&honest, 2), Some((10, 100, 7)));
        assert_eq!(read(&with(telling(10, 100, 8)), 2), Some((10, 100, 7)), "another price");
        assert_eq!(read(&with(telling(u64::MAX, i64::MAX, 7)), 2), Some((11, 101, 7)), "a time to come");
        assert_eq!(read(&with(telling(0, 0, 7)), 2), Some((10, 100, 7)), "a time long past");
        assert_eq!(read(&[telling(10, 100, 7), telling(11, 101, 8)], 2), None, "it has changed between");
        assert_eq!(
            read(&[telling(10, 100, 9)], 1),
            Some((10, 100, 9)),
            "one node is believed if one is enough"
        );
    }

    #[test]
    fn an_account_that_a_node_hides_is_another_answer() {
        let mut hiding = telling(10, 100, 7);
        hiding.accounts.remove(&key(1));
        assert!(agreed(&[hiding.clone(), telling(10, 100, 7)], &[key(1)], 2).is_none());
        let gone = agreed(&[hiding.clone(), hiding], &[key(1)], 2).unwrap();
        assert!(!gone.accounts.contains_key(&key(1)));
    }

    #[test]
    fn pools_share_calls_as_long_as_their_accounts_fit() {
        let pool = |number: u8, accounts: usize| {
            let of = |account: usize| {
                let mut key = [number; 32];
                key[0] = u8::try_from(account).unwrap();
                Pubkey::new_from_array(key)
            };
            (key(number), (0..accounts).map(of).collect::<Vec<Pubkey>>())
        };
        let sizes = |wanted: &[Wanted]| batches(wanted).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[pool(1, 49), pool(2, 50)]), [2], "and the clock");
        assert_eq!(sizes(&[pool(1, 50), pool(2, 50)]), [1, 1]);
        assert_eq!(sizes(&[pool(1, 99), pool(1, 99), pool(2, 1)]), [2, 1], "what they share counts once");
        assert_eq!(sizes(&[]), [0_usize; 0]);
        assert_eq!(addresses(&[pool(1, 2), pool(1, 2)]).len(), 3);
    }
}
