//! Many live streams, each of an order of its own that does not go on: what they cost the server in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use order_engine_core::OrderId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::{Args, Stream, name};
use crate::databases::Databases;
use crate::drive::Target as _;
use crate::error::Result;
use crate::process;
use crate::server::Server;
use crate::socket::OrderSocket;

/// How many orders are submitted, and how many streams opened, at a time.
const AT_A_TIME: usize = 64;
/// How long the server gets to free what it needs no more.
const SETTLING: Duration = Duration::from_secs(2);
/// The event that every order has: once it is here, the stream waits.
const FIRST_EVENT: &[u8] = b"\"type\":\"pending\"";

/// How long the venue takes for each step, at most: no order goes on.
pub(crate) const VENUE_DELAY: Duration = Duration::from_hours(1);

/// A stream that is held open.
enum Held {
    WebSocket { _socket: Box<OrderSocket> },
    Events { _connection: TcpStream },
}

/// Opens that many streams on as many orders, and prints what each costs.
///
/// # Errors
/// If a stream does not begin as it should.
pub(crate) async fn run(args: &Args, databases: &Databases, streams: usize) -> Result<()> {
    let server = Server::start(args, databases).await?;
    let resident = || process::memory_bytes(server.pid()).map_or(0, |(now, _)| now);
    let orders = submit(&server, streams).await?;
    tokio::time::sleep(SETTLING).await;
    let (before, begun) = (resident(), Instant::now());
    let opening = stream::iter(orders).map(|id| open(server.address(), id, args.stream));
    let held: Vec<Held> = opening.buffer_unordered(AT_A_TIME).try_collect().await?;
    let opening = begun.elapsed();
    tokio::time::sleep(SETTLING + Duration::from_secs(args.idle)).await;
    let bytes = resident().saturating_sub(before) / held.len() as u64;
    println!(
        "{streams} streams ({}) on as many orders opened in {:.1} s, {bytes} bytes of the server for each; store {}",
        name(&args.stream),
        opening.as_secs_f64(),
        name(&args.store)
    );
    drop(held);
    server.stop().await?;
    Ok(())
}

async fn submit(server: &Server, orders: usize) -> Result<Vec<OrderId>> {
    let clients = (0..AT_A_TIME).map(|client| async move {
        let mut connection = server.connect().await?;
        let mut ids = Vec::new();
        for _ in (client..orders).step_by(AT_A_TIME) {
            ids.push(server.submit(&mut connection).await?);
        }
        Ok::<_, crate::error::Error>(ids)
    });
    Ok(futures_util::future::try_join_all(clients).await?.concat())
}

async fn open(server: SocketAddr, id: OrderId, stream: Stream) -> Result<Held> {
    match stream {
        Stream::Websocket => {
            let mut socket = Box::new(OrderSocket::open(server, id).await?);
            socket.next().await?;
            Ok(Held::WebSocket { _socket: socket })
        }
        Stream::Sse => {
            let mut connection = TcpStream::connect(server).await?;
            let request = format!(
                "GET /api/orders/{id}/events HTTP/1.1\r\nHost: {server}\r\nAccept: text/event-stream\r\n\r\n"
            );
            connection.write_all(request.as_bytes()).await?;
            let mut received = Vec::new();
            while !received.windows(FIRST_EVENT.len()).any(|bytes| bytes == FIRST_EVENT) {
                if connection.read_buf(&mut received).await? == 0 {
                    return Err(format!("a stream brought {}", String::from_utf8_lossy(&received)).into());
                }
            }
            Ok(Held::Events { _connection: connection })
        }
    }
}
