//! Endpoints in an SQLite file of their own, beside that of the orders: SQLite has one writer a file, and deliveries shall not keep
//! orders waiting.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use order_engine_core::{StoreError, StoreErrorKind, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress};
use crate::webhooks::lease::Lease;
use crate::webhooks::store::{LOG_ENTRIES, WebhookStore};
use crate::webhooks::stores::documents::{EndpointRow, count, encode, entry, number, place};

/// The version of the tables.
const VERSION: i64 = 1;
/// How long a write waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new file is left to the others that open it.
const NEW_FILE_PAUSE: Duration = Duration::from_millis(5);

const TABLES: &str = "
    CREATE TABLE webhook_endpoints (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL, created_at_ms INTEGER NOT NULL, revision INTEGER NOT NULL,
        settings TEXT NOT NULL, progress TEXT NOT NULL, is_enabled INTEGER NOT NULL,
        holder TEXT, leased_until_ms INTEGER NOT NULL DEFAULT 0, logged INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX webhook_endpoints_of_users ON webhook_endpoints (user_id, created_at_ms, id);
    CREATE INDEX webhook_endpoints_enabled ON webhook_endpoints (leased_until_ms) WHERE is_enabled;
    CREATE TABLE webhook_attempts (
        endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE, number INTEGER NOT NULL,
        entry TEXT NOT NULL, PRIMARY KEY (endpoint_id, number)
    ) STRICT, WITHOUT ROWID;";
const COLUMNS: &str = "id, user_id, created_at_ms, revision, settings, progress";
/// The clock of the machine, in milliseconds, which all processes on the file share.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// Keeps endpoints in a file, which only its owner may read.
#[derive(Clone, Debug)]
pub(crate) struct SqliteWebhooks(Arc<Mutex<Connection>>);

/// Returns the error of the file.
fn failed(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};

    let kind = match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => StoreErrorKind::Internal,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::of(kind, error)
}

impl SqliteWebhooks {
    /// Opens the file, and creates it if it is missing.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        let open = move || {
            prepare(&path).map_err(|error| StoreError::of(StoreErrorKind::Unavailable, error))?;
            let mut connection = Connection::open(&path).map_err(failed)?;
            connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
            keep_a_log(&connection).map_err(failed)?;
            connection
                .execute_batch(
                    "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;
                     PRAGMA trusted_schema = OFF;",
                )
                .map_err(failed)?;
            migrate(&mut connection)?;
            Ok(Self(Arc::new(Mutex::new(connection))))
        };
        in_background(open).await
    }

    /// Runs a transaction that writes, away from the tasks of the runtime.
    async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.0);
        in_background(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            let done = act(&transaction)?;
            transaction.commit().map_err(failed)?;
            Ok(done)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.0);
        in_background(move || act(&connection.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn in_background<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|_| {
        Err(StoreError::new(StoreErrorKind::Unavailable, "the file's task was cancelled"))
    })
}

/// Makes the folder and the file, which is its owner's alone: it has secrets.
fn prepare(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(|_| ())
}

/// Turns a new file to a write-ahead log.
///
/// Of several processes that do so at once, each reads the file and waits for the others to stop. SQLite ends that by
/// refusing some of them at once, whatever the busy timeout is, so these try again.
fn keep_a_log(connection: &Connection) -> rusqlite::Result<()> {
    let give_up = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL;") {
            Err(error) if is_busy(&error) && Instant::now() < give_up => thread::sleep(NEW_FILE_PAUSE),
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    match version {
        VERSION => return Ok(()),
        0 => {}
        _ => {
            let what = "the file of the webhooks was written by a newer program";
            return Err(StoreError::new(StoreErrorKind::Incompatible, what));
        }
    }
    transaction.execute_batch(TABLES).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn row(row: &Row<'_>) -> rusqlite::Result<EndpointRow> {
    Ok(EndpointRow {
        id: row.get(0)?,
        user: row.get(1)?,
        created_at_ms: row.get(2)?,
        revision: row.get(3)?,
        settings: row.get(4)?,
        progress: row.get(5)?,
    })
}

/// Adds attempts to the log, and removes the oldest ones.
fn write_log(transaction: &Transaction<'_>, id: &str, entries: &[String]) -> Result<(), StoreError> {
    let logged: Option<i64> = transaction
        .query_row("SELECT logged FROM webhook_endpoints WHERE id = ?1", [id], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let Some(mut logged) = logged.filter(|_| !entries.is_empty()) else { return Ok(()) };
    for entry in entries {
        logged += 1;
        transaction
            .execute("INSERT INTO webhook_attempts VALUES (?1, ?2, ?3)", params![id, logged, entry])
            .map_err(failed)?;
    }
    transaction
        .execute("UPDATE webhook_endpoints SET logged = ?2 WHERE id = ?1", params![id, logged])
        .map_err(failed)?;
    let oldest = logged - number(LOG_ENTRIES)?;
    transaction
        .execute("DELETE FROM webhook_attempts WHERE endpoint_id = ?1 AND number <= ?2", params![id, oldest])
        .map_err(failed)?;
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

#[async_trait]
impl WebhookStore for SqliteWebhooks {
    async fn create(&self, endpoint: &Endpoint, most: usize) -> Result<bool, StoreError> {
        let (new, is_enabled) = (EndpointRow::of(endpoint)?, endpoint.is_enabled());
        let most = number(most as u64)?;
        self.write(move |transaction| {
            let added = transaction.execute(
                "INSERT INTO webhook_endpoints (id, user_id, created_at_ms, revision, settings, progress, is_enabled)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
                 WHERE (SELECT count(*) FROM webhook_endpoints WHERE user_id = ?2) < ?8",
                params![
                    new.id, new.user, new.created_at_ms, new.revision, new.settings, new.progress, is_enabled, most
                ],
            );
            Ok(added.map_err(failed)? == 1)
        })
        .await
    }

    async fn endpoints(&self, user: &UserId) -> Result<Vec<Endpoint>, StoreError> {
        let user = user.to_string();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM webhook_endpoints WHERE user_id = ?1 ORDER BY created_at_ms, id"
            );
            let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
            let rows = statement.query_map([user], row).map_err(failed)?;
            rows.map(|row| row.map_err(failed)?.decode()).collect()
        })
        .await
    }

    async fn all(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Endpoint>, StoreError> {
        let limit = number(limit as u64)?;
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE id > ?1 ORDER BY id LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
            let rows = statement.query_map(params![place(after), limit], row).map_err(failed)?;
            rows.map(|row| row.map_err(failed)?.decode()).collect()
        })
        .await
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE id = ?1");
            let found = connection.query_row(&sql, [id.to_string()], row).optional().map_err(failed)?;
            found.map(|row| row.decode()).transpose()
        })
        .await
    }

    async fn update(&self, endpoint: &Endpoint, restart: bool) -> Result<bool, StoreError> {
        let (new, is_on) = (EndpointRow::of(endpoint)?, endpoint.settings.is_on);
        self.write(move |transaction| {
            let updated = transaction.execute(
                "UPDATE webhook_endpoints SET settings = ?3, revision = revision + 1, holder = NULL, leased_until_ms = 0,
                     progress = CASE WHEN ?5 THEN ?4 ELSE progress END,
                     is_enabled = ?6 AND json_extract(CASE WHEN ?5 THEN ?4 ELSE progress END, '$.disabled') IS NULL
                 WHERE id = ?1 AND revision = ?2",
                params![new.id, new.revision, new.settings, new.progress, restart, is_on],
            );
            Ok(updated.map_err(failed)? == 1)
        })
        .await
    }

    async fn delete(&self, id: EndpointId) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let deleted =
                transaction.execute("DELETE FROM webhook_endpoints WHERE id = ?1", [id.to_string()]);
            Ok(deleted.map_err(failed)? == 1)
        })
        .await
    }

    async fn lease(&self, holder: Uuid, duration: Duration, most: usize) -> Result<Vec<Lease>, StoreError> {
        let (name, duration, most) = (holder.to_string(), millis(duration), number(most as u64)?);
        self.write(move |transaction| {
            transaction
                .execute(
                    &format!(
                        "UPDATE webhook_endpoints SET leased_until_ms = {NOW} + ?2 WHERE holder = ?1 AND is_enabled"
                    ),
                    params![name, duration],
                )
                .map_err(failed)?;
            transaction
                .execute(
                    &format!(
                        "UPDATE webhook_endpoints SET holder = ?1, leased_until_ms = {NOW} + ?2 WHERE id IN (
                             SELECT id FROM webhook_endpoints WHERE is_enabled AND leased_until_ms <= {NOW}
                             ORDER BY leased_until_ms
                             LIMIT max(0, ?3 - (
                                 SELECT count(*) FROM webhook_endpoints WHERE holder = ?1 AND is_enabled)))"
                    ),
                    params![name, duration, most],
                )
                .map_err(failed)?;
            let mut statement = transaction
                .prepare_cached("SELECT id, revision FROM webhook_endpoints WHERE holder = ?1 AND is_enabled")
                .map_err(failed)?;
            let rows = statement
                .query_map([&name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .map_err(failed)?;
            rows.map(|row| {
                let (id, revision) = row.map_err(failed)?;
                let id = id.parse().map_err(super::documents::corrupt)?;
                Ok(Lease { id, holder, revision: count(revision)? })
            })
            .collect()
        })
        .await
    }

    async fn release(&self, lease: &Lease, pause: Duration) -> Result<(), StoreError> {
        let (lease, pause) = (*lease, millis(pause));
        self.write(move |transaction| {
            transaction
                .execute(
                    &format!(
                        "UPDATE webhook_endpoints SET holder = NULL, leased_until_ms = {NOW} + ?4
                         WHERE id = ?1 AND holder = ?2 AND revision = ?3"
                    ),
                    params![lease.id.to_string(), lease.holder.to_string(), number(lease.revision)?, pause],
                )
                .map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn advance(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempts: &[Attempt],
    ) -> Result<bool, StoreError> {
        let (lease, is_enabled, progress) = (*lease, progress.disabled.is_none(), encode(progress)?);
        let entries: Vec<String> = attempts.iter().map(encode).collect::<Result<_, _>>()?;
        self.write(move |transaction| {
            let id = lease.id.to_string();
            let advanced = transaction.execute(
                "UPDATE webhook_endpoints SET progress = ?4, is_enabled = ?5
                 WHERE id = ?1 AND holder = ?2 AND revision = ?3",
                params![id, lease.holder.to_string(), number(lease.revision)?, progress, is_enabled],
            );
            let is_held = advanced.map_err(failed)? == 1;
            if is_held {
                write_log(transaction, &id, &entries)?;
            }
            Ok(is_held)
        })
        .await
    }

    async fn log(&self, id: EndpointId, attempt: &Attempt) -> Result<(), StoreError> {
        let entry = encode(attempt)?;
        self.write(move |transaction| write_log(transaction, &id.to_string(), &[entry])).await
    }

    async fn attempts(
        &self,
        id: EndpointId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Attempt)>, StoreError> {
        let before = before.map_or(Ok(i64::MAX), number)?;
        let limit = number(limit as u64)?;
        self.read(move |connection| {
            let sql = "SELECT number, entry FROM webhook_attempts WHERE endpoint_id = ?1 AND number < ?2
                       ORDER BY number DESC LIMIT ?3";
            let mut statement = connection.prepare_cached(sql).map_err(failed)?;
            let rows = statement
                .query_map(params![id.to_string(), before, limit], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })
                .map_err(failed)?;
            rows.map(|row| row.map_err(failed).and_then(|(number, text)| entry(number, &text))).collect()
        })
        .await
    }
}
