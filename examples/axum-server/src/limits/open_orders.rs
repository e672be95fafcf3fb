//! How many orders one user may have open.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::http::StatusCode;
use order_engine_core::{Engine, OrderQuery, OrderRequest, Status, StoreError, UserId};
use tokio::sync::OwnedMutexGuard;

use crate::wire::problem::Problem;

/// A limit on the open orders of a user. Within a process it is exact: orders of one user that come at once take turns. Each
/// process counts what all have stored, so several let through as many more as they accept at the same moment.
#[derive(Debug)]
pub(crate) struct OpenOrders {
    max: NonZeroU32,
    turns: Mutex<HashMap<UserId, Weak<tokio::sync::Mutex<()>>>>,
}

/// A user's turn to place an order. It lasts until the order is stored.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// After how many seconds a user may try again. Orders take seconds.
const RETRY_AFTER_S: u64 = 1;

impl OpenOrders {
    pub(crate) fn new(max: NonZeroU32) -> Self {
        Self { max, turns: Mutex::default() }
    }

    /// Waits for the user's turn, and refuses one order too many.
    pub(crate) async fn admit(&self, engine: &Engine, request: &OrderRequest) -> Result<Turn, Problem> {
        let turn = self.turn_of(&request.user_id).lock_owned().await;
        if self.open(engine, &request.user_id).await? < self.max.get() {
            return Ok(turn);
        }
        let detail = format!("The user has {} open orders, which is as many as there may be.", self.max);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-open-orders", detail)
            .with_retry_after(RETRY_AFTER_S))
    }

    /// Counts the open orders of the user, up to the limit. Undecodable ones call for an operator, and are not counted.
    async fn open(&self, engine: &Engine, user: &UserId) -> Result<u32, StoreError> {
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

    fn turn_of(&self, user: &UserId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(user).and_then(Weak::upgrade) {
            return turn;
        }
        // Only users who are placing an order are kept.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(user.clone(), Arc::downgrade(&turn));
        turn
    }
}
