//! Whether any other process listens. A process that is alone publishes nothing, because nobody would read it:
//! packing the events, carrying them and skipping them again is a good part of what a lone process' order costs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

/// How often a process tells the others that it is there.
pub(super) const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing must be heard of any other process until this one is alone. Some announcements may be late
/// or lost.
pub(super) const ALONE_AFTER: Duration = Duration::from_secs(4);

/// What is known of the other processes.
#[derive(Debug, Default)]
pub(super) struct Presence {
    known: Mutex<Known>,
    /// Woken when another process is heard that may have missed hints.
    newcomer: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// Since when nothing was heard of any other process, although this one was connected; nothing while it
    /// is not: then anyone may be there.
    silent_since: Option<DateTime<Utc>>,
    /// Whether hints were skipped that a process which is there now may have needed.
    has_skipped: bool,
}

impl Known {
    fn is_alone(&self, now: DateTime<Utc>) -> bool {
        self.silent_since
            .is_some_and(|since| (now - since).to_std().is_ok_and(|silence| silence >= ALONE_AFTER))
    }
}

impl Presence {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that this process would hear the others from now on.
    pub(super) fn connected(&self, now: DateTime<Utc>) {
        self.known().silent_since = Some(now);
    }

    /// Notes that this process cannot hear the others.
    pub(super) fn disconnected(&self) {
        self.known().silent_since = None;
    }

    /// Notes that another process is there.
    pub(super) fn heard(&self, now: DateTime<Utc>) {
        let mut known = self.known();
        known.silent_since = Some(now);
        if known.has_skipped {
            self.newcomer.notify_one();
        }
    }

    /// Returns whether hints are of no use to anybody now. They count as skipped then.
    pub(super) fn skips(&self, now: DateTime<Utc>) -> bool {
        let mut known = self.known();
        let is_alone = known.is_alone(now);
        known.has_skipped |= is_alone;
        is_alone
    }

    /// Returns whether the others have to be told that they missed hints. The caller tells them.
    pub(super) fn take_skipped(&self, now: DateTime<Utc>) -> bool {
        let mut known = self.known();
        !known.is_alone(now) && std::mem::take(&mut known.has_skipped)
    }

    /// Waits until another process is heard that may have missed hints.
    pub(super) async fn newcomer(&self) {
        self.newcomer.notified().await;
    }
}
