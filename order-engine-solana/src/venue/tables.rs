//! The lookup tables of a venue's transactions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::lookup_table::decode_lookup_table;
use crate::rpc::wire::{AccountJson, WithContext};
use crate::rpc::{Cluster, RpcError};

/// The tables that a host names, read when they are first needed.
///
/// A transaction names an address by its number in a table. So a node that told a wrong table would make the transaction use
/// another account, and a quorum has to tell the same one.
#[derive(Debug)]
pub(crate) struct Tables {
    addresses: Vec<Pubkey>,
    read: Mutex<BTreeMap<Pubkey, AddressLookupTableAccount>>,
}

impl Tables {
    pub(crate) const fn new(addresses: Vec<Pubkey>) -> Self {
        Self { addresses, read: Mutex::new(BTreeMap::new()) }
    }

    fn read(&self) -> MutexGuard<'_, BTreeMap<Pubkey, AddressLookupTableAccount>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the tables. One that no quorum of nodes tells, or that is no active table, is left out: transactions are
    /// larger without it, and just as right.
    pub(crate) async fn get(&self, cluster: &Cluster) -> Result<Vec<AddressLookupTableAccount>, RpcError> {
        for address in &self.addresses {
            if !self.read().contains_key(address)
                && let Some(account) = agreed_account(cluster, *address).await?
            {
                match decode_lookup_table(*address, &account) {
                    Ok(table) => {
                        self.read().insert(*address, table);
                    }
                    Err(error) => {
                        tracing::warn!(table = %address, error = %error, "a lookup table is not used");
                    }
                }
            }
        }
        Ok(self.read().values().cloned().collect())
    }

    /// Returns tables that a swap needs, read now, apart from those that the host names anyway. A quorum has to tell the same of
    /// them, too.
    pub(crate) async fn also(
        &self,
        cluster: &Cluster,
        addresses: &[Pubkey],
    ) -> Result<Vec<AddressLookupTableAccount>, RpcError> {
        let mut tables = Vec::new();
        for address in addresses.iter().filter(|address| !self.addresses.contains(address)) {
            if let Some(account) = agreed_account(cluster, *address).await?
                && let Ok(table) = decode_lookup_table(*address, &account)
            {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// Reads the tables again when they are needed next. One may have been closed.
    pub(crate) fn forget(&self) {
        self.read().clear();
    }
}

/// Returns an account of which a quorum of nodes says the same; nothing if they do not.
async fn agreed_account(cluster: &Cluster, address: Pubkey) -> Result<Option<Arc<Account>>, RpcError> {
    let params = json!([address.to_string(), { "encoding": "base64", "commitment": "finalized" }]);
    let answers: Vec<Result<WithContext<Option<AccountJson>>, RpcError>> =
        cluster.ask_all("getAccountInfo", &params).await;
    let mut told = Vec::with_capacity(answers.len());
    let mut failed = None;
    for answer in answers {
        match answer {
            Ok(answer) => told.push(answer.value.map(|account| account.decode()).transpose()?.map(Arc::new)),
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed.filter(|_| told.len() < cluster.quorum()) {
        return Err(error);
    }
    let is_agreed =
        |one: &&Option<Arc<Account>>| told.iter().filter(|other| other == one).count() >= cluster.quorum();
    Ok(told.iter().find(is_agreed).cloned().flatten())
}
