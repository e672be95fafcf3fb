//! Files that are read again when they change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How often files are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// By what a changed file is told from the one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    bytes: u64,
}

/// Returns the stamp of a file, or none if there is no such file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: found.ino(),
        modified_s: found.mtime(),
        modified_ns: found.mtime_nsec(),
        bytes: found.len(),
    })
}
