//! The one thread that writes.
//!
//! SQLite has one writer at a time, so there is one here. Operations that gather while a transaction is
//! committed share the next one: a lone operation waits for no others, and a hundred share one fsync.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::telemetry::chain;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Reached, StoreClock};
use crate::connect;
use crate::database::Database;
use crate::error::Error;
use crate::open_file::OpenFiles;
use crate::options::SqliteOptions;
use crate::session::{Operation, Pace, Session};
use crate::values::Arguments;

/// How many operations share a transaction at most.
const MAX_OPERATIONS: usize = 64;
/// How many operations may wait; further callers wait for room.
const QUEUE: usize = 1_024;

/// A handle to the thread that writes.
#[derive(Clone, Debug)]
pub(crate) struct WriterHandle {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl WriterHandle {
    /// Starts the writer, on a thread of its own, because each call of SQLite blocks it. The thread ends when the last
    /// handle is dropped and what is queued is written.
    pub(crate) fn start(
        options: SqliteOptions,
        clock: StoreClock,
        files: OpenFiles,
        connection: rusqlite::Connection,
    ) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer { options, clock, files, reached: Reached::new(), connection: Some(connection) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Error::Thread)?;
        std::thread::Builder::new()
            .name("order-engine-sqlite".to_owned())
            .spawn(move || runtime.block_on(writer.run(queue)))
            .map_err(Error::Thread)?;
        Ok(Self { jobs })
    }

    /// Queues an operation and waits for its result.
    pub(crate) async fn run<O: Operation + 'static>(&self, operation: O) -> Result<O::Output, Arc<Error>> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(QueuedOperation { operation, output: None, reply });
        self.jobs.send(job).await.map_err(|_| Arc::new(Error::Closed))?;
        answer.await.map_err(|_| Arc::new(Error::Closed))?.result
    }
}

/// An operation of any type whose caller waits.
#[async_trait]
trait Job: Send + Sync {
    /// Runs the operation. The transaction may still fail.
    async fn run(&mut self, session: &mut Session<'_>) -> Result<(), Error>;

    /// Returns whether the caller has given up.
    fn is_abandoned(&self) -> bool;

    /// Answers the caller, after the transaction.
    fn finish(self: Box<Self>, result: Result<(), Arc<Error>>);
}

struct QueuedOperation<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<Answer<O>>,
}

/// What the caller gets.
struct Answer<O: Operation> {
    result: Result<O::Output, Arc<Error>>,
    /// What the caller has encoded, so that it is the caller who frees it.
    _operation: O,
}

#[async_trait]
impl<O: Operation + 'static> Job for QueuedOperation<O> {
    async fn run(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        self.output = Some(self.operation.run(session).await?);
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn finish(self: Box<Self>, result: Result<(), Arc<Error>>) {
        let Self { operation, output, reply } = *self;
        let result = result.and_then(|()| output.ok_or_else(|| Arc::new(Error::Closed)));
        // The caller may have given up; the operation is written all the same.
        let _ = reply.send(Answer { result, _operation: operation });
    }
}

struct Writer {
    options: SqliteOptions,
    clock: StoreClock,
    files: OpenFiles,
    reached: Reached,
    /// None after a failure, because the state of a connection that failed is not known.
    connection: Option<rusqlite::Connection>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(MAX_OPERATIONS);
        while queue.recv_many(&mut jobs, MAX_OPERATIONS).await > 0 {
            // Under overload, callers give up before their turn comes; their operations must not keep the
            // other callers waiting.
            jobs.retain(|job| !job.is_abandoned());
            if !jobs.is_empty() {
                self.write(std::mem::take(&mut jobs)).await;
            }
        }
    }

    async fn write(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        match self.transact(&mut jobs, Pace::AllAtOnce).await {
            Ok(()) => finish(jobs, &Ok(())),
            Err(error) if error.may_come_of_one_item() => {
                tracing::warn!(operations = jobs.len(), error = %chain(&error), "a transaction failed; its items are tried one by one");
                for job in jobs {
                    let mut alone = vec![job];
                    let result = self.transact(&mut alone, Pace::OneByOne).await.map_err(Arc::new);
                    finish(alone, &result);
                }
            }
            Err(error) => finish(jobs, &Err(Arc::new(error))),
        }
    }

    /// Runs all jobs in one transaction, which is on the disk when this returns `Ok`.
    async fn transact(&mut self, jobs: &mut [Box<dyn Job>], pace: Pace) -> Result<(), Error> {
        // Before, so that hardly anything is written to a file that is lost; after, so that nothing of it is acknowledged.
        self.files.check()?;
        self.commit(jobs, pace).await?;
        self.files.check_committed()
    }

    async fn commit(&mut self, jobs: &mut [Box<dyn Job>], pace: Pace) -> Result<(), Error> {
        // The connection is put back only after the commit: a failure below drops it, which rolls back.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.reached = Reached::new();
                self.files.close();
                let connection = connect::writer(&self.options).await?;
                // It may have been replaced while it was opened.
                self.files.check()?;
                connection
            }
        };
        let mut database = Database::Own(&mut connection);
        database.execute("BEGIN IMMEDIATE", Arguments::default()).await?;
        let mut session = Session { database, now: self.clock.now(), pace };
        for job in jobs {
            job.run(&mut session).await?;
        }
        let reached = self.reached.note(&mut session.database, &self.clock, session.now).await?;
        session.execute("COMMIT").await?;
        self.reached = reached;
        self.connection = Some(connection);
        Ok(())
    }
}

fn finish(jobs: Vec<Box<dyn Job>>, result: &Result<(), Arc<Error>>) {
    for job in jobs {
        job.finish(result.clone());
    }
}
