//! The nonces that orders reserve with their events.

use order_engine_core::backend::{AppendColumns, ReservationColumns, count};
use order_engine_core::store::AppendError;

use crate::error::Error;
use crate::session::Session;
use crate::sql;

/// Reserves the nonces of appends that were written, in their order.
///
/// Fails as not appended if one of them is not the account's next one. What was written is to be undone then.
pub(crate) async fn reserve(session: &mut Session<'_>, rows: &[&AppendColumns<'_>]) -> Result<(), Error> {
    for row in rows {
        let Some(ReservationColumns { venue, account, value, first }) = row.reservation else { continue };
        let reserve = sqlx::query(sql::RESERVE_NONCE).bind(venue).bind(account).bind(first);
        let reserve = reserve.bind(value).bind(row.order_id.to_string());
        if reserve.execute(&mut *session.connection).await?.rows_affected() == 0 {
            let free = sqlx::query_scalar(sql::FREE_NONCE).bind(venue).bind(account).bind(first);
            let free: i64 = free.fetch_one(&mut *session.connection).await?;
            return Err(AppendError::NonceTaken { free: count(free) }.into());
        }
    }
    Ok(())
}
