use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::stream;
use tokio::sync::mpsc;

use super::*;
use crate::live::sockets::{SocketCaps, Sockets};

/// The server's end of a socket whose client is the test: it receives what the test sends, and takes frames
/// unless the test has it stuck.
struct TestSocket {
    from_client: mpsc::UnboundedReceiver<Result<Message, Error>>,
    wire: Arc<Mutex<Wire>>,
}

#[derive(Default)]
struct Wire {
    sent: Vec<Message>,
    writes: usize,
    is_stuck: bool,
    waker: Option<Waker>,
}

/// The client's end.
struct Client {
    to_server: mpsc::UnboundedSender<Result<Message, Error>>,
    wire: Arc<Mutex<Wire>>,
}

fn socket() -> (TestSocket, Client) {
    let (to_server, from_client) = mpsc::unbounded_channel();
    let wire = Arc::new(Mutex::new(Wire::default()));
    (TestSocket { from_client, wire: Arc::clone(&wire) }, Client { to_server, wire })
}

impl Client {
    fn send(&self, message: Message) {
        self.to_server.send(Ok(message)).unwrap();
    }

    fn set_stuck(&self, is_stuck: bool) {
        let mut wire = self.wire.lock().unwrap();
        wire.is_stuck = is_stuck;
        if let Some(waker) = wire.waker.take() {
            waker.wake();
        }
    }

    fn texts(&self) -> Vec<String> {
        let wire = self.wire.lock().unwrap();
        wire.sent
            .iter()
            .filter_map(|m| if let Message::Text(t) = m { Some(t.to_string()) } else { None })
            .collect()
    }

    fn writes(&self) -> usize {
        self.wire.lock().unwrap().writes
    }

    fn pings(&self) -> usize {
        self.wire.lock().unwrap().sent.iter().filter(|m| matches!(m, Message::Ping(_))).count()
    }

    fn close_code(&self) -> Option<u16> {
        match self.wire.lock().unwrap().sent.last() {
            Some(Message::Close(Some(frame))) => Some(frame.code.into()),
            _ => None,
        }
    }
}

impl Stream for TestSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from_client.poll_recv(cx)
    }
}

impl Sink<Message> for TestSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut wire = self.wire.lock().unwrap();
        if wire.is_stuck {
            wire.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.wire.lock().unwrap().sent.push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.wire.lock().unwrap().writes += 1;
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

fn sockets() -> Sockets {
    Sockets::new(SocketCaps { total: 1, per_order: 1 })
}

fn announcements(sockets: &Sockets) -> Announcements {
    Announcements::of(sockets)
}

fn items(seqs: std::ops::RangeInclusive<u64>) -> impl Stream<Item = Result<Item, FeedEnd>> + Send {
    stream::iter(seqs.map(|seq| Ok(Item { seq, cursor: None, frame: format!("event {seq}").into() })))
}

/// Runs a session to its end and its close.
async fn run<F>(socket: TestSocket, feed: F, last_seq: u64, sockets: &Sockets) -> End
where
    F: Stream<Item = Result<Item, FeedEnd>> + Send,
{
    let mut session = Box::new(Session::new(socket, SessionRules::default()));
    session.queue_frame("hello".to_owned());
    let end = session.run(feed, last_seq, announcements(sockets)).await;
    session.close(end).await;
    end
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_sent_completely_before_the_close() {
    let (socket, client) = socket();
    let end = run(socket, items(1..=1_000), 1_000, &sockets()).await;
    assert_eq!((end, client.close_code()), (End::Done, Some(1000)));
    let texts = client.texts();
    assert_eq!((texts.len(), texts[0].as_str(), texts[1_000].as_str()), (1_001, "hello", "event 1000"));
}

#[tokio::test(start_paused = true)]
async fn a_short_history_and_the_close_are_one_write() {
    let (socket, client) = socket();
    assert_eq!(run(socket, items(1..=9), 9, &sockets()).await, End::Done);
    assert_eq!((client.texts().len(), client.close_code(), client.writes()), (10, Some(1000), 1));
}

#[tokio::test(start_paused = true)]
async fn live_events_beyond_the_bound_close_a_slow_client() {
    let (socket, client) = socket();
    client.set_stuck(true);
    let session = tokio::spawn(async move {
        let sockets = sockets();
        let mut session = Box::new(Session::new(socket, SessionRules::default()));
        let end = session.run(items(1..=300), 0, announcements(&sockets)).await;
        (session, end)
    });
    let (session, end) = session.await.unwrap();
    assert_eq!(end, End::Lagged);
    client.set_stuck(false);
    session.close(end).await;
    assert_eq!(client.close_code(), Some(1013));
    // The waiting frames are dropped, so the client sees no gap.
    assert!(client.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mebibyte_of_waiting_frames_closes_a_slow_client() {
    let (socket, client) = socket();
    client.set_stuck(true);
    let large =
        stream::iter((1..=3).map(|seq| Ok(Item { seq, cursor: None, frame: "x".repeat(400_000).into() })));
    let mut session = Box::new(Session::new(socket, SessionRules::default()));
    assert_eq!(session.run(large, 0, announcements(&sockets())).await, End::Lagged);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_a_long_history_at_its_own_pace() {
    let (socket, client) = socket();
    client.set_stuck(true);
    let task = tokio::spawn(async move { run(socket, items(1..=1_000), 1_000, &sockets()).await });
    // Longer than the interval of pings, shorter than the longest silence.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(client.texts().is_empty());
    client.set_stuck(false);
    assert_eq!(task.await.unwrap(), End::Done);
    assert_eq!(client.texts().len(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_disconnected() {
    let (socket, client) = socket();
    let end = run(socket, stream::pending(), 0, &sockets()).await;
    assert_eq!((end, client.pings(), client.close_code()), (End::Silent, 2, Some(1008)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_connected() {
    let (socket, client) = socket();
    let sockets = sockets();
    let registry = sockets.clone();
    let task = tokio::spawn(async move { run(socket, stream::pending(), 0, &registry).await });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        client.send(Message::Pong(Bytes::new()));
    }
    sockets.shut_down();
    assert_eq!(task.await.unwrap(), End::ShuttingDown);
    assert_eq!(client.close_code(), Some(1001));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_message_has_its_close_code() {
    let too_many = || Error::Io(std::io::Error::other(TooManyFrames));
    for (error, end, code) in [
        (too_many(), End::TooManyMessages, 1008),
        (Error::Utf8("x".to_owned()), End::NotUtf8, 1007),
        (Error::Protocol(ProtocolError::UnmaskedFrameFromClient), End::Protocol, 1002),
    ] {
        let (socket, client) = socket();
        client.to_server.send(Err(error)).unwrap();
        assert_eq!(run(socket, stream::pending(), 0, &sockets()).await, end);
        assert_eq!(client.close_code(), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_follows_no_order_is_soon_forgotten() {
    let (socket, client) = socket();
    let begun = Instant::now();
    Box::new(Session::new(socket, SessionRules::default())).close(End::UnknownOrder).await;
    assert_eq!((client.close_code(), begun.elapsed()), (Some(4404), Duration::from_secs(1)));
    let (socket, client) = self::socket();
    Box::new(Session::new(socket, SessionRules::default())).close_at_once(End::UnknownOrder);
    assert_eq!((client.close_code(), begun.elapsed()), (Some(4404), Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_large_message_ends_the_session() {
    let (socket, client) = socket();
    client.send(Message::Binary(vec![0; 4 * 1024 + 1].into()));
    assert_eq!(run(socket, stream::pending(), 0, &sockets()).await, End::TooLarge);
    assert_eq!(client.close_code(), Some(1009));
}

#[tokio::test(start_paused = true)]
async fn a_lagged_feed_and_a_closed_feed_have_their_close_codes() {
    for (feed_end, end, code) in
        [(FeedEnd::Lagged, End::Lagged, 1013), (FeedEnd::Closed, End::ShuttingDown, 1001)]
    {
        let (socket, client) = socket();
        assert_eq!(run(socket, stream::iter([Err(feed_end)]), 0, &sockets()).await, end);
        assert_eq!(client.close_code(), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_the_socket_ends_its_session() {
    let (socket, client) = socket();
    client.send(Message::Close(None));
    assert_eq!(run(socket, stream::pending(), 0, &sockets()).await, End::Gone);
    assert_eq!(client.close_code(), None);
}

#[tokio::test(start_paused = true)]
async fn notices_reach_every_session() {
    let (socket, client) = socket();
    let sockets = sockets();
    let mut session = Box::new(Session::new(socket, SessionRules::default()));
    let listening = announcements(&sockets);
    let task = tokio::spawn(async move { session.run(stream::pending(), 0, listening).await });
    sockets.notify("maintenance at noon");
    // The paused clock moves on only when all other tasks wait, so the notice has been sent by then.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(client.texts(), ["maintenance at noon"]);
    sockets.shut_down();
    assert_eq!(task.await.unwrap(), End::ShuttingDown);
}
