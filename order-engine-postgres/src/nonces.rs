//! The nonces that orders reserve with their events.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::backend::{ReservationColumns, count};
use order_engine_core::store::{Append, AppendError};
use sqlx::Arguments;
use sqlx::Row;

use crate::error::Error;
use crate::rows::{NonceRow, bind_each};
use crate::session::{Operation, Session};
use crate::write;

/// Appends that may have reservations.
///
/// Fails as not appended if one of the nonces is not the account's next one. Nothing is written then, and the appends
/// are to be tried in parts.
pub(crate) struct AppendReserving<'a>(pub(crate) &'a [Append]);

#[async_trait]
impl Operation for AppendReserving<'_> {
    type Output = Vec<Result<(), AppendError>>;

    const IS_TRANSACTION: bool = true;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error> {
        // Before the orders, whose locks others wait for as well.
        lock_accounts(session, &self.0.iter().filter_map(nonce).collect::<Vec<_>>()).await?;
        let results = write::Append(self.0).run(session).await?;
        let written = self.0.iter().zip(&results).filter(|(_, result)| result.is_ok());
        reserve_nonces(session, &written.filter_map(|(append, _)| nonce(append)).collect::<Vec<_>>()).await?;
        Ok(results)
    }
}

/// Returns the nonce that an append reserves. One that cannot be stored makes its append fail.
fn nonce(append: &Append) -> Option<NonceRow<'_>> {
    let columns = ReservationColumns::new(append.reservation.as_ref()?).ok()?;
    Some(NonceRow { order_id: append.order.id, columns })
}

/// Locks the accounts of nonces, so that no other transaction reserves nonces of them meanwhile.
async fn lock_accounts(session: &mut Session<'_>, rows: &[NonceRow<'_>]) -> Result<(), Error> {
    let text = Arc::clone(&session.sql.nonces.lock_accounts);
    let names = |name: fn(&NonceRow<'_>) -> String| rows.iter().map(name).collect::<Vec<_>>();
    session
        .fetch_briefly(&text, |arguments| {
            arguments.add(names(|row| row.columns.venue.to_owned()))?;
            arguments.add(names(|row| row.columns.account.to_string()))
        })
        .await?;
    Ok(())
}

/// Reserves nonces, in their order.
async fn reserve_nonces(session: &mut Session<'_>, rows: &[NonceRow<'_>]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let text = Arc::clone(&session.sql.nonces.reserve_nonces);
    for row in session.fetch(&text, |arguments| bind_each(arguments, rows, |row| row)).await? {
        let (value, free): (i64, i64) = (row.try_get("value")?, row.try_get("free")?);
        if value != free {
            return Err(AppendError::NonceTaken { free: count(free) }.into());
        }
    }
    Ok(())
}
