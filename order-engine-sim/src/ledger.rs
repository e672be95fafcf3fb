//! The ledger: an append-only file of landings, the only record of what executed.
//!
//! `append` adds a line in memory and returns a [`Ticket`]. Nothing that reveals the landing may leave the
//! chain before the ticket is [`durable`](Ledger::durable). All lines appended during one fsync share the
//! next one.

mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use crate::error::SimError;
use crate::nonce_use::Line;

pub(crate) use file::LedgerFile;
pub use file::{read_ledger, read_nonce_uses};

/// The number of an appended line. It is durable once the disk holds the ledger up to this line.
pub(crate) type Ticket = u64;

/// The record of executions.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// `None` if the chain has no file. Then every line counts as durable.
    writer: Option<Arc<Writer>>,
}

#[derive(Debug)]
struct Writer {
    pending: Mutex<Pending>,
    /// Shared, so that a drain can publish its progress after it released everything else.
    progress: Arc<watch::Sender<Progress>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// The lines that are not being written yet.
    lines: Vec<u8>,
    /// The number of lines ever appended.
    appended: Ticket,
    /// The file, unless a drain is writing it.
    idle: Option<LedgerFile>,
    /// Whether a write failed. Lines are then dropped, because they would accumulate without end.
    is_broken: bool,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// The number of lines on the disk.
    durable: Ticket,
    /// The error after which no more lines are written.
    error: Option<Arc<io::Error>>,
}

impl Ledger {
    /// Returns a ledger without a file.
    pub(crate) const fn volatile() -> Self {
        Self { writer: None }
    }

    /// Opens or creates a file. Returns its earlier lines too.
    ///
    /// # Errors
    /// If another simulator holds the file, or it is not a ledger.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Line>), SimError> {
        let (file, lines) = LedgerFile::open(path)?;
        let pending = Pending { idle: Some(file), ..Pending::default() };
        let writer = Writer { pending: Mutex::new(pending), progress: Arc::default() };
        Ok((Self { writer: Some(Arc::new(writer)) }, lines))
    }

    /// Does the same as [`open`](Self::open) without blocking the caller's thread.
    pub(crate) async fn load(path: PathBuf) -> Result<(Self, Vec<Line>), SimError> {
        let (sender, receiver) = oneshot::channel();
        let opened = path.clone();
        spawn_blocking(move || drop(sender.send(Self::open(&opened))));
        receiver.await.unwrap_or_else(|_| {
            let source = io::Error::other("the runtime shuts down");
            Err(SimError::LedgerRead { path, source })
        })
    }

    /// Appends a line, an [`Execution`](crate::Execution) or any [`Line`], and starts to write it. The lines have
    /// the order of the calls.
    pub(crate) fn append(&self, line: &impl Serialize) -> Ticket {
        let Some(writer) = &self.writer else { return 0 };
        let mut pending = writer.lock();
        pending.appended += 1;
        if !pending.is_broken {
            file::encode(line, &mut pending.lines);
        }
        let ticket = pending.appended;
        if let Some(file) = pending.idle.take() {
            drop(pending);
            let writer = Arc::clone(writer);
            spawn_blocking(move || Writer::drain(writer, file));
        }
        ticket
    }

    /// Returns the ticket of the last line on the disk.
    pub(crate) fn durable_up_to(&self) -> Ticket {
        self.writer.as_ref().map_or(Ticket::MAX, |writer| writer.progress.borrow().durable)
    }

    /// Waits until a line is on the disk. If it already is, this returns without yielding.
    ///
    /// # Errors
    /// If the ledger could not be written.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), SimError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        if self.durable_up_to() >= ticket {
            return Ok(());
        }
        let mut progress = writer.progress.subscribe();
        let outcome =
            progress.wait_for(|progress| progress.durable >= ticket || progress.error.is_some()).await;
        let error = match outcome {
            Ok(progress) if progress.durable >= ticket => return Ok(()),
            Ok(progress) => progress.error.clone(),
            Err(_) => None,
        };
        let source = error.unwrap_or_else(|| Arc::new(io::Error::other("its writer is gone")));
        Err(SimError::LedgerWrite { source })
    }
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No code panics between two changes under this lock, so a poisoned lock still guards valid data.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the pending lines until there are none left, then puts the file back.
    ///
    /// After a failed fsync the content of the disk is unknown, and a second fsync may report success for
    /// pages that were dropped. So a failure is final: the file takes no further writes.
    fn drain(writer: Arc<Self>, mut file: LedgerFile) {
        let mut pending = writer.lock();
        loop {
            let lines = std::mem::take(&mut pending.lines);
            let ticket = pending.appended;
            drop(pending);
            let written = file.append(&lines);
            pending = writer.lock();
            if let Err(error) = written {
                pending.is_broken = true;
                pending.lines = Vec::new();
                writer.progress.send_modify(|progress| progress.error = Some(Arc::new(error)));
                return;
            }
            if pending.lines.is_empty() {
                pending.idle = Some(file);
                drop(pending);
                let progress = Arc::clone(&writer.progress);
                // The writer is released first, so that a caller that waits for the last line and then
                // drops the ledger has closed the file, and can open it again at once.
                drop(writer);
                Self::publish(&progress, ticket);
                return;
            }
            Self::publish(&writer.progress, ticket);
        }
    }

    fn publish(progress: &watch::Sender<Progress>, ticket: Ticket) {
        // A later drain may have published first.
        progress.send_modify(|progress| progress.durable = progress.durable.max(ticket));
    }
}

/// Runs blocking work on another thread: on tokio's pool, which also stops paused time meanwhile, or on a
/// new thread outside tokio.
fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(tokio) => drop(tokio.spawn_blocking(work)),
        Err(_) => drop(std::thread::spawn(work)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Execution;
    use std::io::Write as _;

    fn execution(number: u128) -> Execution {
        Execution {
            order_id: order_engine_core::OrderId::from(uuid::Uuid::from_u128(number)),
            ..Execution::example()
        }
    }

    #[tokio::test]
    async fn a_durable_line_is_in_the_file_and_many_share_an_fsync() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/new/folder/ledger.jsonl");
        let (ledger, earlier) = Ledger::open(&path).unwrap();
        assert_eq!(earlier, []);
        let tickets: Vec<Ticket> = (0..500).map(|number| ledger.append(&execution(number))).collect();
        for (ticket, count) in tickets.into_iter().zip(1..) {
            ledger.durable(ticket).await.unwrap();
            assert!(read_ledger(&path).unwrap().len() >= count);
        }
        let expected: Vec<Execution> = (0..500).map(execution).collect();
        assert_eq!(read_ledger(&path).unwrap(), expected);
    }

    #[test]
    fn it_works_without_a_runtime_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (ledger, _) = Ledger::open(&path).unwrap();
        let ticket = ledger.append(&execution(1));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ledger.durable(ticket)).unwrap();
        assert_eq!(read_ledger(&path).unwrap(), [execution(1)]);
    }

    #[tokio::test]
    async fn a_torn_last_line_is_removed_so_that_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut whole = Vec::new();
        file::encode(&execution(1), &mut whole);
        // Every way to tear the second line, up to the missing line feed, and a last line whose end reached
        // the disk before its start.
        let mut tails: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        tails.push([vec![0; 100], b"\n".to_vec()].concat());
        for tail in tails {
            std::fs::write(&path, [&whole[..], &tail].concat()).unwrap();
            let (ledger, earlier) = Ledger::open(&path).unwrap();
            assert_eq!(earlier, [Line::Execution(execution(1))]);
            let ticket = ledger.append(&execution(2));
            ledger.durable(ticket).await.unwrap();
            drop(ledger);
            assert_eq!(read_ledger(&path).unwrap(), [execution(1), execution(2)]);
        }
    }

    #[test]
    fn a_corrupt_line_before_a_valid_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut bytes = b"{}\n".to_vec();
        file::encode(&execution(1), &mut bytes);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Ledger::open(&path), Err(SimError::LedgerCorrupt { line: 1, .. })));
    }

    #[test]
    fn a_ledger_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (first, _) = Ledger::open(&path).unwrap();
        assert!(matches!(Ledger::open(&path), Err(SimError::LedgerInUse { .. })));
        drop(first);
        Ledger::open(&path).unwrap();
    }

    #[tokio::test]
    async fn a_failed_write_is_reported_to_every_later_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        std::fs::File::create(&path).unwrap().flush().unwrap();
        let read_only = LedgerFile::for_test(std::fs::File::open(&path).unwrap());
        let pending = Pending { idle: Some(read_only), ..Pending::default() };
        let writer = Writer { pending: Mutex::new(pending), progress: Arc::default() };
        let ledger = Ledger { writer: Some(Arc::new(writer)) };
        for number in 0..2 {
            let ticket = ledger.append(&execution(number));
            assert!(matches!(ledger.durable(ticket).await, Err(SimError::LedgerWrite { .. })));
        }
    }
}
