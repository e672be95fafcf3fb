//! The statement of the fan-out.

/// Sends messages to the listeners of a channel, without waiting for the disk: they are hints, and nothing is
/// written.
pub(crate) const NOTIFY_NOW: &str =
    "SELECT pg_notify($1, message), set_config('synchronous_commit', 'off', true)
    FROM unnest($2::text[]) AS message";
