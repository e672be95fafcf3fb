//! Many WebSockets that follow one order: each of its events goes to all of them at once.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use order_engine_core::OrderId;
use tokio::task::JoinSet;

use crate::args::{Args, name};
use crate::databases::Databases;
use crate::drive::Target as _;
use crate::error::Result;
use crate::ledger;
use crate::process;
use crate::server::Server;
use crate::socket::{Arrival, OrderSocket};
use crate::stats::Latency;

/// How many sockets are opened at a time.
const OPENED_AT_A_TIME: usize = 64;

/// What one run has measured.
#[derive(Debug)]
struct Run {
    sockets: usize,
    /// How long all sockets took to open.
    opening: Duration,
    /// The events that came after the last socket was open.
    events: usize,
    /// How old the events were when they arrived, but for the last one, which comes with the end of all streams.
    ages: Latency,
    ages_of_last: Latency,
    /// The resident memory of the server for each socket.
    bytes_per_socket: u64,
    /// The share of a core that the server took while all sockets were idle, if they were.
    idle_core: Option<f64>,
    /// The processor time of the server for each frame, and that of the load.
    cpu_per_frame: [Duration; 2],
}

/// Returns how long the venue takes for each step: all sockets are open before the first one ends, and have been idle for
/// so many seconds.
pub(crate) fn venue_delay(sockets: usize, idle: u64) -> Duration {
    Duration::from_millis(300 + sockets as u64 / 2) + Duration::from_secs(idle)
}

/// Does all runs and prints them.
///
/// # Errors
/// If a socket does not get every event once and in order, or an order was not executed once.
pub(crate) async fn run(args: &Args, databases: &Databases, sockets: usize) -> Result<()> {
    let server = Server::start(args, databases).await?;
    println!("{sockets} WebSockets follow one order; store {}", name(&args.store));
    let mut orders = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let id = server.submit(&mut server.connect().await?).await?;
        println!("{}", once(&server, id, sockets, args.idle).await?);
        orders.push(id);
    }
    ledger::check(&orders, server.stop().await?)?;
    println!("each socket got every event once and in order, and each order was executed once by the ledger");
    Ok(())
}

async fn once(server: &Server, id: OrderId, sockets: usize, idle: u64) -> Result<Run> {
    let resident = || process::memory_bytes(server.pid()).map_or(0, |(now, _)| now);
    let cpu = || [server.pid(), std::process::id()].map(|pid| process::cpu(pid).unwrap_or_default());
    let (bytes_before, begun) = (resident(), Instant::now());
    let crowd = open(server.address(), id, sockets).await?;
    let (opening, bytes) = (begun.elapsed(), resident());
    let first_for_all = crowd.iter().map(OrderSocket::history).max().unwrap_or_default() + 1;
    let following = tokio::spawn(follow(crowd));
    let at_rest = cpu();
    tokio::time::sleep(Duration::from_secs(idle)).await;
    let cpu_before = cpu();
    let arrivals = following.await??;
    let cpu_after = cpu();
    let frames: Vec<Arrival> = arrivals.into_iter().filter(|arrival| arrival.seq >= first_for_all).collect();
    let events = frames.len() / sockets;
    let ages = |is_last| {
        let ages = frames.iter().filter(|arrival| arrival.is_last == is_last).map(|arrival| arrival.age);
        Latency::of(ages.collect()).ok_or("the events came before the sockets were open")
    };
    let (ages, ages_of_last) = (ages(false)?, ages(true)?);
    let frames = u32::try_from(frames.len())?;
    Ok(Run {
        sockets,
        opening,
        events,
        ages,
        ages_of_last,
        idle_core: (idle > 0).then(|| {
            cpu_before[0].saturating_sub(at_rest[0]).as_secs_f64() / Duration::from_secs(idle).as_secs_f64()
        }),
        bytes_per_socket: bytes.saturating_sub(bytes_before) / sockets as u64,
        cpu_per_frame: [0, 1].map(|process| cpu_after[process].saturating_sub(cpu_before[process]) / frames),
    })
}

async fn open(server: SocketAddr, id: OrderId, sockets: usize) -> Result<Vec<OrderSocket>> {
    let opening = stream::iter(0..sockets).map(|_| OrderSocket::open(server, id));
    opening.buffer_unordered(OPENED_AT_A_TIME).try_collect().await
}

/// Follows the order on every socket to its end, and returns what has arrived.
async fn follow(crowd: Vec<OrderSocket>) -> Result<Vec<Arrival>> {
    let mut following: JoinSet<Result<Vec<Arrival>>> = crowd.into_iter().map(to_the_end).collect();
    let mut arrivals = Vec::new();
    while let Some(followed) = following.join_next().await {
        arrivals.extend(followed??);
    }
    Ok(arrivals)
}

async fn to_the_end(mut socket: OrderSocket) -> Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    loop {
        let arrival = socket.next().await?;
        arrivals.push(arrival);
        if arrival.is_last {
            socket.end().await?;
            return Ok(arrivals);
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sockets, opening, events, bytes_per_socket, .. } = self;
        let [server, load] = self.cpu_per_frame.map(|cpu| cpu.as_secs_f64() * 1e6);
        writeln!(
            f,
            "{sockets} sockets opened in {:.1} s, {bytes_per_socket} bytes of the server for each",
            opening.as_secs_f64()
        )?;
        if let Some(core) = self.idle_core {
            writeln!(f, "  while they were idle, the server took {:.2} % of a core", core * 100.0)?;
        }
        for (what, ages) in [("age of events at arrival", self.ages), ("of the last one", self.ages_of_last)]
        {
            let Latency { p50_ms, p99_ms, max_ms, .. } = ages;
            writeln!(f, "  {what}: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, most {max_ms:.1} ms")?;
        }
        write!(
            f,
            "  {events} events to all; processor time for each frame: server {server:.1} µs, load {load:.1} µs"
        )
    }
}
