//! Where a connection stands in its exchange of requests and answers.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const READING: u8 = 0;
const ANSWERING: u8 = 1;
const ANSWERED: u8 = 2;

/// Where a connection stands. The service that answers its requests and the stream below them share it. One task has both,
/// so the order of what is stored needs no care.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    step: AtomicU8,
    /// Whether HTTP ends as soon as all that was written is sent.
    ends_when_flushed: AtomicBool,
    has_ended: AtomicBool,
}

impl Exchange {
    /// A request has been read, and is being answered.
    pub(crate) fn begin(&self) {
        self.step.store(ANSWERING, Ordering::Relaxed);
    }

    /// The answer is there, and has to be sent.
    pub(crate) fn answered(&self) {
        self.step.store(ANSWERED, Ordering::Relaxed);
    }

    /// The head of the last answer is written. What follows it is not HTTP's to write.
    pub(crate) fn end_when_flushed(&self) {
        self.ends_when_flushed.store(true, Ordering::Relaxed);
    }

    /// All that was written is sent. Returns whether this was the end of an answer, so that what comes next is a request.
    pub(crate) fn flushed(&self) -> bool {
        if self.ends_when_flushed.load(Ordering::Relaxed) {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        self.step.compare_exchange(ANSWERED, READING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns whether there is no request to answer: what is received belongs to the next one.
    pub(crate) fn is_reading(&self) -> bool {
        self.step.load(Ordering::Relaxed) == READING
    }

    /// Returns whether HTTP has written and sent all that it should.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}
