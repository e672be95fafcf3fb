//! A Redis server of one's own, for tests: behind the feature `testing`.
//!
//! It lives in a temporary folder, listens on a free port of this machine only, and ends with the process
//! that started it, however that ends. It needs `redis-server` or `valkey-server`.
//!
//! Failures panic with a line that says what to do: a test that finds no server must not pass.

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

/// Names a running server to be used instead of one that is started. Each test makes a prefix of its own
/// there.
pub const URL_VARIABLE: &str = "ORDER_ENGINE_TEST_REDIS_URL";

/// What makes a write survive a loss of power.
pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The programs that will do.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often to ask whether it does.
const POLL: Duration = Duration::from_millis(2);
/// How often a server is started until it has found a free port.
const TRIES: u32 = 5;
/// Waits until whoever started the server is gone, and ends it then.
const WATCHDOG: &str = "trap '' INT TERM; read -r _; kill -9 \"$0\"";

/// Options with a prefix of its own, for the server that the tests of this process share.
///
/// # Panics
/// If no server can be had.
pub fn fresh_prefix() -> RedisOptions {
    let options = RedisOptions::from_url(&shared_url()).expect("the URL of the test server");
    let unique = format!("test-{:032x}", Runtime::tokio().entropy.next_u128());
    options.prefix(&unique).expect("a prefix made for it")
}

/// The server that the tests of this process share: the one that [`URL_VARIABLE`] names, or one that is
/// started at the first call and ends with the process.
///
/// # Panics
/// If no server can be had.
pub fn shared_url() -> String {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| SHARED.get_or_init(|| RedisServer::start(&[])).url())
}

/// A port of this machine that was free a moment ago.
///
/// # Panics
/// If none is.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("the address of a listener").port()
}

/// A server that was started for tests, which can be killed and started again. It ends when it is dropped.
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
    /// If there is no such program, or it does not start.
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

    /// The port on which it listens, from its start to its end.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its files, from its start to its end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Options for it.
    ///
    /// # Panics
    /// Never: its URL is one.
    pub fn options(&self) -> RedisOptions {
        RedisOptions::from_url(&self.url()).expect("the URL of the test server")
    }

    /// Kills it, in the middle of whatever it does.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Starts it again, on the same port and the same files, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
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

    /// Lets it stand still: it answers nobody, and nobody is told.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after a [pause](Self::pause).
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
        // The old one must be gone before its port is free.
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
                panic!("nobody would end the server: {error}")
            }
        }
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
