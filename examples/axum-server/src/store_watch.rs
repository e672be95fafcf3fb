//! Whether the store was ready at the last look, so that the log has one line for each change and not one for each look.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is remembered of the looks at the store.
#[derive(Debug, Default)]
pub(crate) struct StoreWatch {
    is_down: AtomicBool,
}

impl StoreWatch {
    /// Takes what a look has found, or why the store is not ready; logs it, and returns true, if that is news.
    pub(crate) fn note(&self, found: Result<(), &str>) -> bool {
        let is_news = self.is_down.swap(found.is_err(), Ordering::AcqRel) != found.is_err();
        match found {
            Ok(()) if is_news => tracing::info!("the store is ready again"),
            Err(error) if is_news => tracing::warn!(error, "the store is not ready"),
            _ => {}
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_news() {
        let watch = StoreWatch::default();
        let looks = [Ok(()), Err("down"), Err("still down"), Ok(()), Ok(()), Err("down")];
        assert_eq!(looks.map(|found| watch.note(found)), [false, true, false, true, false, true]);
    }
}
