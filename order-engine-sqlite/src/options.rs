//! The options with which a store is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::Clock;

use crate::machine::{Machine, ThisMachine};

/// The options with which a [`SqliteStore`](crate::SqliteStore) is opened.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct SqliteOptions {
    pub(crate) path: PathBuf,
    pub(crate) busy_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) readers: u32,
    pub(crate) max_pages: Option<u32>,
    /// None for the clock that the processes of the machine share.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) machine: Arc<dyn Machine>,
}

/// A URL that names no SQLite file. It is not repeated, since one of another database may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no SQLite URL: it must be 'sqlite:' and the path of a file")]
#[non_exhaustive]
pub struct OptionsError;

/// How long a write waits for another process unless set.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take unless set.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// How many connections read unless set.
const READERS: u32 = 4;

impl SqliteOptions {
    /// Returns options for a store in this file. The file and its folders are created if they are missing.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            busy_timeout: BUSY_TIMEOUT,
            operation_timeout: OPERATION_TIMEOUT,
            readers: READERS,
            max_pages: None,
            clock: None,
            machine: Arc::new(ThisMachine),
        }
    }

    /// Returns options for a store in the file of a URL such as `sqlite:data/orders.db` or
    /// `sqlite:///var/lib/orders.db`.
    ///
    /// # Errors
    /// If the URL does not begin with `sqlite:` or names no file.
    pub fn from_url(url: &str) -> Result<Self, OptionsError> {
        let rest = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match rest {
            Some(path) if !path.is_empty() && !path.contains('?') && path != ":memory:" => {
                Ok(Self::new(path))
            }
            _ => Err(OptionsError),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets how long a write waits for another process that is writing. Five seconds unless set.
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets how long a call may take in all before it fails as unavailable. It must be longer than the
    /// busy timeout. Fifteen seconds unless set.
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets how many connections read. Four unless set.
    pub fn with_readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Sets how many pages of 8 KiB the file may have; writes beyond them fail as unavailable. Unlimited
    /// unless set.
    pub fn with_max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// Sets the clock on which leases, due times and deadlines are measured, for tests that steer time. All
    /// processes that use the file must have the same one. Unless it is set, all processes of a machine
    /// share a clock whose offset is in the file.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files() {
        let path = |url| SqliteOptions::from_url(url).map(|options| options.path);
        assert_eq!(path("sqlite:data/orders.db").unwrap(), Path::new("data/orders.db"));
        assert_eq!(path("sqlite:///var/orders.db").unwrap(), Path::new("/var/orders.db"));
        for wrong in
            ["postgres://host/db", "sqlite:", "sqlite://", "orders.db", "sqlite::memory:", "sqlite:a?mode=ro"]
        {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_not_repeated() {
        let error = SqliteOptions::from_url("postgres://alice:planted-canary@db/orders").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("planted-canary"), "{error}");
    }
}
