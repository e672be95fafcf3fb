//! The store's clock: one for all processes that use the file.
//!
//! It shows the time since the machine's boot plus an offset that is kept in the file. The time since the
//! boot cannot be set, and goes on while the machine sleeps. The process that opens the file first in a
//! boot sets the offset by the system's time; later changes of the system's time have no effect. Where the
//! system does not distinguish its boots, each process sets an offset of its own. The clock never falls
//! behind the times that were written.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use order_engine_core::Clock;
use sqlx::{Connection, Row, SqliteConnection};

use crate::database::Database;
use crate::error::Error;
use crate::machine::Machine;
use crate::options::SqliteOptions;
use crate::values::Arguments;

/// How far ahead of the present the file's latest time is noted. If the system's clock is slow after a boot,
/// the store's clock goes on from the noted time.
const AHEAD_MS: i64 = 1_000;

/// The clock that shows the store's time.
#[derive(Clone, Debug)]
pub(crate) enum StoreClock {
    /// The host's own clock.
    Steered(Arc<dyn Clock>),
    /// The machine's steady time plus an offset.
    Steady { machine: Arc<dyn Machine>, offset_ms: i64 },
}

impl StoreClock {
    /// Returns the clock of a file.
    pub(crate) async fn open(
        connection: &mut SqliteConnection,
        options: &SqliteOptions,
    ) -> Result<Self, Error> {
        if let Some(clock) = &options.clock {
            return Ok(Self::Steered(Arc::clone(clock)));
        }
        // If several processes open the file at once, one of them sets the offset.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let clock = Self::of_the_file(&mut transaction, Arc::clone(&options.machine)).await?;
        transaction.commit().await?;
        Ok(clock)
    }

    async fn of_the_file(
        connection: &mut SqliteConnection,
        machine: Arc<dyn Machine>,
    ) -> Result<Self, Error> {
        let boot_id = machine.boot_id();
        let known = sqlx::query("SELECT boot_id, offset_ms, reached_ms FROM clock");
        let mut now_ms = machine.system_time_ms();
        if let Some(row) = known.fetch_optional(&mut *connection).await? {
            let known_boot: Option<String> = row.try_get("boot_id")?;
            if boot_id.is_some() && known_boot == boot_id {
                return Ok(Self::Steady { machine, offset_ms: row.try_get("offset_ms")? });
            }
            now_ms = now_ms.max(row.try_get("reached_ms")?);
        }
        let offset_ms = now_ms.saturating_sub(machine.steady_ms());
        sqlx::query(
            "INSERT INTO clock (id, boot_id, offset_ms, reached_ms) VALUES (1, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET
                boot_id = excluded.boot_id, offset_ms = excluded.offset_ms, reached_ms = excluded.reached_ms",
        )
        .bind(&boot_id)
        .bind(offset_ms)
        .bind(now_ms)
        .execute(connection)
        .await?;
        Ok(Self::Steady { machine, offset_ms })
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        match self {
            Self::Steered(clock) => clock.now(),
            Self::Steady { machine, offset_ms } => moment(offset_ms.saturating_add(machine.steady_ms())),
        }
    }

    /// Returns whether the file has to keep how far time has come.
    const fn is_kept(&self) -> bool {
        !matches!(self, Self::Steered(_))
    }
}

fn moment(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What the writer knows of the latest time that the file keeps.
#[derive(Debug)]
pub(crate) struct Reached {
    ms: i64,
    /// How many rows the connection had changed when the time was last noted.
    changes: i64,
}

impl Reached {
    /// Returns what is known of a new connection: nothing.
    pub(crate) const fn new() -> Self {
        Self { ms: i64::MIN, changes: -1 }
    }

    /// Notes in the file how far time has come, if the transaction changed anything and the noted time is
    /// over. Returns what holds once the transaction is committed.
    pub(crate) async fn note(
        &self,
        database: &mut Database<'_>,
        clock: &StoreClock,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let now_ms = now.timestamp_millis();
        if !clock.is_kept() || now_ms <= self.ms {
            return Ok(Self { ..*self });
        }
        if changes(database).await? == self.changes {
            return Ok(Self { ..*self });
        }
        let ms = now_ms.saturating_add(AHEAD_MS);
        let note = "UPDATE clock SET reached_ms = max(reached_ms, ?)";
        database.execute(note, Arguments::default().with(ms)).await?;
        Ok(Self { ms, changes: changes(database).await? })
    }
}

async fn changes(database: &mut Database<'_>) -> Result<i64, Error> {
    Ok(database.one_row("SELECT total_changes()", Arguments::default()).await?.only()?)
}

#[cfg(test)]
mod tests;
