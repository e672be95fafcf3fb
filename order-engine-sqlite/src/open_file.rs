//! Whether the files at the store's path are still the ones that are open.
//!
//! A file that was removed, or replaced by another one, can be written for as long as it is open, and then all of it is
//! lost: what is committed to it is not durable.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What tells a file from all others that exist: its device and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    /// Returns the identity of the file at a path.
    #[cfg(unix)]
    fn at(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).map(|file| Self(file.dev(), file.ino()))
    }

    /// A file that is open cannot be removed here, so whether there is one is enough.
    #[cfg(not(unix))]
    fn at(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|_| Self(0, 0))
    }
}

/// The database and its log, as they were opened.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    path: PathBuf,
    log_path: PathBuf,
    database: Identity,
    /// Known once something was committed. SQLite removes the log with its last connection, and makes another one.
    log: Option<Identity>,
}

impl OpenFiles {
    /// Notes the file at a path, which is open.
    pub(crate) fn note(path: &Path) -> Result<Self, Error> {
        let mut log_path = OsString::from(path);
        log_path.push("-wal");
        let database = Identity::at(path).map_err(|error| moved(path, Some(error)))?;
        Ok(Self { path: path.to_owned(), log_path: log_path.into(), database, log: None })
    }

    /// Fails if a path leads to another file now, or to none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        same(&self.path, self.database)?;
        self.log.map_or(Ok(()), |log| same(&self.log_path, log))
    }

    /// The same after a commit, whose log is the one of the connection.
    pub(crate) fn check_committed(&mut self) -> Result<(), Error> {
        if self.log.is_none() {
            let log = Identity::at(&self.log_path).map_err(|error| moved(&self.log_path, Some(error)))?;
            self.log = Some(log);
        }
        self.check()
    }

    /// Forgets the log, because the connection was closed that wrote it.
    pub(crate) fn close(&mut self) {
        self.log = None;
    }
}

fn same(path: &Path, opened: Identity) -> Result<(), Error> {
    match Identity::at(path) {
        Ok(found) if found == opened => Ok(()),
        found => Err(moved(path, found.err())),
    }
}

fn moved(path: &Path, source: Option<std::io::Error>) -> Error {
    Error::Moved { path: path.to_owned(), source }
}
