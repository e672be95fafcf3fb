//! The nonces that orders reserve with their events.

use order_engine_core::backend::count;
use order_engine_core::store::AppendError;

use crate::error::Error;
use crate::items::{AppendItem, ReservationItem};
use crate::session::Session;
use crate::sql;

/// Reserves the nonces of appends that were written, in their order.
///
/// Fails as not appended if one of them is not the account's next one. What was written is to be undone then.
pub(crate) async fn reserve(session: &mut Session<'_>, appends: &[&AppendItem]) -> Result<(), Error> {
    for ReservationItem { account, value, order_id } in
        appends.iter().filter_map(|append| append.reservation.as_ref())
    {
        let reserve = account.and_others().with(*value).with(order_id.to_string());
        if session.database.execute(sql::RESERVE_NONCE, reserve).await? == 0 {
            let free: i64 = session.database.one_row(sql::FREE_NONCE, account.and_others()).await?.only()?;
            return Err(AppendError::NonceTaken { free: count(free) }.into());
        }
    }
    Ok(())
}
