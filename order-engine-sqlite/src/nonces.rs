//! The nonces that orders reserve with their events.

use order_engine_core::backend::{AppendColumns, ReservationColumns, count};
use order_engine_core::store::AppendError;

use crate::error::Error;
use crate::session::Session;
use crate::sql;
use crate::values::Arguments;

/// Reserves the nonces of appends that were written, in their order.
///
/// Fails as not appended if one of them is not the account's next one. What was written is to be undone then.
pub(crate) async fn reserve(session: &mut Session<'_>, rows: &[&AppendColumns<'_>]) -> Result<(), Error> {
    for row in rows {
        let Some(ReservationColumns { venue, account, value, first }) = row.reservation else { continue };
        let account = || Arguments::default().with(venue).with(account).with(first);
        let reserve = account().with(value).with(row.order_id.to_string());
        if session.database.execute(sql::RESERVE_NONCE, reserve).await? == 0 {
            let free: i64 = session.database.one_row(sql::FREE_NONCE, account()).await?.only()?;
            return Err(AppendError::NonceTaken { free: count(free) }.into());
        }
    }
    Ok(())
}
