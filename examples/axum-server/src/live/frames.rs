//! The rendered frames of one order: each is rendered once, no matter how many streams send it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How many of the latest frames are kept. Most orders have fewer.
const KEPT_MAX: usize = 64;

/// The frames that the streams of one order share, while there is at least one stream.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Whether there ever was more than one stream. A single stream needs each frame only once, so nothing is
    /// kept for it.
    is_shared: AtomicBool,
    rendered: Mutex<BTreeMap<u64, Utf8Bytes>>,
}

impl Frames {
    /// Keeps frames from now on, because more than one stream sends them.
    pub(crate) fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Returns the frame of the event with this number.
    pub(crate) fn get_or_render(&self, seq: u64, render: impl FnOnce() -> String) -> Utf8Bytes {
        if !self.is_shared.load(Ordering::Relaxed) {
            return render().into();
        }
        // Another stream that needs the frame meanwhile waits for it, which is faster than rendering it
        // again.
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = rendered.entry(seq).or_insert_with(|| render().into()).clone();
        if rendered.len() > KEPT_MAX {
            rendered.pop_first();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_share_frames_render_each_once() {
        let frames = Frames::default();
        frames.share();
        let first = frames.get_or_render(7, || "rendered".to_owned());
        let second = frames.get_or_render(7, || panic!("the frame is kept"));
        assert_eq!((first.as_str(), first.as_str().as_ptr()), ("rendered", second.as_str().as_ptr()));
    }

    #[test]
    fn no_frame_is_kept_for_a_single_stream_and_a_bounded_number_for_several() {
        let frames = Frames::default();
        assert_eq!(frames.get_or_render(1, || "first".to_owned()).as_str(), "first");
        assert_eq!(frames.get_or_render(1, || "again".to_owned()).as_str(), "again");
        frames.share();
        for seq in 1..=1_000 {
            assert_eq!(frames.get_or_render(seq, || seq.to_string()).as_str(), seq.to_string());
        }
        let kept: Vec<u64> = frames.rendered.lock().unwrap().keys().copied().collect();
        assert_eq!((kept.len(), kept.last()), (KEPT_MAX, Some(&1_000)));
    }
}
