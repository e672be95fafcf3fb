//! Counts the frames of a WebSocket client, below the library that makes messages of them.
//!
//! A message may have any number of frames, empty ones included, and the library reads on until it has a whole message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How much is read of a client that sent too much, so that it can read why the socket is closed: unread data would reset
/// the connection before.
const REST_BYTES_MAX: usize = 64 * 1024;
/// The largest head of a frame: two bytes, a long length and the mask.
const HEAD_BYTES_MAX: usize = 14;

/// A client sent too many frames in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many frames")]
pub(crate) struct TooManyFrames;

/// A stream whose client may send a number of frames in a second, of any kind. The first read after that fails with
/// [`TooManyFrames`].
#[derive(Debug)]
pub(crate) struct FrameGate<S> {
    io: S,
    frames: Frames,
    limit: RateLimiter,
    /// How much may still be read, once there were too many frames.
    rest: Option<usize>,
}

impl<S> FrameGate<S> {
    pub(crate) fn new(io: S, frames_per_second: u32) -> Self {
        Self { io, frames: Frames::default(), limit: RateLimiter::new(frames_per_second), rest: None }
    }

    /// Counts the frames in what the client has sent.
    pub(crate) fn count(&mut self, received: &[u8]) -> Result<(), TooManyFrames> {
        let begun = self.frames.begun_in(received);
        if begun == 0 || self.limit.admit(begun, Instant::now()) { Ok(()) } else { Err(TooManyFrames) }
    }

    /// Notes what was read, and fails if it was too much.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.rest {
            None => self.count(bytes).map_err(|error| {
                self.rest = Some(REST_BYTES_MAX);
                io::Error::other(error)
            }),
            Some(rest) if *rest == 0 => Err(io::Error::other(TooManyFrames)),
            Some(rest) => {
                *rest = rest.saturating_sub(bytes.len());
                Ok(())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            this.received(&buf.filled()[before..])?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameGate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Where in the frames of a client its bytes are.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// How much of the head has been received.
    head_len: usize,
    /// How much of the payload has not.
    payload_left: u64,
}

impl Frames {
    /// Goes through more bytes, and returns how many frames have their head in them, or its end.
    fn begun_in(&mut self, mut bytes: &[u8]) -> u32 {
        let mut begun = 0;
        loop {
            let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload_left -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { return begun };
            self.head[self.head_len] = *first;
            self.head_len += 1;
            bytes = rest;
            if let Some(payload_len) = payload_len(&self.head[..self.head_len]) {
                (self.head_len, self.payload_left) = (0, payload_len);
                begun += 1;
            }
        }
    }
}

/// Returns the length of a frame's payload, or `None` if its head is not complete.
fn payload_len(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + extended + mask {
        return None;
    }
    let long = head[2..2 + extended].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { long })
}

/// A limit on how many frames a client may send in a second.
#[derive(Debug)]
struct RateLimiter {
    per_second: u32,
    /// How many the client may still send in the current second.
    left: u32,
    second_began_at: Instant,
}

impl RateLimiter {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, second_began_at: Instant::now() }
    }

    /// Counts frames, and returns whether they are within the limit.
    #[must_use]
    fn admit(&mut self, frames: u32, now: Instant) -> bool {
        if now.duration_since(self.second_began_at) >= Duration::from_secs(1) {
            self.second_began_at = now;
            self.left = self.per_second;
        }
        let is_allowed = self.left >= frames;
        self.left = self.left.saturating_sub(frames);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// A frame with a mask, as clients send it.
    fn frame(payload: usize) -> Vec<u8> {
        let mut frame = match payload {
            0..126 => vec![0x80, 0x80 | u8::try_from(payload).unwrap()],
            126..65_536 => [&[0x80, 0xfe][..], &u16::try_from(payload).unwrap().to_be_bytes()].concat(),
            _ => [&[0x80, 0xff][..], &(payload as u64).to_be_bytes()].concat(),
        };
        frame.resize(frame.len() + 4 + payload, 0);
        frame
    }

    #[test]
    fn frames_of_all_sizes_are_counted_however_they_are_cut() {
        let bytes: Vec<u8> = [0, 1, 125, 126, 300, 65_535, 65_536, 0].into_iter().flat_map(frame).collect();
        for cut in [1, 2, 3, 7, 512, bytes.len()] {
            let mut frames = Frames::default();
            assert_eq!(bytes.chunks(cut).map(|part| frames.begun_in(part)).sum::<u32>(), 8, "{cut}");
        }
        // A frame without a mask, which only servers may send, is one, too.
        assert_eq!(Frames::default().begun_in(&[0x81, 0x01, b'x', 0x81, 0x00]), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_has_room_for_a_number_of_frames() {
        let (mut client, server) = duplex(1_024);
        let mut gate = FrameGate::new(server, 10);
        for _ in 0..3 {
            client.write_all(&frame(0).repeat(10)).await.unwrap();
            gate.read_exact(&mut [0; 60]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        client.write_all(&frame(0).repeat(11)).await.unwrap();
        let error = gate.read_exact(&mut [0; 66]).await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<TooManyFrames>());
    }

    #[tokio::test(start_paused = true)]
    async fn after_too_many_frames_only_a_little_more_is_read() {
        let (mut client, server) = duplex(4_096);
        let flood = tokio::spawn(async move {
            let frames = frame(0).repeat(512);
            while client.write_all(&frames).await.is_ok() {}
        });
        let mut gate = FrameGate::new(server, 10);
        let mut errors = 0;
        let mut read = 0;
        while errors < 3 {
            match gate.read(&mut [0; 512]).await {
                Ok(bytes) => read += bytes,
                Err(_) => errors += 1,
            }
        }
        assert!((REST_BYTES_MAX..REST_BYTES_MAX + 512).contains(&read), "{read}");
        drop(gate);
        flood.await.unwrap();
    }
}
