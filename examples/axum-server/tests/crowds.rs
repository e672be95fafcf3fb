//! Many clients: what they leave behind, and what those that stall cost the others.
//!
//! The long form, in which the figures are of interest:
//!
//! ```sh
//! CONNECTS=200000 STREAMS=2000 cargo test --release -p order-engine-server --test crowds -- --nocapture --test-threads 1
//! ```

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::program::Program;
use common::wire::{Wire, frame, handshake};
use common::{Client, TestServer};
use futures_util::future::{join_all, try_join_all};
use order_engine_server::Options;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How many clients come at a time.
const AT_A_TIME: usize = 32;
/// How much the process may have grown when all are gone: what the allocator keeps, and not what each one left.
const GROWTH_MAX_KIB: u64 = 8 * 1024;
/// How large a message to all streams is, and how many there are: a client that reads nothing soon has no room for them.
const NOTICE_BYTES: usize = 32 * 1024;
const NOTICES: usize = 48;
/// How long a message may take to all clients that read.
const NOTICE_TIME_MAX: Duration = Duration::from_secs(10);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("the setting is a number"))
}

/// Returns how many files a process has open, and its resident memory in KiB.
fn usage(pid: u32) -> (usize, u64) {
    let process = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.split_whitespace().next().unwrap().parse().unwrap();
    (std::fs::read_dir(process.join("fd")).unwrap().count(), resident)
}

/// Connects from one of many addresses, since each has only so many ports.
async fn connect_from(address: &str, n: usize) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    let host = u8::try_from(n % 250).unwrap() + 1;
    socket.bind(([127, 0, 1, host], 0).into()).unwrap();
    Wire(socket.connect(address.parse().unwrap()).await.unwrap())
}

/// Is one client, of one of many kinds, that leaves in the middle of something.
async fn come_and_go(address: &str, id: &str, n: usize) {
    let mut wire = connect_from(address, n).await;
    let get = |path: &str, accept: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")
    };
    match n % 7 {
        0 => {}
        1 => wire.write(b"GET / HTTP/1.1\r\nHos").await,
        2 => {
            wire.write(get("/health", "*/*").as_bytes()).await;
            assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
        }
        3 => {
            wire.write(get(&format!("/api/orders/{id}/events"), "text/event-stream").as_bytes()).await;
            assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
        }
        4 => {
            wire.write(b"nonsense\r\n\r\n").await;
            assert!(wire.rest().await.starts_with("HTTP/1.1 400 "));
        }
        kind => {
            wire.write(handshake(address, &format!("/ws/orders/{id}"), "13").as_bytes()).await;
            assert!(wire.head().await.starts_with("HTTP/1.1 101 "));
            if kind == 5 {
                wire.write(&frame(0x88, &1000_u16.to_be_bytes())).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_went_leave_nothing_behind() {
    let connects = setting("CONNECTS", 3_000);
    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "memory:", "--sim-delay-ms", "600000", "--shutdown-timeout", "0"];
    let program = Program::start(folder.path(), &args).await;
    let id = program.place(&reqwest::Client::new(), "k").await;
    let address = program.url.trim_start_matches("http://");
    let come = async |connects: usize| {
        let clients = (0..AT_A_TIME).map(async |first| {
            for n in (first..connects).step_by(AT_A_TIME) {
                come_and_go(address, &id, n).await;
            }
        });
        join_all(clients).await;
    };
    let (files_at_first, _) = usage(program.pid());
    let settled = async || {
        // The server notices some ends only when it writes or when their time is over.
        let left = async {
            while usage(program.pid()).0 > files_at_first + 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), left).await.expect("the server closes what clients have left");
        usage(program.pid()).1
    };
    come(connects / 4).await;
    let before = settled().await;
    let begun = Instant::now();
    come(connects).await;
    let after = settled().await;
    println!(
        "{connects} clients in {:.1} s: {before} KiB before, {after} KiB after",
        begun.elapsed().as_secs_f64()
    );
    assert!(after < before + GROWTH_MAX_KIB, "{before} KiB before, {after} KiB after");
    assert_eq!(program.terminate().await.0, Some(0));
}

/// Opens a WebSocket whose client never reads, and has hardly any room for what it is sent.
async fn stalled(server: &TestServer, id: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut wire = Wire(socket.connect(server.host.parse().unwrap()).await.unwrap());
    wire.write(handshake(&server.host, &format!("/ws/orders/{id}"), "13").as_bytes()).await;
    wire.0
}

/// Sends messages to all streams, one when all clients have the last one, and returns how long each took to a client.
async fn notify(server: &TestServer, clients: &mut [Client]) -> Vec<Duration> {
    let message = "x".repeat(NOTICE_BYTES);
    let mut times = Vec::new();
    for _ in 0..NOTICES {
        let begun = Instant::now();
        server.app.notify(&message);
        let received = try_join_all(clients.iter_mut().map(async |client| {
            let frame = client.next().await?;
            assert_eq!(frame["message"].as_str().map(str::len), Some(NOTICE_BYTES));
            Ok::<_, u16>(begun.elapsed())
        }));
        let received = timeout(NOTICE_TIME_MAX, received).await.expect("all clients get it in time");
        times.extend(received.expect("no client that reads is disconnected"));
    }
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_do_not_slow_the_others() {
    let streams = setting("STREAMS", 100);
    let server = TestServer::with(Options { max_sockets_per_order: streams * 2, ..Options::default() }).await;
    let id = server.place_any().await;
    let path = format!("/ws/orders/{id}");
    let mut clients = Vec::new();
    for _ in 0..streams {
        let mut client = server.connect(&path).await;
        // A stream that has sent its first event receives notices.
        for _ in 0..3 {
            client.next().await.unwrap();
        }
        clients.push(client);
    }
    let alone = notify(&server, &mut clients).await;
    let stalled = join_all((0..streams.div_ceil(100)).map(|_| stalled(&server, &id))).await;
    while server.app.streams() < streams + stalled.len() {
        tokio::task::yield_now().await;
    }
    let beside = notify(&server, &mut clients).await;
    for (what, times) in [("without", alone), ("with", beside)] {
        let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
        println!("{streams} clients {what} stalled ones: p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
    }
}
