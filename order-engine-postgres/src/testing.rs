//! A PostgreSQL server for tests, behind the feature `testing`.
//!
//! It has its data in a temporary folder, listens on a free port of this machine only, and ends with the
//! process that started it, however that ends. It needs PostgreSQL's programs (`postgresql` in Debian's
//! packages). PostgreSQL does not run as root; if the tests do, it runs as the user `postgres`.
//!
//! Failures panic with a line that says what to do: a test that finds no server must not pass.

use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::PostgresOptions;

/// The environment variable that names a running server, which is used instead of starting one. Each test
/// creates its own schemas there.
pub const URL_VARIABLE: &str = "ORDER_ENGINE_TEST_POSTGRES_URL";

/// The folder in which Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user that the server runs as where the tests run as root.
const USER: &str = "postgres";
/// How often a server is started until it finds its port free.
const TRIES: u32 = 5;

/// How often a server is started again, and how long to wait in between.
const RESTART_TRIES: u32 = 100;
const RESTART_WAIT: Duration = Duration::from_millis(100);

/// Where the state and the parent are among the fields that follow a process's name.
const STATE: usize = 0;
const PARENT: usize = 1;

/// How often a server is asked whether it has stopped.
const STOP_POLL: Duration = Duration::from_millis(1);

/// Waits until the process that started it is gone, then stops the server and removes its folder.
const WATCHDOG: &str = "trap '' INT TERM
    cat >/dev/null
    \"$@\" stop --silent --mode=immediate >/dev/null 2>&1
    rm -rf \"$FOLDER\"";

/// A server that was started for tests. It ends when it is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    watchdog: Child,
}

/// Returns options for a new schema in the server that the tests of this process share.
///
/// # Panics
/// If no server can be started.
pub fn fresh_schema() -> PostgresOptions {
    let options = PostgresOptions::new(&shared_url()).expect("the URL of the test server");
    options.with_schema(fresh_name()).expect("a name made for it")
}

/// Returns a name that no other schema has, not even in a server that other processes use as well.
pub fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let started = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_micros());
    format!("test_{}_{started}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the URL of the server that the tests of this process share: the one that [`URL_VARIABLE`] names, or
/// one that is started at the first call and ends with the process.
///
/// # Panics
/// If no server can be started.
pub fn shared_url() -> String {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| SHARED.get_or_init(PostgresServer::start).url())
}

impl PostgresServer {
    /// Starts a server.
    ///
    /// # Panics
    /// If the programs are missing or the server does not start.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        if is_root() {
            let (user, group) = (id("-u"), id("-g"));
            chown(&folder, Some(user), Some(group)).expect("the folder must belong to the server's user");
        }
        let data = folder.join("data");
        let mut initdb = as_user(&programs.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        must_succeed(initdb.arg(&data));
        let watchdog = watchdog(&programs, &folder);
        let mut server = Self { programs, folder, port: 0, watchdog };
        for _ in 0..TRIES {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("the server does not start; its log:\n{}", server.log());
    }

    /// Returns the URL of its database, in which the user may do everything.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Returns the port on which it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server, as a loss of power would: it writes nothing any more, and its connections are gone.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        let parent = self.process_id();
        // The parent is stopped first, because it would start its children again.
        send("STOP", &parent);
        // A signal takes effect later: until then it may still be making a child, which nobody would kill, and
        // which could wait for ever for a lock of a dead one.
        while !is_stopped(&parent) {
            std::thread::sleep(STOP_POLL);
        }
        for child in children(&parent) {
            // A child may have ended meanwhile.
            let _ = Command::new("kill").args(["-KILL", &child]).stderr(Stdio::null()).status();
        }
        send("KILL", &parent);
    }

    /// Stops the server as an operator does: connections are closed, and open transactions are rolled back.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&self) {
        must_succeed(self.control().args(["stop", "--silent", "--mode=fast"]));
    }

    /// Starts the server again, on the same port, and waits until it takes connections.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self) {
        for _ in 0..RESTART_TRIES {
            if self.launch() {
                return;
            }
            // After a kill, the old server's processes may still be ending.
            std::thread::sleep(RESTART_WAIT);
        }
        panic!("the server does not start again; its log:\n{}", self.log());
    }

    fn launch(&self) -> bool {
        let options = format!(
            "-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=300",
            self.port,
            self.folder.display()
        );
        let log = self.folder.join("log");
        let mut start = self.control();
        start.args(["start", "--silent", "--wait", "--options", &options, "--log"]).arg(log);
        start.stdout(Stdio::null()).stderr(Stdio::null());
        start.status().is_ok_and(|status| status.success())
    }

    fn control(&self) -> Command {
        let mut control = as_user(&self.programs.join("pg_ctl"));
        control.arg("-D").arg(self.folder.join("data"));
        control
    }

    fn process_id(&self) -> String {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("the server runs");
        file.lines().next().expect("its process id").to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The watchdog waits for the end of its input.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

fn watchdog(programs: &Path, folder: &Path) -> Child {
    let control = as_user(&programs.join("pg_ctl"));
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCHDOG, "watchdog"]).env("FOLDER", folder).current_dir("/");
    shell.arg(control.get_program()).args(control.get_args()).arg("-D").arg(folder.join("data"));
    let mut watchdog = shell.stdin(Stdio::piped()).spawn().expect("a shell");
    // Fails if the shell has ended already.
    watchdog.stdin.as_mut().map(Write::flush).transpose().expect("the shell listens");
    watchdog
}

/// Returns the folder with the programs of the newest version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let debian = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        .unwrap_or_else(|| {
            panic!(
                "these tests need PostgreSQL: `apt-get install postgresql`, or name a server in {URL_VARIABLE}"
            )
        })
}

/// Returns a command that runs as a user that PostgreSQL accepts.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    // The user may not be allowed to read the folder that the tests run in.
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).trim() == "0"
}

fn id(kind: &str) -> u32 {
    output(Command::new("id").args([kind, USER])).trim().parse().expect("a number")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn send(signal: &str, process: &str) {
    must_succeed(Command::new("kill").args([&format!("-{signal}"), process]));
}

/// Returns the processes that a process has started.
fn children(parent: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |process: &String| stat(process, PARENT).is_some_and(|of| of == parent);
    processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_child).collect()
}

/// Returns whether a process has stopped, or is gone.
fn is_stopped(process: &str) -> bool {
    stat(process, STATE).is_none_or(|state| state == "T")
}

/// Returns a field of a process, or nothing if it is gone.
fn stat(process: &str, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses, and may contain anything.
    stat.rsplit(')').next()?.split_whitespace().nth(field).map(str::to_owned)
}

fn must_succeed(command: &mut Command) {
    output(command);
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
