//! Redis servers of the tests' own.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test file uses a part of this.

pub mod service;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use order_engine_core::{OrderStore, Runtime};
use order_engine_redis::{RedisOptions, RedisStore};
use redis::FromRedisValue;
use tempfile::TempDir;

/// A server of somebody else's, for the tests that need no server of their own.
const URL: &str = "ORDER_ENGINE_TEST_REDIS_URL";
/// The programs that will do.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long a server may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What makes a write survive a loss of power.
pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The server that the tests of one program share, each under a prefix of its own.
static SHARED: LazyLock<(String, Option<Server>)> = LazyLock::new(|| match std::env::var(URL) {
    Ok(url) => (url, None),
    Err(_) => {
        let server = Server::start(&[]);
        (server.url(), Some(server))
    }
});

/// A prefix on the shared server that nobody else has, and a look at it from outside.
pub struct Scratch {
    prefix: String,
}

impl Scratch {
    pub fn new() -> Self {
        Self { prefix: format!("test-{:032x}", Runtime::tokio().entropy.next_u128()) }
    }

    pub fn options(&self) -> RedisOptions {
        RedisOptions::from_url(&SHARED.0).unwrap().prefix(&self.prefix).unwrap()
    }

    pub async fn open(&self) -> Arc<dyn OrderStore> {
        Arc::new(RedisStore::open(self.options()).await.unwrap())
    }

    pub fn key(&self, rest: &str) -> String {
        format!("{{{}}}:{rest}", self.prefix)
    }

    /// Runs a command on a key, which is its first argument.
    pub async fn run<T: FromRedisValue>(&self, command: &str, rest: &str, arguments: &[&str]) -> T {
        let key = self.key(rest);
        run(&SHARED.0, &[&[command, &key], arguments].concat()).await
    }
}

/// A server in a folder of its own. It ends with this value, and at the latest with this process.
pub struct Server {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    running: Mutex<Option<Running>>,
}

struct Running {
    server: Child,
    /// Waits for the end of this process, and then ends the server.
    watchdog: Child,
}

impl Server {
    /// Starts a server with these arguments, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Self {
        // Another process may take the free port before the server does.
        for _ in 0..5 {
            let server = Self {
                folder: tempfile::tempdir().unwrap(),
                port: free_port(),
                arguments: arguments.iter().map(ToString::to_string).collect(),
                running: Mutex::new(None),
            };
            if server.try_restart() {
                return server;
            }
        }
        panic!("no server could be started")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn options(&self) -> RedisOptions {
        RedisOptions::from_url(&self.url()).unwrap()
    }

    pub async fn open(&self) -> Arc<dyn OrderStore> {
        Arc::new(RedisStore::open(self.options()).await.unwrap())
    }

    /// Kills the server as a loss of power would.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Starts the server again, on the same port and the same files.
    pub fn restart(&self) {
        assert!(self.try_restart(), "the server did not come back");
    }

    /// Starts the server again with further arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self.restart();
    }

    fn try_restart(&self) -> bool {
        let mut running = self.running();
        *running = None;
        *running = Some(Running::start(self));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let has_ended = running.as_mut().unwrap().server.try_wait().unwrap().is_some();
            if has_ended || Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Whether it takes commands, which it does not before its data is loaded.
    fn answers(&self) -> bool {
        let ping = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            // Whoever asks for a password first answers as well.
            Ok([b"+PONG", b"-NOAU"].contains(&&answer))
        };
        ping().unwrap_or(false)
    }

    /// Stops the server in the middle of whatever it does.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn unpause(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.running().as_ref().unwrap().server.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap()
    }

    /// Runs a command from outside.
    pub async fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        run(&self.url(), command).await
    }
}

impl Running {
    fn start(server: &Server) -> Self {
        let port = server.port.to_string();
        let folder = server.folder.path().to_str().unwrap();
        let start = |program: &&str| {
            Command::new(program)
                .args(["--port", &port, "--bind", "127.0.0.1", "--dir", folder, "--save", ""])
                .args(&server.arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let Some(server) = PROGRAMS.iter().find_map(start) else {
            panic!("these tests need a server: install 'redis-server' or 'valkey-server', or set {URL}")
        };
        // It reads until this process ends, however it ends.
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &server.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { server, watchdog }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the watchdog, so that it never kills another process that got the same number.
        for child in [&mut self.watchdog, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Runs a command on a connection of its own.
pub async fn run<T: FromRedisValue>(url: &str, command: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut cmd = redis::cmd(command[0]);
    cmd.arg(&command[1..]);
    cmd.query_async(&mut connection).await.unwrap()
}

/// Waits until a store works again.
pub async fn recovered(store: &Arc<dyn OrderStore>) {
    let working = async {
        while store.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, working).await.expect("the store recovers");
}
