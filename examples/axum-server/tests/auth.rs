//! Who asks: every route with every kind of credential, tickets, and the end of streams whose credential ends.

mod common;
#[path = "auth/issuer.rs"]
mod issuer;
#[path = "auth/program.rs"]
mod program;
#[path = "auth/streams.rs"]
mod streams;
#[path = "auth/table.rs"]
mod table;
#[path = "auth/tokens.rs"]
mod tokens;

use std::path::PathBuf;

use order_engine_server::{
    Access, AuditLog, AuthSettings, KeyCommand, KeyFile, LimitSettings, MaybeRate, Options,
};

/// A file of API keys.
struct Keys {
    folder: tempfile::TempDir,
    /// Keys for all scopes.
    alice: String,
    revoked: String,
    expired: String,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [alice, revoked, expired] = Default::default();
        let mut keys = Self { folder, alice, revoked, expired };
        let all = "read,trade,operate";
        keys.alice = keys.create("alice", all);
        keys.revoked = keys.create("alice", all);
        keys.revoke(&keys.revoked);
        keys.expired = keys.create("alice", all);
        keys.expire(&keys.expired);
        keys
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    fn settings(&self) -> AuthSettings {
        let mut settings = AuthSettings::default();
        settings.api_keys = Some(self.path());
        settings
    }

    /// Makes a key as the program does.
    fn create(&self, user: &str, scopes: &str) -> String {
        let (user, scopes) = (user.to_owned(), scopes.parse().unwrap());
        let text = self.run(&KeyCommand::Create { user, scopes, expires: None });
        text.trim().to_owned()
    }

    /// Makes a key, and waits until the server takes it.
    async fn create_and_wait(&self, server: &common::TestServer, user: &str, scopes: &str) -> String {
        let key = self.create(user, scopes);
        let asked = || server.http.get(server.url("/api/orders")).bearer_auth(&key).send();
        while asked().await.unwrap().status() == 401 {
            tokio::task::yield_now().await;
        }
        key
    }

    fn revoke(&self, key: &str) {
        self.run(&KeyCommand::Revoke { id: id_of(key).to_owned() });
    }

    /// Has a key expire, which is at the earliest tomorrow otherwise.
    fn expire(&self, key: &str) {
        let mut keys = KeyFile::new(self.path()).read().unwrap();
        let key = keys.iter_mut().find(|other| other.id == id_of(key)).unwrap();
        key.expires_at = Some(chrono::Utc::now());
        let document = serde_json::json!({ "keys": keys });
        std::fs::write(self.path(), document.to_string()).unwrap();
    }

    fn run(&self, command: &KeyCommand) -> String {
        let mut out = Vec::new();
        command.run(Some(self.path()), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
        String::from_utf8(out).unwrap()
    }
}

/// Returns the public part of a key.
fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

/// Returns options with this access, and no rates, which other tests are about.
fn options(access: Access) -> Options {
    let mut limits = LimitSettings::default();
    limits.user_rate = Some(MaybeRate(None));
    limits.address_rate = Some(MaybeRate(None));
    Options { access, limits, ..Options::default() }
}
