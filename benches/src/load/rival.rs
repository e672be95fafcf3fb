//! The server of another system, which does the same work as this workspace's for comparison.
//!
//! It speaks the small protocol of `benches/README.md`, so that both systems are loaded by the same program. None of
//! this workspace's guarantees is expected of it: an order whose end its subscriber is never told is counted.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use order_engine_core::OrderId;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Message;

use crate::args::{Args, Watch};
use crate::databases::Databases;
use crate::drive::{Followed, Target};
use crate::error::Result;
use crate::http::{Connection, post};
use crate::process;
use crate::server::{Accepted, Drain, ORDER};
use crate::socket;

/// The time after which a subscriber gives up an order whose end it was not told. The slowest end in a closed loop is
/// far below a second.
const TELLING_PATIENCE: Duration = Duration::from_secs(5);
/// The time between two questions whether the last orders have ended. A rival may have to count rows for the answer.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A running server of another system.
pub(crate) struct Rival {
    child: Mutex<Child>,
    pids: Vec<u32>,
    address: SocketAddr,
    watches: bool,
    /// The request that submits an order, head and body.
    order: String,
    never_told: AtomicUsize,
}

/// The needed part of a frame.
#[derive(Debug, Deserialize)]
struct Frame<'a> {
    status: &'a str,
}

impl Rival {
    /// Starts the server, and waits until it listens.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start(program: &Path, args: &Args, databases: &Databases) -> Result<Self> {
        let mut command = Command::new(program);
        command.env("DATABASE_URL", databases.store_url()).env("SLOTS", args.slots.to_string());
        // It ends what it has started when its input ends, even if this program is killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("its output is gone")?).lines();
        let line = lines.next_line().await?.unwrap_or_default();
        let address =
            line.strip_prefix("listening on ").ok_or("the other system does not say where it listens")?;
        let address: SocketAddr = address.parse()?;
        let pid = child.id().ok_or("the other system ended at once")?;
        Ok(Self {
            // All of its processes run when it listens.
            pids: process::family(pid),
            child: Mutex::new(child),
            address,
            watches: args.watch == Watch::All,
            order: post(address, "/orders", ORDER),
            never_told: AtomicUsize::new(0),
        })
    }

    /// Returns the ids of its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.pids.clone()
    }

    /// Terminates it, and returns how many subscribers were never told the end of their order.
    ///
    /// # Errors
    /// If it does not end successfully.
    pub(crate) async fn stop(&self) -> Result<usize> {
        let mut child = self.child.lock().await;
        drop(child.stdin.take());
        let ended = child.wait().await?;
        if !ended.success() {
            return Err(format!("the other system ended with {ended}").into());
        }
        Ok(self.never_told.load(Ordering::Relaxed))
    }

    /// Returns the number of orders that it has confirmed.
    async fn completed(connection: &mut Connection) -> Result<usize> {
        let response = connection.get("/completed").await?;
        Ok(std::str::from_utf8(response.body)?.trim().parse()?)
    }

    /// Waits until a subscriber is told that its order is confirmed, or its stream ends.
    async fn told(&self, id: OrderId) -> Result<bool> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{}/ws/orders/{id}", self.address);
        let (mut socket, _) = client_async_with_config(url, stream, Some(socket::config())).await?;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && serde_json::from_str::<Frame<'_>>(&text)?.status == "confirmed"
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Target for Rival {
    type Client = Connection;

    async fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.address).await?)
    }

    async fn submit(&self, client: &mut Connection) -> Result<OrderId> {
        Accepted::read(&client.call(self.order.as_bytes()).await?)
    }

    async fn follow(&self, id: OrderId) -> Result<Option<Followed>> {
        if !self.watches {
            return Ok(None);
        }
        let told = tokio::time::timeout(TELLING_PATIENCE, self.told(id)).await;
        if !told.unwrap_or(Ok(false))? {
            self.never_told.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Some(Followed { ended: Instant::now(), delivered: Vec::new() }))
    }

    async fn wait_for_ends(&self, orders: usize) -> Result<()> {
        let (mut connection, mut drain) = (self.connect().await?, Drain::new(orders));
        while !drain.is_done(Self::completed(&mut connection).await?)? {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
    }

    async fn stored_lives(&self, _orders: usize) -> Result<Vec<Duration>> {
        Ok(Vec::new())
    }
}
