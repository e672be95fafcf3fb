//! The file of API keys: what it has of each key, and how it is read and replaced.
//!
//! Of a key's secret the file has the SHA-256 only. A slow hash protects passwords, which people choose and others can guess; a
//! secret has 256 random bits, which nobody can guess however fast the hash is, and each request would pay for it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::auth::scope::Scopes;

/// With what every key begins, so that people and scanners of secrets know one when they see it.
pub(crate) const PREFIX: &str = "oek_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// An API key, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKey {
    /// The public part of the key, by which it is found and revoked.
    pub id: String,
    /// Who uses it.
    pub user: String,
    /// What it allows.
    pub scopes: Scopes,
    /// The SHA-256 of the secret part.
    sha256: Hash,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is not valid any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A hash, which stands in the file as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash([u8; SHA256_OUTPUT_LEN]);

impl Hash {
    pub(crate) fn of(secret: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(hash)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| serde::de::Error::custom("sha256 must be 64 hexadecimal digits"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl ApiKey {
    pub(crate) const fn hash(&self) -> &Hash {
        &self.sha256
    }

    /// Returns whether the key is valid at this time.
    pub fn is_valid_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Returns the id and the secret of a key's text, if it has the form of one.
pub(crate) fn split(text: &str) -> Option<(&str, [u8; SECRET_BYTES])> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
    Some((id, secret))
}

/// Why the file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot use the file of API keys {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not have keys in it.
    #[error("the file of API keys {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no such key to revoke.
    #[error("there is no API key {0}")]
    Unknown(String),
    /// Nobody can have this name.
    #[error(
        "a user's name has 1 to {USER_CHARS_MAX} characters, none of them a control character, and is not `anonymous`"
    )]
    InvalidUser,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// The longest name of a user, as in orders.
const USER_CHARS_MAX: usize = 255;

/// Returns whether somebody may have this name. `anonymous` is who asks a server without authentication: all of them.
pub(crate) fn is_user(name: &str) -> bool {
    (1..=USER_CHARS_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && name != "anonymous"
}

/// A new key: its text, which is shown once, and what the file has of it.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) text: String,
    pub(crate) key: ApiKey,
}

/// The file of API keys.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<ApiKey>,
}

impl KeyFile {
    /// Returns the file at a path. It need not exist.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns all keys, in the order in which they were made.
    ///
    /// # Errors
    /// If the file cannot be read, or has something else in it.
    pub fn read(&self) -> Result<Vec<ApiKey>, KeyFileError> {
        let text = fs::read(&self.0).map_err(|source| self.io(source))?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(|source| KeyFileError::Malformed { path: self.0.clone(), source })?;
        Ok(document.keys)
    }

    /// Makes a key, and adds it to the file, which is created if it is missing.
    pub(crate) fn create(
        &self,
        user: &str,
        scopes: Scopes,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<NewKey, KeyFileError> {
        if !is_user(user) {
            return Err(KeyFileError::InvalidUser);
        }
        let mut bytes = [0; ID_BYTES + SECRET_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyFileError::NoRandom)?;
        let (id, secret) = bytes.split_at(ID_BYTES);
        let key = ApiKey {
            id: hex(id),
            user: user.to_owned(),
            scopes,
            sha256: Hash::of(secret),
            created_at: Utc::now(),
            expires_at,
            revoked_at: None,
        };
        self.change(|keys| {
            keys.push(key.clone());
            Ok(())
        })?;
        let text = format!("{PREFIX}{}_{}", key.id, URL_SAFE_NO_PAD.encode(secret));
        Ok(NewKey { text, key })
    }

    /// Revokes a key. It stays in the file, which so says when.
    pub(crate) fn revoke(&self, id: &str) -> Result<(), KeyFileError> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.id == id);
            let key = key.ok_or_else(|| KeyFileError::Unknown(id.to_owned()))?;
            key.revoked_at = key.revoked_at.or_else(|| Some(Utc::now()));
            Ok(())
        })
    }

    /// Changes the keys, while nobody else does.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<ApiKey>) -> Result<(), KeyFileError>,
    ) -> Result<(), KeyFileError> {
        // The file itself is replaced, so what is locked is another one, which stays.
        let lock = private(&self.0.with_added_extension("lock")).map_err(|source| self.io(source))?;
        lock.lock().map_err(|source| self.io(source))?;
        let mut keys = match self.read() {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        change(&mut keys)?;
        self.replace(&Document { keys }).map_err(|source| self.io(source))
    }

    /// Replaces the file in one step: a reader sees all of the old one or all of the new one.
    fn replace(&self, document: &Document) -> io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        // It is made with the mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, document)?;
        file.write_all(b"\n")?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        File::open(folder)?.sync_all()
    }

    fn io(&self, source: io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.0.clone(), source }
    }
}

/// Opens a file that only its owner may use.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::Scope;

    fn file() -> (tempfile::TempDir, KeyFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        (folder, file)
    }

    #[test]
    fn a_key_is_kept_as_a_hash_in_a_file_of_its_owner() {
        let (_folder, file) = file();
        let scopes = Scopes::of(&[Scope::Read]);
        let NewKey { text, key } = file.create("alice", scopes, None).unwrap();
        let (id, secret) = split(&text).unwrap();
        assert_eq!((id, &Hash::of(&secret)), (key.id.as_str(), key.hash()));
        assert_eq!(file.read().unwrap(), [key]);
        let stored = fs::read_to_string(file.path()).unwrap();
        assert!(!stored.contains(&text[text.len() - 43..]), "{stored}");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_revoked_key_stays_in_the_file() {
        let (_folder, file) = file();
        let first = file.create("alice", Scopes::default(), None).unwrap().key;
        let second = file.create("bob", Scopes::default(), None).unwrap().key;
        file.revoke(&first.id).unwrap();
        let keys = file.read().unwrap();
        assert!(!keys[0].is_valid_at(Utc::now()) && keys[1].is_valid_at(Utc::now()));
        assert_eq!((keys[0].id.as_str(), &keys[1]), (first.id.as_str(), &second));
        assert!(matches!(file.revoke("nothing"), Err(KeyFileError::Unknown(_))));
    }

    #[test]
    fn keys_that_are_made_at_once_are_all_kept() {
        let (_folder, file) = file();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let file = &file;
                scope.spawn(move || file.create(&format!("user-{n}"), Scopes::default(), None).unwrap());
            }
        });
        assert_eq!(file.read().unwrap().len(), 8);
    }

    #[test]
    fn nobody_is_anonymous() {
        let (_folder, file) = file();
        for user in ["", "anonymous", "a\nb", &"x".repeat(256)] {
            let refused = file.create(user, Scopes::default(), None);
            assert!(matches!(refused, Err(KeyFileError::InvalidUser)), "{user}");
        }
        assert!(!file.path().exists());
    }

    #[test]
    fn texts_that_are_no_keys_are_told() {
        for text in ["", "oek_", "oek_a_b", "oek_a_!", &format!("oek_{}", "A".repeat(43))] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
