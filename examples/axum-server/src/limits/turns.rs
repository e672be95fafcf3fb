//! Turns of users: the orders of one user that come at once are admitted one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use order_engine_core::UserId;
use tokio::sync::OwnedMutexGuard;

/// The users who are placing an order.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<UserId, Weak<tokio::sync::Mutex<()>>>>);

/// A user's turn to place an order. It lasts until the order is stored.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for a user's turn.
    pub(crate) async fn of(&self, user: &UserId) -> Turn {
        self.lock_of(user).lock_owned().await
    }

    fn lock_of(&self, user: &UserId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
