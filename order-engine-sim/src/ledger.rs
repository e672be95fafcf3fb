//! What executed: the only truth, on the disk before anybody is told.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use order_engine_core::{Amount, OrderId, TxId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::SimError;

/// A transaction that landed: one line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// The order it was for.
    pub order_id: OrderId,
    /// The transaction.
    pub tx_id: TxId,
    /// Whether it did what it should. If not, it reverted, and nothing was swapped.
    pub executed: bool,
    /// The height at which it landed.
    pub height: u64,
    /// When it landed, in milliseconds since 1970.
    pub landed_at_ms: u64,
    /// Base units that went in.
    pub amount_in: Amount,
    /// Base units that came out; what would have come out, if it reverted.
    pub amount_out: Amount,
    /// The least output that it accepted.
    pub min_amount_out: Amount,
}

#[cfg(test)]
impl Execution {
    /// One like any other.
    pub(crate) fn example() -> Self {
        Self {
            order_id: OrderId::new(chrono::DateTime::UNIX_EPOCH, 1),
            tx_id: TxId::new("tx"),
            executed: true,
            height: 1,
            landed_at_ms: 400,
            amount_in: Amount::new(3),
            amount_out: Amount::new(2),
            min_amount_out: Amount::new(1),
        }
    }
}

/// Where executions are recorded.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    file: Option<LedgerFile>,
}

#[derive(Debug)]
struct LedgerFile {
    work: mpsc::Sender<Work>,
    /// How many lines were queued, and how many of them are on the disk.
    queued: AtomicU64,
    synced: Arc<AtomicU64>,
}

enum Work {
    Line(String),
    /// To say when everything before is on the disk.
    Flush(oneshot::Sender<Result<(), String>>),
}

impl Ledger {
    /// Opens the file and reads what executed. A torn last line is what a killed process was about
    /// to say and nobody was told of: it is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Execution>), SimError> {
        let unreadable = |source| SimError::LedgerRead { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unreadable)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unreadable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SimError::LedgerInUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unreadable(source)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(unreadable)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let executions = read(&text[..whole], path)?;
        let end = u64::try_from(whole).unwrap_or(u64::MAX);
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(unreadable)?;
        let (work, queue) = mpsc::channel();
        let synced = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&synced);
        std::thread::Builder::new()
            .name("sim-ledger".to_owned())
            .spawn(move || write(file, &queue, &written))
            .map_err(unreadable)?;
        Ok((Self { file: Some(LedgerFile { work, queued: AtomicU64::new(0), synced }) }, executions))
    }

    /// Queues an execution. Must be called in the order in which they happened.
    pub(crate) fn record(&self, execution: &Execution) {
        let Some(file) = &self.file else { return };
        // Executions hold text and numbers, which JSON can always express.
        let line = serde_json::to_string(execution).unwrap_or_default() + "\n";
        file.queued.fetch_add(1, Ordering::AcqRel);
        // Without a receiver the thread failed, which the next flush tells.
        let _ = file.work.send(Work::Line(line));
    }

    /// Waits until everything recorded so far is on the disk.
    pub(crate) async fn flush(&self) -> Result<(), SimError> {
        let Some(file) = &self.file else { return Ok(()) };
        if file.synced.load(Ordering::Acquire) == file.queued.load(Ordering::Acquire) {
            return Ok(());
        }
        let gone = || SimError::LedgerWrite { reason: "the ledger's thread has ended".to_owned() };
        let (done, flushed) = oneshot::channel();
        file.work.send(Work::Flush(done)).map_err(|_| gone())?;
        flushed.await.map_err(|_| gone())?.map_err(|reason| SimError::LedgerWrite { reason })
    }
}

fn read(text: &[u8], path: &Path) -> Result<Vec<Execution>, SimError> {
    text.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|error| SimError::LedgerCorrupt {
                path: path.to_owned(),
                line: index + 1,
                reason: error.to_string(),
            })
        })
        .collect()
}

/// Writes what gathers, and syncs once for all of it. After a failure nothing is written any more:
/// what the file holds is then unknown.
fn write(mut file: File, queue: &mpsc::Receiver<Work>, synced: &AtomicU64) {
    let mut failure: Option<String> = None;
    while let Ok(first) = queue.recv() {
        let (mut lines, mut count, mut waiting) = (String::new(), 0, Vec::new());
        for work in std::iter::once(first).chain(queue.try_iter()) {
            match work {
                Work::Line(line) => {
                    lines.push_str(&line);
                    count += 1;
                }
                Work::Flush(done) => waiting.push(done),
            }
        }
        if failure.is_none() && count > 0 {
            match file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()) {
                Ok(()) => {
                    synced.fetch_add(count, Ordering::AcqRel);
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        for done in waiting {
            // Whoever waited may be gone.
            let _ = done.send(failure.clone().map_or(Ok(()), Err));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(tx: &str) -> Execution {
        Execution { tx_id: TxId::new(tx), ..Execution::example() }
    }

    #[tokio::test]
    async fn what_is_flushed_is_in_the_file_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ledger.jsonl");
        let (ledger, executions) = Ledger::open(&path).unwrap();
        assert!(executions.is_empty());
        ledger.record(&execution("a"));
        ledger.record(&execution("b"));
        ledger.flush().await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["txId"], &line["executed"]), (&"a".into(), &true.into()));
        assert!(line["orderId"].is_string());
        drop(ledger);
        let (_, executions) = reopen(&path);
        assert_eq!(executions, [execution("a"), execution("b")]);
    }

    /// The thread of a dropped ledger lets go of the lock as soon as it notices.
    fn reopen(path: &Path) -> (Ledger, Vec<Execution>) {
        loop {
            match Ledger::open(path) {
                Err(SimError::LedgerInUse { .. }) => std::thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn a_torn_last_line_is_cut_off_and_the_next_one_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let whole = serde_json::to_string(&execution("a")).unwrap();
        std::fs::write(&path, format!("{whole}\n{}", &whole[..whole.len() / 2])).unwrap();
        let (ledger, executions) = Ledger::open(&path).unwrap();
        assert_eq!(executions, [execution("a")]);
        ledger.record(&execution("b"));
        ledger.flush().await.unwrap();
        drop(ledger);
        assert_eq!(reopen(&path).1, [execution("a"), execution("b")]);
    }

    #[test]
    fn a_broken_line_before_the_last_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(matches!(Ledger::open(&path), Err(SimError::LedgerCorrupt { line: 1, .. })));
    }

    #[test]
    fn a_second_chain_on_one_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let first = Ledger::open(&path).unwrap();
        assert!(matches!(Ledger::open(&path), Err(SimError::LedgerInUse { .. })));
        drop(first);
    }
}
