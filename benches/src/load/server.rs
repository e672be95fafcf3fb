//! The server as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

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
use crate::http::Connection;
use crate::{Result, ledger, socket};

/// Sells one SOL for USDC.
const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1"}"#;
/// A disk of memory. The chain is no part of what is measured, and must not compete for the disk.
const MEMORY_DISK: &str = "/dev/shm";
/// More live streams and connections than there are file descriptors.
const UNBOUNDED: &str = "1000000";
/// How often the server is asked whether the last orders have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// How long nothing may happen until the rest is given up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// How many orders the server lists at once.
const PAGE: usize = 200;
/// The counter of orders that have ended well.
const CONFIRMED: &str = r#"order_engine_orders_total{status="confirmed"} "#;

/// A running server.
pub(crate) struct Server {
    child: Mutex<Child>,
    pid: u32,
    address: SocketAddr,
    durability: String,
    watches: bool,
    /// A request for an order, head and body.
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
        command.args(["--port", "0", "--sim-delay-ms", "0", "--sim-fail-rate", "0"]);
        command.args(["--max-sockets", UNBOUNDED, "--max-connections", UNBOUNDED]);
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
            order: format!(
                "POST /api/orders/execute HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{ORDER}",
                started.address,
                ORDER.len()
            ),
            folder,
        })
    }

    /// Its process.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// What its store promises.
    pub(crate) fn durability(&self) -> &str {
        &self.durability
    }

    /// Ends the server as an operator does, and gives how often the ledger executed each order.
    ///
    /// # Errors
    /// If it does not end well.
    pub(crate) async fn stop(&self) -> Result<BTreeMap<OrderId, usize>> {
        let asked = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        let ended = self.child.lock().await.wait().await?;
        if !asked.success() || !ended.success() {
            return Err(format!("the server ended with {ended}").into());
        }
        Ok(ledger::count(&read_ledger(ledger_file(&self.folder))?))
    }

    /// How many orders the server has confirmed.
    async fn confirmed(connection: &mut Connection) -> Result<usize> {
        let answer = connection.get("/metrics").await?;
        let text = std::str::from_utf8(answer.body)?;
        let count = text.lines().find_map(|line| line.strip_prefix(CONFIRMED));
        Ok(count.map_or(Ok(0), |count| count.trim().parse())?)
    }
}

fn ledger_file(folder: &TempDir) -> PathBuf {
    folder.path().join("ledger.jsonl")
}

/// What the server says when it begins to listen.
struct Started {
    address: SocketAddr,
    durability: String,
}

/// Waits until the server listens; what it logs later is passed on as it comes.
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
            let durability = durability.ok_or("the server does not say what its store promises")?;
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

/// The server of this workspace, beside this program. Built each time, for a stale one would be measured
/// as if it were the present one; where it is up to date, that takes a moment.
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

/// What is needed of the answer to an order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    order_id: OrderId,
}

/// What is needed of a list of orders.
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

    async fn client(&self) -> Result<Connection> {
        Ok(Connection::open(self.address).await?)
    }

    async fn place(&self, client: &mut Connection) -> Result<OrderId> {
        let answer = client.call(self.order.as_bytes()).await?;
        if answer.status != 202 {
            let body = String::from_utf8_lossy(answer.body);
            return Err(format!("an order was answered {}: {body}", answer.status).into());
        }
        Ok(serde_json::from_slice::<Accepted>(answer.body)?.order_id)
    }

    async fn follow(&self, id: OrderId) -> Result<Option<Followed>> {
        if self.watches { socket::follow(self.address, id).await.map(Some) } else { Ok(None) }
    }

    async fn drained(&self, orders: usize) -> Result<()> {
        let mut connection = self.client().await?;
        let (mut before, mut since) = (0, std::time::Instant::now());
        loop {
            let confirmed = Self::confirmed(&mut connection).await?;
            if confirmed >= orders {
                return Ok(());
            }
            if confirmed > before {
                (before, since) = (confirmed, std::time::Instant::now());
            } else if since.elapsed() > DRAIN_PATIENCE {
                return Err(format!("{confirmed} of {orders} orders were confirmed, and no more").into());
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    async fn lives(&self, orders: usize) -> Result<Vec<Duration>> {
        if self.watches {
            return Ok(Vec::new());
        }
        let mut connection = self.client().await?;
        let (mut lives, mut cursor) = (Vec::with_capacity(orders), None);
        while lives.len() < orders {
            let after = cursor.map_or_else(String::new, |cursor: OrderId| format!("&cursor={cursor}"));
            let answer = connection.get(&format!("/api/orders?limit={PAGE}{after}")).await?;
            let page: Listed = serde_json::from_slice(answer.body)?;
            for order in page.orders.iter().take(orders - lives.len()) {
                if order.status != "confirmed" {
                    return Err(format!("order {} ended as {}", order.order_id, order.status).into());
                }
                lives.push((order.updated_at - order.created_at).to_std()?);
            }
            if page.next_cursor.is_none() && lives.len() < orders {
                return Err("the server has forgotten orders".into());
            }
            cursor = page.next_cursor;
        }
        Ok(lives)
    }
}
