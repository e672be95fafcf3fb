//! Which orders are executed together: any number of unsuspected ones, or a single suspect.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Lets orders be executed together, and a suspect alone.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<RwLock<()>>);

/// The turn of an order. It ends when it is dropped.
#[derive(Debug)]
pub(super) enum Turn {
    Together { _turn: OwnedRwLockReadGuard<()> },
    Alone { _turn: OwnedRwLockWriteGuard<()> },
}

impl Turns {
    pub(super) async fn begin(&self, alone: bool) -> Turn {
        let turns = Arc::clone(&self.0);
        if alone {
            Turn::Alone { _turn: turns.write_owned().await }
        } else {
            Turn::Together { _turn: turns.read_owned().await }
        }
    }
}
