//! Whether the store answers: how long a request waits for it, and one line in the log for each change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use order_engine_core::telemetry::chain;
use order_engine_core::{StoreError, StoreErrorKind};
use tokio::time::timeout;

use crate::wire::problem::Problem;

/// How long a request waits for the store. The store itself tries for longer, for the sake of those who cannot ask again.
pub(crate) const STORE_TIME_MAX: Duration = Duration::from_millis(1_500);

/// What a store does, and may fail to do while it does the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Reads,
    Writes,
}

/// What is remembered of the store's answers, so that the log has one line for each change and not one for each request.
#[derive(Debug, Default)]
pub(crate) struct StoreWatch {
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
}

/// The store has not done what a request needs. If it does not answer at all, the watch has logged that.
#[derive(Debug)]
pub(crate) struct StoreFailure(StoreError);

impl StoreWatch {
    /// Returns what the store answers, or fails if that takes too long. A write that is given up may still be done.
    pub(crate) async fn in_time<T>(
        &self,
        part: Part,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreFailure> {
        let late = |_| Err(StoreError::new(StoreErrorKind::Unavailable, "no answer in time"));
        let result = timeout(STORE_TIME_MAX, call).await.unwrap_or_else(late);
        match &result {
            Err(error) => self.failed(part, error),
            Ok(_) => _ = self.note(part, Ok(())),
        }
        result.map_err(StoreFailure)
    }

    /// Notes a failure, if it is one of the store and not of a single request.
    pub(crate) fn failed(&self, part: Part, error: &StoreError) {
        if error.kind() == StoreErrorKind::Unavailable {
            self.note(part, Err(&chain(error).to_string()));
        }
    }

    /// Takes whether the store does its part, or why not; logs it, and returns true, if that is news.
    pub(crate) fn note(&self, part: Part, found: Result<(), &str>) -> bool {
        let (fails, what) = match part {
            Part::Reads => (&self.reads_fail, "reads"),
            Part::Writes => (&self.writes_fail, "writes"),
        };
        // Most answers change nothing, and need not take the memory from the other threads.
        if fails.load(Ordering::Acquire) == found.is_err()
            || fails.swap(found.is_err(), Ordering::AcqRel) == found.is_err()
        {
            return false;
        }
        match found {
            Ok(()) => tracing::info!(store.part = what, "the store answers again"),
            Err(error) => tracing::warn!(store.part = what, error, "the store does not answer"),
        }
        true
    }
}

impl From<StoreFailure> for Problem {
    fn from(StoreFailure(error): StoreFailure) -> Self {
        match error.kind() {
            StoreErrorKind::Unavailable => {
                Self::unavailable("store-unavailable", "The store does not answer. Try again.")
            }
            _ => Self::store(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_changes_are_news_for_reads_and_writes_apart() {
        let watch = StoreWatch::default();
        let looks = [Ok(()), Err("down"), Err("still down"), Ok(()), Ok(()), Err("down")];
        let news = looks.map(|found| watch.note(Part::Reads, found));
        assert_eq!(news, [false, true, false, true, false, true]);
        assert!(!watch.note(Part::Writes, Ok(())), "writes were never down");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_fails_in_time_and_is_noted() {
        let (watch, begun) = (StoreWatch::default(), Instant::now());
        let hanging = std::future::pending::<Result<(), StoreError>>();
        let failure = watch.in_time(Part::Writes, hanging).await.unwrap_err();
        assert_eq!(begun.elapsed(), STORE_TIME_MAX);
        assert_eq!(Problem::from(failure).parts().0, 503);
        assert!(!watch.note(Part::Writes, Err("down")), "it is known already");
        assert!(watch.in_time(Part::Writes, async { Ok(()) }).await.is_ok());
        assert!(watch.note(Part::Writes, Err("down")), "it answered meanwhile");
    }
}
