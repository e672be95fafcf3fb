//! The folder that the file is in.

use std::io;
use std::path::Path;

/// Creates a folder and those above it, durably.
///
/// After a loss of power a new folder may be missing, with everything in it, unless the folder above it was
/// synced.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    // The parent of a bare file name is the empty path, which stands for the working directory.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(folder),
    }
}

#[cfg(unix)]
fn sync_parent(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(above)?.sync_all()
}

/// Elsewhere folders cannot be opened, and their entries are journaled by the file system.
#[cfg(not(unix))]
fn sync_parent(_folder: &Path) -> io::Result<()> {
    Ok(())
}
