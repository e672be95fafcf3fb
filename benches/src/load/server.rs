//! The server in a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use order_engine_core::OrderId;
use order_engine_sim::read_ledger;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::args::{Args, Store, Watch};
use crate::databases::Databases;
use crate::drive::{Followed, Target};
use crate::error::Result;
use crate::http::{Connection, Response, post};
use crate::{apart, crowd, ledger, socket};

/// An order that sells one SOL for USDC.
pub(crate) const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1"}"#;
/// A disk in memory for the chain's ledger, which is no part of the measurement and must not use the disk.
const MEMORY_DISK: &str = "/dev/shm";
/// More live streams and connections than there are file descriptors.
const UNBOUNDED: &str = "1000000";
/// The time between two requests whether the last orders have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// The longest time without the end of an order.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// The number of orders in a page of the server's list.
const PAGE: usize = 200;
/// The counter of confirmed orders.
const CONFIRMED: &str = r#"order_engine_orders_total{status="confirmed"} "#;

/// A running server.
pub(crate) struct Server {
    child: Mutex<Child>,
    pid: u32,
    address: SocketAddr,
    durability: String,
    watches: bool,
    /// The request that submits an order, head and body.
    order: String,
    folder: TempDir,
}

impl Server {
    /// Starts the server.
    ///
    /// # Errors
    /// If it cannot be built or does not start.
    pub(crate) async fn start(args: &Args, databases: &Databases) -> Result<Self> {
        let program = match &args.server {
            Some(program) => program.clone(),
            None => build().await?,
        };
        let folder = if Path::new(MEMORY_DISK).is_dir() {
            tempfile::tempdir_in(MEMORY_DISK)
        } else {
            tempfile::tempdir()
        }?;
        let mut command = Command::new(program);
        command.env_clear().current_dir(&folder);
        let venue_delay = match args.crowd {
            Some(_) if args.apart => apart::VENUE_DELAY,
            Some(sockets) => crowd::venue_delay(sockets, args.idle),
            None => Duration::ZERO,
        };
        command.args(["--port", "0", "--sim-fail-rate", "0"]);
        command.args(["--sim-delay-ms", &venue_delay.as_millis().to_string()]);
        command.args(["--max-sockets", UNBOUNDED, "--max-sockets-per-order", UNBOUNDED]);
        command.args(["--max-connections", UNBOUNDED]);
        command.arg("--sim-ledger").arg(ledger_file(&folder));
        command.args(["--workers", &args.slots.to_string(), "--store", &databases.store_url()]);
        if let Some(fanout) = databases.fanout_url() {
            command.args(["--fanout", &fanout]);
        }
        if args.store == Store::RedisEverysec {
            command.arg("--accept-bounded-loss");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let started = started(&mut child).await?;
        Ok(Self {
            pid: child.id().ok_or("the server ended at once")?,
            child: Mutex::new(child),
            address: started.address,
            durability: started.durability,
            watches: args.watch == Watch::All,
            order: post(started.address, "/api/orders/execute", ORDER),
            folder,
        })
    }

    /// Returns the id of its process.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what the commits of its store survive.
    pub(crate) fn durability(&self) -> &str {
        &self.durability
    }

    /// Terminates the server as an operator does, and returns how often the ledger executed each order.
    ///
    /// # Errors
    /// If the server does not end successfully.
    pub(crate) async fn stop(&self) -> Result<BTreeMap<OrderId, usize>> {
        let asked = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        let ended = self.child.lock().await.wait().await?;
        if !asked.success() || !ended.success() {
            return Err(format!("the server ended with {ended}").into());
        }
        Ok(ledger::count(&read_ledger(ledger_file(&self.folder))?))
    }

    /// Returns the number of orders that the server has confirmed.
    async fn confirmed(connection: &mut Connection) -> Result<usize> {
        let response = connection.get("/metrics").await?;
        let text = std::str::from_utf8(response.body)?;
        let count = text.lines().find_map(|line| line.strip_prefix(CONFIRMED));
        Ok(count.map_or(Ok(0), |count| count.trim().parse())?)
    }
}

fn ledger_file(folder: &TempDir) -> PathBuf {
    folder.path().join("ledger.jsonl")
}

/// The parts of the server's log line about its start.
struct Started {
    address: SocketAddr,
    durability: String,
}

/// Waits until the server listens. Later lines of its log are printed, but for those at level INFO.
async fn started(child: &mut Child) -> Result<Started> {
    let mut log = BufReader::new(child.stderr.take().ok_or("the log is gone")?).lines();
    let mut said = String::new();
    let started = loop {
        let Some(line) = log.next_line().await? else {
            return Err(format!("the server does not start:\n{said}").into());
        };
        if let Some((_, rest)) = line.split_once("listening on http://") {
            let word = |text: &str| text.split(' ').next().map(ToOwned::to_owned);
            let durability = rest.split_once("store.durability=").and_then(|(_, rest)| word(rest));
            let durability = durability.ok_or("the server does not log the durability of its store")?;
            break Started { address: word(rest).unwrap_or_default().parse()?, durability };
        }
        said.push_str(&line);
        said.push('\n');
    };
    tokio::spawn(async move {
        while let Ok(Some(line)) = log.next_line().await {
            if !line.contains(" INFO ") {
                eprintln!("server: {line}");
            }
        }
    });
    Ok(started)
}

/// Builds the server of this workspace, and returns its program. Without the build, an outdated server might
/// be measured.
async fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args(["build", "--quiet", "--package", "order-engine-server", "--bin", "order-engine-server"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().await?;
    if !built.success() {
        return Err("the server cannot be built; name one with --server".into());
    }
    Ok(std::env::current_exe()?.with_file_name("order-engine-server"))
}

/// The needed part of the response to an order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    order_id: OrderId,
}

impl Accepted {
    /// Returns the id in the response to an order.
    ///
    /// # Errors
    /// If the order was not accepted.
    pub(crate) fn read(response: &Response<'_>) -> Result<OrderId> {
        if response.status != 202 {
            let body = String::from_utf8_lossy(response.body);
            return Err(format!("an order was answered {}: {body}", response.status).into());
        }
        Ok(serde_json::from_slice::<Self>(response.body)?.order_id)
    }
}

/// The wait for the last orders to end.
#[derive(Debug)]
pub(crate) struct Drain {
    orders: usize,
    confirmed: usize,
    /// The time of the last progress.
    since: Instant,
}

impl Drain {
    /// Returns the wait for this many orders.
    pub(crate) fn new(orders: usize) -> Self {
        Self { orders, confirmed: 0, since: Instant::now() }
    }

    /// Takes the number of orders that are confirmed by now, and returns whether these are all.
    ///
    /// # Errors
    /// If there was no progress for too long.
    pub(crate) fn is_done(&mut self, confirmed: usize) -> Result<bool> {
        if confirmed > self.confirmed {
            (self.confirmed, self.since) = (confirmed, Instant::now());
        } else if confirmed < self.orders && self.since.elapsed() > DRAIN_PATIENCE {
            return Err(format!("{confirmed} of {} orders were confirmed, and no more", self.orders).into());
        }
        Ok(confirmed >= self.orders)
    }
}

/// The needed part of a list of orders.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    orders: Vec<ListedOrder>,
    next_cursor: Option<OrderId>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedOrder {
    order_id: OrderId,
    status: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Target for Server {
    type Client = Connection;

    async fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.address).await?)
    }

    async fn submit(&self, client: &mut Connection) -> Result<OrderId> {
        Accepted::read(&client.call(self.order.as_bytes()).await?)
    }

    async fn follow(&self, id: OrderId) -> Result<Option<Followed>> {
        if self.watches { socket::follow(self.address, id).await.map(Some) } else { Ok(None) }
    }

    async fn wait_for_ends(&self, orders: usize) -> Result<()> {
        let (mut connection, mut drain) = (self.connect().await?, Drain::new(orders));
        while !drain.is_done(Self::confirmed(&mut connection).await?)? {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
    }

    async fn stored_lives(&self, orders: usize) -> Result<Vec<Duration>> {
        if self.watches {
            return Ok(Vec::new());
        }
        let mut connection = self.connect().await?;
        let (mut lives, mut cursor) = (Vec::with_capacity(orders), None);
        while lives.len() < orders {
            let after = cursor.map_or_else(String::new, |cursor: OrderId| format!("&cursor={cursor}"));
            let response = connection.get(&format!("/api/orders?limit={PAGE}{after}")).await?;
            let page: Listed = serde_json::from_slice(response.body)?;
            for order in page.orders.iter().take(orders - lives.len()) {
                if order.status != "confirmed" {
                    return Err(format!("order {} ended as {}", order.order_id, order.status).into());
                }
                lives.push((order.updated_at - order.created_at).to_std()?);
            }
            if page.next_cursor.is_none() && lives.len() < orders {
                return Err("the server does not list all orders".into());
            }
            cursor = page.next_cursor;
        }
        Ok(lives)
    }
}
