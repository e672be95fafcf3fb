//! The stream of one client of server-sent events, written straight to its connection.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use crate::live::feed::{FeedEnd, Item};
use crate::live::session::Announcements;

/// How soon a client reconnects after a stream that ended before its order.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How often a stream without events sends a comment to keep the connection alive: as often as a WebSocket is
/// pinged.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How much is gathered before it is written. Most orders have less, so a client that comes late gets their whole
/// history in one write.
const BURST_BYTES: usize = 16 * 1024;
/// How much a client may send, which has no need to send anything.
const RECEIVED_MAX: usize = 16 * 1024;

/// How the body of an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// In chunks, as HTTP/1.1 has bodies of unknown length.
    Chunked,
    /// As it is, up to the end of the connection.
    ToTheEnd,
}

/// Why a stream ends without the end of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone;

/// What is next for the client.
enum Next {
    Event(String),
    End,
}

/// Sends frames that open the stream, and then a feed, until it ends, the server shuts down, or the client goes. The client
/// needs no reason, because it reconnects and resumes after its last event.
pub(crate) async fn run<S, F>(
    mut connection: S,
    framing: Framing,
    opening: VecDeque<String>,
    feed: F,
    announcements: Announcements,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Stream<Item = Result<Item, FeedEnd>> + Send,
{
    let mut feed = pin!(feed);
    let mut first = format!("retry: {}\n", RECONNECT_AFTER.as_millis());
    for frame in opening {
        push_event(&mut first, None, &frame);
    }
    let mut next = Some(first);
    let mut announcements = announcements;
    let mut received = 0;
    loop {
        if let Some(mut text) = next.take() {
            let has_ended = gather(&mut text, feed.as_mut());
            if write(&mut connection, framing, &text).await.is_err() {
                return;
            }
            if has_ended {
                break;
            }
        }
        match wait(&mut connection, feed.as_mut(), &mut announcements, &mut received).await {
            Ok(Next::Event(text)) => next = Some(text),
            Ok(Next::End) => break,
            Err(Gone) => return,
        }
    }
    if framing == Framing::Chunked {
        // An error means that the client is gone.
        let _ = connection.write_all(b"0\r\n\r\n").await;
    }
    let _ = connection.shutdown().await;
}

/// Waits until there is something for the client.
async fn wait<S, F>(
    connection: &mut S,
    mut feed: Pin<&mut F>,
    announcements: &mut Announcements,
    received: &mut usize,
) -> Result<Next, Gone>
where
    S: AsyncRead + Unpin + Send,
    F: Stream<Item = Result<Item, FeedEnd>> + Send,
{
    let mut keep_alive = pin!(sleep(KEEP_ALIVE_INTERVAL));
    let mut discarded = [0; 64];
    loop {
        tokio::select! {
            biased;
            () = announcements.shutdown.wait() => return Ok(Next::End),
            notice = announcements.notices.recv() => {
                // A notice that was missed is outdated, so it is skipped.
                if let Ok(notice) = notice {
                    return Ok(Next::Event(event(None, &notice)));
                }
            }
            item = feed.next() => return Ok(match item {
                Some(Ok(item)) => Next::Event(event(Some(&item.id()), &item.frame)),
                _ => Next::End,
            }),
            read = connection.read(&mut discarded) => match read {
                Ok(bytes) if bytes > 0 && *received < RECEIVED_MAX => *received += bytes,
                _ => return Err(Gone),
            },
            () = &mut keep_alive => return Ok(Next::Event(":\n\n".to_owned())),
        }
    }
}

/// Adds the events that the feed has ready, and returns whether it has ended.
fn gather<F>(text: &mut String, mut feed: Pin<&mut F>) -> bool
where
    F: Stream<Item = Result<Item, FeedEnd>>,
{
    while text.len() < BURST_BYTES {
        match feed.next().now_or_never() {
            Some(Some(Ok(item))) => push_event(text, Some(&item.id()), &item.frame),
            Some(_) => return true,
            None => return false,
        }
    }
    false
}

fn event(id: Option<&str>, json: &str) -> String {
    let mut text = String::new();
    push_event(&mut text, id, json);
    text
}

/// Writes an event. JSON has no line breaks, so it is one line of data.
fn push_event(text: &mut String, id: Option<&str>, json: &str) {
    if let Some(id) = id {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "id: {id}");
    }
    for part in ["data: ", json, "\n\n"] {
        text.push_str(part);
    }
}

/// Writes a part of the body.
async fn write<S>(connection: &mut S, framing: Framing, text: &str) -> std::io::Result<()>
where
    S: AsyncWrite + Unpin + Send,
{
    match framing {
        Framing::Chunked => {
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            connection.write_all(chunk.as_bytes()).await?;
        }
        Framing::ToTheEnd => connection.write_all(text.as_bytes()).await?,
    }
    connection.flush().await
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::live::sockets::{SocketCaps, Sockets};

    fn sockets() -> Sockets {
        Sockets::new(SocketCaps { total: 1, per_order: 1 })
    }

    fn items(count: u64) -> impl Stream<Item = Result<Item, FeedEnd>> + Send {
        stream::iter(
            (1..=count).map(|seq| Ok(Item { seq, cursor: None, frame: format!("{{\"seq\":{seq}}}").into() })),
        )
    }

    fn start<F>(feed: F, sockets: &Sockets) -> (DuplexStream, tokio::task::JoinHandle<()>)
    where
        F: Stream<Item = Result<Item, FeedEnd>> + Send + 'static,
    {
        let (client, server) = duplex(64 * 1024);
        let announcements = Announcements::of(sockets);
        let opening = VecDeque::from(["hello".to_owned()]);
        (client, tokio::spawn(run(server, Framing::ToTheEnd, opening, feed, announcements)))
    }

    async fn text_of(mut client: DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_is_sent_with_one_time_to_reconnect() {
        let (client, task) = start(items(2), &sockets());
        let expected = "retry: 1000\ndata: hello\n\nid: 1\ndata: {\"seq\":1}\n\nid: 2\ndata: {\"seq\":2}\n\n";
        assert_eq!(text_of(client).await, expected);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_its_chunks_and_its_end() {
        let (mut client, server) = duplex(1_024);
        let opening = VecDeque::from(["hello".to_owned()]);
        run(server, Framing::Chunked, opening, items(0), Announcements::of(&sockets())).await;
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "19\r\nretry: 1000\ndata: hello\n\n\r\n0\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_is_kept_alive_gets_notices_and_ends_with_the_server() {
        let sockets = sockets();
        let (client, task) = start(stream::pending(), &sockets);
        let begun = Instant::now();
        tokio::time::sleep(KEEP_ALIVE_INTERVAL * 2 + Duration::from_secs(1)).await;
        sockets.notify("maintenance");
        // The paused clock moves on only when all other tasks wait, so the notice has been sent by then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        sockets.shut_down();
        task.await.unwrap();
        assert_eq!(text_of(client).await, "retry: 1000\ndata: hello\n\n:\n\n:\n\ndata: maintenance\n\n");
        assert!(begun.elapsed() < KEEP_ALIVE_INTERVAL * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_or_talks_without_end_ends_its_stream() {
        let sockets = sockets();
        let (client, task) = start(stream::pending(), &sockets);
        drop(client);
        task.await.unwrap();
        let (mut client, task) = start(stream::pending(), &sockets);
        while client.write_all(&[b'x'; 1_024]).await.is_ok() {}
        task.await.unwrap();
    }
}
