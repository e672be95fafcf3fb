//! The file of the ledger, with one JSON object per line.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::error::SimError;
use crate::execution::Execution;
use crate::nonce_use::{Line, NonceUse};

/// An open ledger, locked against all other simulators.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    file: File,
}

impl LedgerFile {
    /// Opens or creates a ledger, removes a torn last line, and reads the others.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Line>), SimError> {
        let failed = |source| SimError::LedgerRead { path: path.to_owned(), source };
        std::fs::create_dir_all(folder_of(path)).map_err(failed)?;
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => SimError::LedgerInUse { path: path.to_owned() },
            std::fs::TryLockError::Error(source) => failed(source),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (lines, sound_bytes) = parse(path, &bytes)?;
        if sound_bytes < bytes.len() {
            file.set_len(sound_bytes as u64).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        sync_folder(folder_of(path)).map_err(failed)?;
        Ok((Self { file }, lines))
    }

    /// Writes lines and waits until the disk holds them.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()
    }

    #[cfg(test)]
    pub(crate) const fn for_test(file: File) -> Self {
        Self { file }
    }
}

/// Reads the executions of a ledger, even while its simulator is running.
///
/// # Errors
/// If the file cannot be read or is not a ledger.
pub fn read_ledger(path: impl AsRef<Path>) -> Result<Vec<Execution>, SimError> {
    let lines = read_lines(path.as_ref())?;
    Ok(lines.iter().filter_map(Line::execution).cloned().collect())
}

/// Reads from a ledger which transactions used the nonces of accounts, in the order of landing, even while its
/// simulator is running.
///
/// # Errors
/// If the file cannot be read or is not a ledger.
pub fn read_nonce_uses(path: impl AsRef<Path>) -> Result<Vec<NonceUse>, SimError> {
    let lines = read_lines(path.as_ref())?;
    Ok(lines.iter().filter_map(Line::nonce_use).collect())
}

fn read_lines(path: &Path) -> Result<Vec<Line>, SimError> {
    let bytes =
        std::fs::read(path).map_err(|source| SimError::LedgerRead { path: path.to_owned(), source })?;
    parse(path, &bytes).map(|(lines, _)| lines)
}

/// Appends one line.
pub(crate) fn encode(line: &impl Serialize, lines: &mut Vec<u8>) {
    serde_json::to_writer(&mut *lines, line)
        .expect("strings and integers have a JSON form, and a write to memory succeeds");
    lines.push(b'\n');
}

/// Returns the lines of a ledger, and the number of bytes that hold them.
///
/// A line that was being written when the process died has no end, or, if the machine died, no valid start.
/// It can only be the last line, and it was never revealed.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Line>, usize), SimError> {
    let mut lines = Vec::new();
    let mut sound_bytes = 0;
    for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(1..) {
        let is_last = sound_bytes + line.len() == bytes.len();
        if !line.ends_with(b"\n") {
            break;
        }
        match serde_json::from_slice(line) {
            Ok(landing) => lines.push(landing),
            Err(_) if is_last => break,
            Err(source) => {
                return Err(SimError::LedgerCorrupt { path: path.to_owned(), line: number, source });
            }
        }
        sound_bytes += line.len();
    }
    Ok((lines, sound_bytes))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the creation of a file in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
