//! Where orders are kept, and how processes that share them tell each other: by URLs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use order_engine_core::{EngineBuilder, MemoryStore, OrderStore, StoreError};
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore};
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

/// Where orders are kept.
#[derive(Clone)]
#[non_exhaustive]
pub enum StoreUrl {
    /// In an SQLite file.
    Sqlite(SqliteOptions),
    /// In a PostgreSQL database.
    Postgres(PostgresOptions),
    /// In a Redis server.
    Redis(RedisOptions),
    /// In memory, until the process ends.
    Memory,
}

/// How processes tell each other what they committed.
#[derive(Clone)]
#[non_exhaustive]
pub enum FanoutUrl {
    /// By NOTIFY and LISTEN.
    Postgres(PostgresOptions),
    /// By PUBLISH and SUBSCRIBE.
    Redis(RedisOptions),
}

/// A URL of nothing that this server knows, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUrl(String);

impl fmt::Display for UnknownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownUrl {}

/// A backend's word on its URL.
fn unknown(error: impl fmt::Display) -> UnknownUrl {
    UnknownUrl(error.to_string())
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

impl FromStr for StoreUrl {
    type Err = UnknownUrl;

    fn from_str(url: &str) -> Result<Self, UnknownUrl> {
        match scheme(url) {
            "memory" if url == "memory:" => Ok(Self::Memory),
            "sqlite" => SqliteOptions::from_url(url).map(Self::Sqlite).map_err(unknown),
            "postgres" | "postgresql" => PostgresOptions::new(url).map(Self::Postgres).map_err(unknown),
            "redis" | "rediss" => RedisOptions::new(url).map(Self::Redis).map_err(unknown),
            _ => Err(unknown("a store is 'sqlite:PATH', 'postgres://…', 'redis://…' or 'memory:'")),
        }
    }
}

impl FromStr for FanoutUrl {
    type Err = UnknownUrl;

    fn from_str(url: &str) -> Result<Self, UnknownUrl> {
        match scheme(url) {
            "postgres" | "postgresql" => {
                let options = PostgresOptions::new(url).map_err(unknown)?;
                // What cannot listen is found out before anything starts.
                PostgresFanout::new(options.clone()).map_err(unknown)?;
                Ok(Self::Postgres(options))
            }
            "redis" | "rediss" => RedisOptions::new(url).map(Self::Redis).map_err(unknown),
            _ => Err(unknown("a fan-out is 'postgres://…' or 'redis://…'")),
        }
    }
}

/// URLs carry passwords, so that the kind must do.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
            Self::Redis(_) => "Redis",
            Self::Memory => "Memory",
        })
    }
}

impl fmt::Debug for FanoutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres(_) => "Postgres",
            Self::Redis(_) => "Redis",
        })
    }
}

impl StoreUrl {
    /// Whether other processes can see what is in it.
    pub const fn is_shared(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// A place for files that belong to the store: the simulator's ledger. None if the store forgets.
    pub fn beside(&self, extension: &str) -> Option<PathBuf> {
        match self {
            Self::Sqlite(options) => Some(options.path().with_extension(extension)),
            Self::Postgres(_) | Self::Redis(_) => Some(Path::new("data/orders").with_extension(extension)),
            Self::Memory => None,
        }
    }

    /// The fan-out that the store itself can be.
    pub fn fanout(&self) -> Option<FanoutUrl> {
        match self {
            Self::Postgres(options) => {
                PostgresFanout::new(options.clone()).ok().map(|_| FanoutUrl::Postgres(options.clone()))
            }
            Self::Redis(options) => Some(FanoutUrl::Redis(options.clone())),
            Self::Sqlite(_) | Self::Memory => None,
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn open(&self) -> Result<Arc<dyn OrderStore>, StoreError> {
        Ok(match self {
            Self::Sqlite(options) => Arc::new(SqliteStore::open(options.clone()).await?),
            Self::Postgres(options) => Arc::new(PostgresStore::open(options.clone()).await?),
            Self::Redis(options) => Arc::new(RedisStore::open(options.clone()).await?),
            Self::Memory => Arc::new(MemoryStore::new()),
        })
    }
}

impl FanoutUrl {
    /// Makes an engine tell the others, and listen to them.
    ///
    /// # Errors
    /// If there can be none.
    pub async fn join(
        &self,
        engine: EngineBuilder,
    ) -> Result<EngineBuilder, Box<dyn std::error::Error + Send + Sync>> {
        Ok(match self {
            Self::Postgres(options) => {
                let fanout = PostgresFanout::new(options.clone())?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
            Self::Redis(options) => {
                let fanout = RedisFanout::open(options.clone()).await?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_stores_and_fanouts() {
        for (url, name) in [
            ("memory:", "Memory"),
            ("sqlite:data/orders.db", "Sqlite"),
            ("postgres://alice:secret@db/trading?schema=engine", "Postgres"),
            ("postgresql:///trading", "Postgres"),
            ("redis://localhost:6379/1", "Redis"),
            ("rediss://:secret@cache", "Redis"),
        ] {
            assert_eq!(format!("{:?}", url.parse::<StoreUrl>().unwrap()), name, "{url}");
        }
        for url in ["", "memory", "mysql://host/db", "orders.db", "sqlite:", "postgres://h/d?pooling=x"] {
            assert!(url.parse::<StoreUrl>().is_err(), "{url}");
        }
        for url in ["postgres://db/trading?pooling=transaction", "sqlite:orders.db", "memory:", "kafka://x"] {
            assert!(url.parse::<FanoutUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_store_is_its_own_fanout_where_it_can_be() {
        let fanout =
            |url: &str| url.parse::<StoreUrl>().unwrap().fanout().map(|fanout| format!("{fanout:?}"));
        assert_eq!(fanout("postgres://db/trading").as_deref(), Some("Postgres"));
        assert_eq!(fanout("redis://cache").as_deref(), Some("Redis"));
        for url in ["memory:", "sqlite:orders.db", "postgres://db/trading?pooling=transaction"] {
            assert_eq!(fanout(url), None, "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = format!("{:?}", "postgres://alice:secret@db/trading".parse::<StoreUrl>());
        assert!(!config.contains("secret"), "{config}");
    }
}
