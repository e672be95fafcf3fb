//! What statements have in common: their time, how long they wait for locks, and whether they wait for the disk.

/// The time of the statement. The time of the transaction would be wrong in a host's transaction, which may
/// have begun long ago.
pub(super) const STATEMENT_TIME: &str = "statement_timestamp()";

/// The store's time: the server's at this very moment, cut to milliseconds. A statement that had to wait for
/// another one goes by the time after the wait.
pub(super) const CLOCK: &str = "date_trunc('milliseconds', clock_timestamp())";

/// Returns the time after a number of microseconds.
pub(super) fn after(micros: &str) -> String {
    format!("{STATEMENT_TIME} + {micros} * interval '1 microsecond'")
}

/// Makes the commit wait for the disk, whatever the server's default is. A stricter setting, such as the
/// confirmation of a standby, stays.
///
/// The first parameter says how long the statement waits for what another transaction holds; without
/// it, the statement waits as long as the session does. The rows to lock are joined with this, so that the
/// wait is set before they are locked.
pub(super) const DURABLE: &str = "settings AS (
    SELECT
        CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', true) END AS synchronous_commit,
        CASE WHEN $1::text IS NOT NULL THEN set_config('lock_timeout', $1, true) END AS lock_timeout
)";

/// The same in a transaction of the host, which decides itself how long it waits: as a condition that always
/// holds.
pub(super) const DURABLE_IN: &str = "(current_setting('synchronous_commit') <> 'off'
    OR set_config('synchronous_commit', 'on', true) = 'on')";

/// Makes the commit not wait for the disk. Leases need not be durable: one that is lost in a crash of the
/// server was never given, and its holder's writes are refused. What was written under it is on the disk only
/// if the lease is, since the log is written in order.
pub(super) const LAZY: &str = "lazy AS (SELECT set_config('synchronous_commit', 'off', true))";

/// The same for statements that lock rows: the first parameter says how long they wait for them.
pub(super) const LAZY_AND_BRIEF: &str = "settings AS (
    SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $1::text, true) AS lock_timeout
)";
