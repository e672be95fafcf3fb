//! The store passes the whole suite behind a proxy that pools connections by transaction: without LISTEN,
//! without settings of a session, and without prepared statements.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::OrderStore;
use order_engine_core::conformance::Harness;
use order_engine_postgres::testing::{fresh_name, shared_url};
use order_engine_postgres::{PostgresOptions, PostgresStore};
use sqlx::postgres::PgConnectOptions;

/// `PgBouncer` in front of the server that the tests share.
struct Bouncer {
    port: u16,
    /// It ends with this process, because it reads from a pipe that no other process holds.
    _watchdog: Child,
}

impl Bouncer {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Bouncer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let server: PgConnectOptions = shared_url().parse().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::write(
            folder.join("bouncer.ini"),
            format!(
                "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                auth_type = any\npool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 1000\n\
                unix_socket_dir =\nignore_startup_parameters = extra_float_digits\nlogfile = {}\n",
                server.get_host(),
                server.get_port(),
                folder.join("log").display()
            ),
        )
        .unwrap();
        // Debian keeps the program where only administrators look; it does not run as root.
        let script = "PATH=$PATH:/usr/sbin
            command -v pgbouncer >/dev/null || { echo 'these tests need PgBouncer: `apt-get install pgbouncer`' >&2; exit 1; }
            if [ \"$(id -u)\" = 0 ]; then chown -R postgres \"$1\"; set -- \"$1\" setpriv --reuid postgres --regid postgres --clear-groups; fi
            folder=$1; shift
            \"$@\" pgbouncer --quiet \"$folder/bouncer.ini\" & cat >/dev/null; kill $!; wait; rm -rf \"$folder\"";
        let watchdog = Command::new("sh")
            .args(["-c", script, "bouncer"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let bouncer = Self { port, _watchdog: watchdog };
        bouncer.wait();
        bouncer
    }

    fn wait(&self) {
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("PgBouncer does not start");
    }
}

/// A schema of its own, behind the proxy.
struct Pooled {
    options: PostgresOptions,
}

impl Pooled {
    fn new() -> Self {
        let bouncer = Bouncer::shared();
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres?pooling=transaction", bouncer.port);
        Self { options: PostgresOptions::new(&url).unwrap().with_schema(fresh_name()).unwrap() }
    }
}

#[async_trait]
impl Harness for Pooled {
    async fn store(&self) -> Arc<dyn OrderStore> {
        Arc::new(PostgresStore::open(self.options.clone()).await.unwrap())
    }

    async fn reopen(&self) -> Arc<dyn OrderStore> {
        self.store().await
    }

    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

order_engine_core::conformance_suite!(Pooled::new());
