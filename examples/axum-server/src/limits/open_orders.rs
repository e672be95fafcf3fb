//! How many orders one user may have open.

use std::num::NonZeroU32;

use axum::http::StatusCode;
use order_engine_core::{Engine, OrderQuery, Status, StoreError, UserId};

use crate::limits::turns::Turn;
use crate::wire::problem::Problem;

/// A limit on the open orders of a user. Within a process it is exact: orders of one user that come at once take turns. Each
/// process counts what all have stored, so several let through as many more as they accept at the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOrders {
    pub(crate) max: NonZeroU32,
}

/// After how many seconds a user may try again. Orders take seconds.
const RETRY_AFTER_S: u64 = 1;

impl OpenOrders {
    /// Refuses one order of the user too many.
    pub(crate) async fn admit(self, engine: &Engine, user: &UserId, _turn: &Turn) -> Result<(), Problem> {
        if self.open(engine, user).await? < self.max.get() {
            return Ok(());
        }
        let detail = format!("The user has {} open orders, which is as many as there may be.", self.max);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-open-orders", detail)
            .with_retry_after(RETRY_AFTER_S))
    }

    /// Counts the open orders of the user, up to the limit. Undecodable ones call for an operator, and are not counted.
    async fn open(self, engine: &Engine, user: &UserId) -> Result<u32, StoreError> {
        let mut open = 0;
        for status in Status::ALL.into_iter().filter(|status| !status.is_terminal()) {
            if open == self.max.get() {
                break;
            }
            let query = OrderQuery::new(self.max.get() - open).with_user_id(user.clone()).with_status(status);
            let found = engine.orders(&query).await?.into_iter().flatten().count();
            open += u32::try_from(found).unwrap_or(u32::MAX);
        }
        Ok(open)
    }
}
