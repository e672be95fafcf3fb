//! The nonces that orders reserve.

use std::sync::Arc;

use super::settings::DURABLE;
use super::text::{qualified, unnest};
use crate::rows::{ListRow, NonceRow};

/// The statements of nonces.
#[derive(Debug)]
pub(crate) struct NoncesSql {
    pub(crate) lock_accounts: Arc<str>,
    pub(crate) reserve_nonces: Arc<str>,
}

impl NoncesSql {
    pub(super) fn new(schema: &str) -> Self {
        let text = |sql: &str| qualified(schema, sql);
        Self {
            lock_accounts: text(&lock_accounts()),
            // In the order of the list: each call sees what the one before has reserved.
            reserve_nonces: text(&format!(
                "SELECT value, @reserve_nonce(venue, account, value, first, order_id) AS free FROM {}",
                unnest("item", 1, &[NonceRow::COLUMNS])
            )),
        }
    }
}

/// Locks accounts until the transaction ends. All transactions lock them in one order, so no two wait for each other.
///
/// The lock of an account is a number made of a number that only this crate uses, the schema and the names. Two accounts
/// that share one only wait for each other.
fn lock_accounts() -> String {
    format!(
        "WITH {DURABLE},
        account AS MATERIALIZED (
            SELECT DISTINCT hashtextextended(account, hashtextextended(venue, hashtextextended('@', 1869899109))) AS key
            FROM unnest($2::text[], $3::text[]) AS item (venue, account) ORDER BY key
        )
        SELECT pg_advisory_xact_lock(key) FROM account CROSS JOIN settings"
    )
}
