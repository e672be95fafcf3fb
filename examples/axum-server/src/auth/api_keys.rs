//! The API keys that are valid now: those of the file, as it was when it changed last.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use order_engine_core::telemetry::chain;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::auth::caller::Caller;
use crate::auth::key_file::{ApiKey, Hash, KeyFile, KeyFileError, split};
use crate::auth::tenure::{KeyTable, Tenure};
use crate::file_watch::{LOOK_INTERVAL, stamp};

/// The API keys that are valid now.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    file: KeyFile,
    table: watch::Sender<KeyTable>,
}

impl ApiKeys {
    /// Reads the keys of a file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeyFileError> {
        let file = KeyFile::new(path);
        let table = watch::Sender::new(table(file.read()?));
        Ok(Self { file, table })
    }

    /// Reads the file again whenever it changes: a revoked key is refused two seconds later at most. A file that cannot be read changes nothing: the keys stay that were valid.
    pub(crate) async fn watch(&self) {
        // The first look reads what was read at the start again, because the file may have changed since.
        let mut seen = None;
        loop {
            let found = stamp(self.file.path());
            if found != seen {
                seen = found;
                match self.file.read() {
                    Ok(keys) => self.take(table(keys)),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "the API keys stay as they were");
                    }
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn take(&self, new: KeyTable) {
        let is_changed = self.table.send_if_modified(|table| {
            let is_changed = *table != new;
            *table = new;
            is_changed
        });
        if is_changed {
            tracing::info!(keys = self.table.borrow().len(), "the API keys have changed");
        }
    }

    /// Returns whose key this is, if it is a valid one.
    pub(crate) fn caller(&self, text: &str) -> Option<Caller> {
        let (id, secret) = split(text)?;
        let given = Hash::of(&secret);
        let table = self.table.borrow();
        let found = table.get(id);
        // An unknown key takes as long as a wrong one.
        let expected = found.map_or(&given, ApiKey::hash);
        let is_equal = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
        let key = found.filter(|key| is_equal && key.is_valid_at(Utc::now()))?;
        Some(self.of(key))
    }

    /// Returns for how long a key holds, if it is valid now.
    pub(crate) fn tenure(&self, id: &str) -> Option<Tenure> {
        let table = self.table.borrow();
        let key = table.get(id).filter(|key| key.is_valid_at(Utc::now()))?;
        Some(Tenure::of_key(key, self.table.subscribe()))
    }

    fn of(&self, key: &ApiKey) -> Caller {
        let tenure = Tenure::of_key(key, self.table.subscribe());
        Caller::new(&key.user, key.scopes, tenure)
    }
}

fn table(keys: Vec<ApiKey>) -> KeyTable {
    Arc::new(keys.into_iter().map(|key| (key.id.clone(), key)).collect::<HashMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chrono::TimeDelta;

    use super::*;
    use crate::auth::key_file::NewKey;
    use crate::auth::scope::{Scope, Scopes};

    fn opened() -> (tempfile::TempDir, KeyFile, NewKey, ApiKeys) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let new = file.create("alice", Scopes::of(&[Scope::Read]), None).unwrap();
        let keys = ApiKeys::open(file.path().to_owned()).unwrap();
        (folder, file, new, keys)
    }

    #[test]
    fn a_key_is_its_users_and_nothing_else_is() {
        let (_folder, file, new, _) = opened();
        let past = Utc::now() - TimeDelta::seconds(1);
        let expired = file.create("alice", Scopes::default(), Some(past)).unwrap();
        let keys = ApiKeys::open(file.path().to_owned()).unwrap();
        let caller = keys.caller(&new.text).unwrap();
        assert_eq!(caller.user().unwrap().as_str(), "alice");
        assert!(caller.may(Scope::Read) && !caller.may(Scope::Trade));
        let other_id = new.text.replace(&new.key.id, "0123456789abcdef");
        let other_secret = format!("oek_{}_{}", new.key.id, "A".repeat(43));
        for text in ["", &other_id, &other_secret, &expired.text, &new.text[1..]] {
            assert!(keys.caller(text).is_none(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_is_refused_and_its_streams_end() {
        let (_folder, file, new, keys) = opened();
        let ended = tokio::spawn(keys.caller(&new.text).unwrap().tenure().clone().ended());
        file.revoke(&new.key.id).unwrap();
        let until_ended = async { ended.await.unwrap() };
        tokio::select! {
            () = keys.watch() => unreachable!("it has no end"),
            () = until_ended => {}
        }
        assert!(keys.caller(&new.text).is_none() && keys.tenure(&new.key.id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_read_changes_nothing() {
        let (_folder, file, new, keys) = opened();
        fs::write(file.path(), "{").unwrap();
        assert!(tokio::time::timeout(LOOK_INTERVAL * 3, keys.watch()).await.is_err());
        assert!(keys.caller(&new.text).is_some());
        fs::remove_file(file.path()).unwrap();
        assert!(tokio::time::timeout(LOOK_INTERVAL * 3, keys.watch()).await.is_err());
        assert!(keys.caller(&new.text).is_some());
    }
}
