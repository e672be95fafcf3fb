//! Redis servers for tests: behind the feature `testing`.
//!
//! A server has a temporary folder, listens on a free port of this machine only, and ends with the process
//! that started it, even if that is killed. It needs `redis-server` or `valkey-server`.
//!
//! A failure panics and says what to do, so that a test without a server does not pass.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use order_engine_core::Runtime;
use tempfile::TempDir;

use crate::RedisOptions;

/// The variable that names a running server, which tests then use instead of starting one. Each test has a
/// prefix of its own there.
pub const URL_VARIABLE: &str = "ORDER_ENGINE_TEST_REDIS_URL";

/// The arguments with which a write survives a loss of power.
pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The programs that are tried, in order.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The wait between two tries to reach it.
const POLL: Duration = Duration::from_millis(2);
/// How many times a server is started until it finds a free port.
const TRIES: u32 = 5;
/// Waits until the process that started the server has ended, and then kills the server.
const WATCHDOG: &str = "trap '' INT TERM; read -r _; kill -9 \"$0\"";

/// Returns options with an unused prefix, for the server that the tests of this process share.
///
/// # Panics
/// If there is no server and none can be started.
pub fn fresh_prefix() -> RedisOptions {
    let options = RedisOptions::new(&shared_url()).expect("the URL of the test server");
    let unique = format!("test-{:032x}", Runtime::tokio().entropy.next_u128());
    options.with_prefix(&unique).expect("a prefix made for it")
}

/// Returns the URL of the server that the tests of this process share: the one that [`URL_VARIABLE`] names, or
/// one that the first call starts and that ends with the process.
///
/// # Panics
/// If there is no server and none can be started.
pub fn shared_url() -> String {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| SHARED.get_or_init(|| RedisServer::start(&[])).url())
}

/// Returns a port of this machine that was free a moment ago.
///
/// # Panics
/// If no port is free.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("the address of a listener").port()
}

/// A server for tests, which can be killed and started again. Dropping it ends it.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    running: Mutex<Option<Running>>,
}

struct Running {
    server: Child,
    watchdog: Child,
}

impl RedisServer {
    /// Starts a server with these arguments, and waits until it answers.
    ///
    /// # Panics
    /// If no server program is installed, or it does not start.
    pub fn start(arguments: &[&str]) -> Self {
        // Another process may take the free port before the server does.
        for _ in 0..TRIES {
            let server = Self {
                folder: tempfile::tempdir().expect("a temporary folder"),
                port: free_port(),
                arguments: arguments.iter().map(ToString::to_string).collect(),
                running: Mutex::new(None),
            };
            if server.try_restart() {
                return server;
            }
        }
        panic!("a Redis server does not start with the arguments {arguments:?}")
    }

    /// Returns the port on which it listens, also after a restart.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder of its files, also after a restart.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Returns options for it.
    ///
    /// # Panics
    /// Never: its URL is valid.
    pub fn options(&self) -> RedisOptions {
        RedisOptions::new(&self.url()).expect("the URL of the test server")
    }

    /// Kills it in the middle of its work.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Starts it again, on the same port and with the same files, and waits until it answers.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn restart(&self) {
        assert!(self.try_restart(), "the server does not come back");
    }

    /// Starts it again with further arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self.restart();
    }

    /// Stops it without ending it: it answers no more, and its connections stay open.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues it after a [pause](Self::pause).
    ///
    /// # Panics
    /// If it does not run.
    pub fn unpause(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.running().as_ref().expect("the server runs").server.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the server cannot be sent a signal");
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_restart(&self) -> bool {
        let mut running = self.running();
        // The old one must end before its port is free.
        *running = None;
        let running = running.insert(Running::start(self));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let has_ended = !matches!(running.server.try_wait(), Ok(None));
            if has_ended || Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// Returns whether it takes commands, which it does once its data is loaded.
    fn answers(&self) -> bool {
        let ping = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            // A server that wants a password answers as well.
            Ok([b"+PONG", b"-NOAU"].contains(&&answer))
        };
        ping().unwrap_or(false)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Running {
    fn start(server: &RedisServer) -> Self {
        let port = server.port.to_string();
        let start = |program: &&str| {
            Command::new(program)
                .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
                .arg(server.folder.path())
                .args(&server.arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let Some(mut server) = PROGRAMS.iter().find_map(start) else {
            panic!("a Redis server is needed: install redis-server or valkey-server, or set {URL_VARIABLE}")
        };
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, &server.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Self { server, watchdog },
            Err(error) => {
                let _ = server.kill();
                panic!("no watchdog would end the server: {error}")
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watchdog goes first, so that it never kills another process that gets the server's id.
        for child in [&mut self.watchdog, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
