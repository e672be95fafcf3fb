//! The hints on their way to one process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::ports::source::Hint;

/// The hints on their way to one process.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// By the time of their arrival. The random number orders hints that arrive at the same time.
    hints: Mutex<BTreeMap<(DateTime<Utc>, u64), Hint>>,
    pub(super) arrived: Notify,
}

impl Mailbox {
    pub(super) fn hints(&self) -> MutexGuard<'_, BTreeMap<(DateTime<Utc>, u64), Hint>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
