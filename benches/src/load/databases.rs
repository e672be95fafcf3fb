//! The database servers of a load, and their statistics.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::{EngineBuilder, MemoryStore, OrderStore};
use order_engine_postgres::testing::PostgresServer;
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore};
use order_engine_redis::testing::{DURABLE, RedisServer};
use order_engine_redis::{RedisFanout, RedisStore};
use order_engine_sqlite::{SqliteOptions, SqliteStore};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::args::{self, Args};
use crate::error::Result;
use crate::process;

/// The time after which an idle backend of PostgreSQL has published its statistics: ten seconds, and a little
/// more.
const POSTGRES_STATS_DELAY: Duration = Duration::from_secs(11);
/// The arguments of a Redis server that may lose the writes of its last second.
const EVERYSEC: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// The database of the store, and that of the fan-out if it is another one.
pub(crate) struct Databases {
    store: Database,
    fanout: Option<Database>,
    joins_own: bool,
}

/// A database.
enum Database {
    Memory,
    Sqlite { _folder: TempDir, file: PathBuf },
    Postgres { server: PostgresServer, pid: u32, log_bytes_at_start: i64 },
    Redis { server: RedisServer, pid: u32 },
}

/// The writes since the start of a database, as it counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// The bytes of the write-ahead log, or of the append-only file.
    pub(crate) log_bytes: Option<u64>,
    /// The number of syncs of the log.
    pub(crate) log_syncs: Option<u64>,
}

impl Databases {
    /// Starts the databases of a load.
    ///
    /// # Errors
    /// If a database does not report its process.
    pub(crate) async fn start(args: &Args) -> Result<Self> {
        let store = match args.store {
            args::Store::Memory => Database::Memory,
            args::Store::Sqlite => {
                let folder = tempfile::tempdir()?;
                Database::Sqlite { file: folder.path().join("orders.db"), _folder: folder }
            }
            args::Store::Postgres => Database::postgres().await?,
            args::Store::Redis => Database::redis(&DURABLE).await?,
            args::Store::RedisEverysec => Database::redis(&EVERYSEC).await?,
        };
        let (fanout, joins_own) = match (args.fanout, &store) {
            (args::Fanout::None, _) | (args::Fanout::Own, Database::Memory | Database::Sqlite { .. }) => {
                (None, false)
            }
            (args::Fanout::Own, _)
            | (args::Fanout::Postgres, Database::Postgres { .. })
            | (args::Fanout::Redis, Database::Redis { .. }) => (None, true),
            (args::Fanout::Postgres, _) => (Some(Database::postgres().await?), false),
            // Hints need no disk.
            (args::Fanout::Redis, _) => (Some(Database::redis(&["--appendonly", "no"]).await?), false),
        };
        Ok(Self { store, fanout, joins_own })
    }

    /// Returns the URL of the store.
    pub(crate) fn store_url(&self) -> String {
        self.store.url()
    }

    /// Returns the URL of the fan-out, if it is not the store's own.
    pub(crate) fn fanout_url(&self) -> Option<String> {
        self.fanout.as_ref().map(Database::url)
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) async fn open(&self) -> Result<Arc<dyn OrderStore>> {
        Ok(match &self.store {
            Database::Memory => Arc::new(MemoryStore::new()),
            Database::Sqlite { file, .. } => Arc::new(SqliteStore::open(SqliteOptions::new(file)).await?),
            Database::Postgres { server, .. } => {
                Arc::new(PostgresStore::open(PostgresOptions::new(&server.url())?).await?)
            }
            Database::Redis { server, .. } => Arc::new(RedisStore::open(server.options()).await?),
        })
    }

    /// Adds the fan-out to an engine, if there is one.
    ///
    /// # Errors
    /// If the fan-out cannot be opened.
    pub(crate) async fn join(&self, engine: EngineBuilder) -> Result<EngineBuilder> {
        let carrier = if self.joins_own { Some(&self.store) } else { self.fanout.as_ref() };
        Ok(match carrier {
            Some(Database::Postgres { server, .. }) => {
                let fanout = PostgresFanout::open(PostgresOptions::new(&server.url())?).await?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
            Some(Database::Redis { server, .. }) => {
                let fanout = RedisFanout::open(server.options()).await?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
            _ => engine,
        })
    }

    /// Returns the processes of the database servers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        std::iter::once(&self.store)
            .chain(&self.fanout)
            .filter_map(Database::pid)
            .flat_map(process::family)
            .collect()
    }

    /// Returns the writes of the store's server so far, after it has published all of its statistics.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(crate) async fn written(&self) -> Result<Written> {
        match &self.store {
            Database::Memory | Database::Sqlite { .. } => Ok(Written::default()),
            Database::Postgres { server, log_bytes_at_start, .. } => {
                tokio::time::sleep(POSTGRES_STATS_DELAY).await;
                let mut connection = PgConnection::connect(&server.url()).await?;
                let log_bytes = log_bytes(&mut connection).await? - log_bytes_at_start;
                // Newer versions count this in another view.
                let syncs: Option<i64> = sqlx::query_scalar("SELECT wal_sync FROM pg_stat_wal")
                    .fetch_one(&mut connection)
                    .await
                    .ok();
                connection.close().await?;
                let log_syncs = syncs.and_then(|syncs| u64::try_from(syncs).ok());
                Ok(Written { log_bytes: u64::try_from(log_bytes).ok(), log_syncs })
            }
            Database::Redis { server, .. } => {
                let info = redis_info(server).await?;
                // A rewrite shortens the file by an unknown number of bytes.
                let is_whole = info_number(&info, "aof_rewrites:") == Some(0);
                let log_bytes = info_number(&info, "aof_current_size:").filter(|_| is_whole);
                Ok(Written { log_bytes, log_syncs: None })
            }
        }
    }
}

impl Database {
    async fn postgres() -> Result<Self> {
        let server = PostgresServer::start();
        let mut connection = PgConnection::connect(&server.url()).await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let pid = process::parent(u32::try_from(backend)?).ok_or("the server has no process")?;
        // A new server's log does not begin at zero.
        let log_bytes_at_start = log_bytes(&mut connection).await?;
        connection.close().await?;
        Ok(Self::Postgres { server, pid, log_bytes_at_start })
    }

    async fn redis(arguments: &[&str]) -> Result<Self> {
        let server = RedisServer::start(arguments);
        let info = redis_info(&server).await?;
        let pid = info_number(&info, "process_id:").ok_or("the server does not report its process")?;
        Ok(Self::Redis { pid: u32::try_from(pid)?, server })
    }

    fn url(&self) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite { file, .. } => format!("sqlite:{}", file.display()),
            Self::Postgres { server, .. } => server.url(),
            Self::Redis { server, .. } => server.url(),
        }
    }

    const fn pid(&self) -> Option<u32> {
        match self {
            Self::Memory | Self::Sqlite { .. } => None,
            Self::Postgres { pid, .. } | Self::Redis { pid, .. } => Some(*pid),
        }
    }
}

/// Returns the length of the write-ahead log of a PostgreSQL server.
async fn log_bytes(connection: &mut PgConnection) -> Result<i64> {
    let bytes = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    Ok(sqlx::query_scalar(bytes).fetch_one(connection).await?)
}

async fn redis_info(server: &RedisServer) -> Result<String> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("INFO").query_async(&mut connection).await?)
}

fn info_number(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}
