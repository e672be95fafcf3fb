//! The ledger: an append-only file of executions, the only truth of what executed.
//!
//! Appending puts a line into memory and gives a [`Ticket`]; nothing that reveals the execution may
//! leave the chain before the ticket is [`durable`](Ledger::durable). Whatever gathers while one
//! fsync runs shares the next one.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::{Execution, SimError};

pub(crate) use file::LedgerFile;
pub use file::read_ledger;

/// The number of a line that was appended: durable once the ledger is durable up to it.
pub(crate) type Ticket = u64;

/// Where executions are recorded.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Nothing, if the chain keeps no file: then memory is all the durability there is.
    writer: Option<Arc<Writer>>,
}

#[derive(Debug)]
struct Writer {
    pending: Mutex<Pending>,
    /// Shared, so that a drain can tell of its end after it let go of everything else.
    progress: Arc<watch::Sender<Progress>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Lines that no write has taken yet.
    lines: Vec<u8>,
    /// How many lines were ever appended.
    appended: Ticket,
    /// The file, unless a write has it in hand.
    idle: Option<LedgerFile>,
    /// Whether a write failed. Lines are not even kept then: they would gather for ever.
    is_broken: bool,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// How many lines are on the disk.
    durable: Ticket,
    /// Why no more will be.
    broken: Option<String>,
}

impl Ledger {
    /// A chain without a file.
    pub(crate) const fn volatile() -> Self {
        Self { writer: None }
    }

    /// Opens or creates a file, and reads what was executed so far.
    ///
    /// # Errors
    /// If another simulator holds it, or it is no ledger.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Execution>), SimError> {
        let (file, executions) = LedgerFile::open(path)?;
        let pending = Pending { idle: Some(file), ..Pending::default() };
        let writer = Writer { pending: Mutex::new(pending), progress: Arc::default() };
        Ok((Self { writer: Some(Arc::new(writer)) }, executions))
    }

    /// [`open`](Self::open) beside the caller.
    pub(crate) async fn load(path: PathBuf) -> Result<(Self, Vec<Execution>), SimError> {
        let (tell, told) = oneshot::channel();
        let opened = path.clone();
        spawn_blocking(move || drop(tell.send(Self::open(&opened))));
        told.await.unwrap_or_else(|_| {
            let source = std::io::Error::other("the runtime shuts down");
            Err(SimError::LedgerRead { path, source })
        })
    }

    /// Appends an execution and begins to write it. The order of calls is the order of lines.
    pub(crate) fn append(&self, execution: &Execution) -> Ticket {
        let Some(writer) = &self.writer else { return 0 };
        let mut pending = writer.lock();
        pending.appended += 1;
        if !pending.is_broken {
            file::encode(execution, &mut pending.lines);
        }
        let ticket = pending.appended;
        if let Some(file) = pending.idle.take() {
            drop(pending);
            let writer = Arc::clone(writer);
            spawn_blocking(move || Writer::drain(writer, file));
        }
        ticket
    }

    /// The last line that is on the disk.
    pub(crate) fn durable_up_to(&self) -> Ticket {
        self.writer.as_ref().map_or(Ticket::MAX, |writer| writer.progress.borrow().durable)
    }

    /// Waits until a line is on the disk. It returns without yielding if it already is.
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
            progress.wait_for(|progress| progress.durable >= ticket || progress.broken.is_some()).await;
        let broken = match outcome {
            Ok(progress) if progress.durable >= ticket => return Ok(()),
            Ok(progress) => progress.broken.clone(),
            Err(_) => None,
        };
        let reason = broken.unwrap_or_else(|| "its writer is gone".to_owned());
        Err(SimError::LedgerWrite { reason })
    }
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No code that holds the lock can panic half way, so a poisoned lock guards sound data.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what has gathered until nothing gathers any more, then puts the file back.
    ///
    /// After a failed fsync nobody knows what the disk holds, and a second one may claim success
    /// for pages that were dropped. So a failure is final: the file is closed to further writes.
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
                writer.progress.send_modify(|progress| progress.broken = Some(error.to_string()));
                return;
            }
            if pending.lines.is_empty() {
                pending.idle = Some(file);
                drop(pending);
                let progress = Arc::clone(&writer.progress);
                // Whoever hears of the last line and drops the ledger has closed the file with it,
                // and may open it again at once.
                drop(writer);
                Self::publish(&progress, ticket);
                return;
            }
            Self::publish(&writer.progress, ticket);
        }
    }

    fn publish(progress: &watch::Sender<Progress>, ticket: Ticket) {
        // A later drain may have been quicker to tell.
        progress.send_modify(|progress| progress.durable = progress.durable.max(ticket));
    }
}

/// Runs blocking work beside the caller: on tokio's pool, which also holds paused time still
/// meanwhile, or on a thread of its own where no tokio runs.
fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(tokio) => drop(tokio.spawn_blocking(work)),
        Err(_) => drop(std::thread::spawn(work)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    async fn a_torn_last_line_is_cut_off_so_that_the_next_one_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut whole = Vec::new();
        file::encode(&execution(1), &mut whole);
        // Every way to tear the second line, up to the missing line feed; and a last line whose
        // end reached the disk before its beginning.
        let mut tails: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        tails.push([vec![0; 100], b"\n".to_vec()].concat());
        for tail in tails {
            std::fs::write(&path, [&whole[..], &tail].concat()).unwrap();
            let (ledger, earlier) = Ledger::open(&path).unwrap();
            assert_eq!(earlier, [execution(1)]);
            let ticket = ledger.append(&execution(2));
            ledger.durable(ticket).await.unwrap();
            drop(ledger);
            assert_eq!(read_ledger(&path).unwrap(), [execution(1), execution(2)]);
        }
    }

    #[test]
    fn a_broken_line_before_a_sound_one_is_no_ledger() {
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
    async fn a_failed_write_is_told_to_everybody_and_never_forgotten() {
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
