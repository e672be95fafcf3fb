//! The stores and the fan-outs of the server, by their URLs.
// Without a shared store there is no fan-out: its type has no values, and what follows from one is unreachable.
#![cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(unreachable_code, unused_variables))]

use std::fmt;
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use order_engine_core::{EngineBuilder, MemoryStore, OrderStore, StoreError};
#[cfg(feature = "postgres")]
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore};
#[cfg(feature = "redis")]
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

use crate::store_pool::StorePool;

/// The URL of a store.
#[derive(Clone)]
#[non_exhaustive]
pub enum StoreUrl {
    /// An SQLite file.
    Sqlite(SqliteOptions),
    /// A PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(PostgresOptions),
    /// A Redis server.
    #[cfg(feature = "redis")]
    Redis(RedisOptions),
    /// The memory of the process.
    Memory,
}

/// The URL of a fan-out, which carries hints between the processes that share a store.
#[derive(Clone)]
#[non_exhaustive]
pub enum FanoutUrl {
    /// NOTIFY and LISTEN.
    #[cfg(feature = "postgres")]
    Postgres(PostgresOptions),
    /// PUBLISH and SUBSCRIBE.
    #[cfg(feature = "redis")]
    Redis(RedisOptions),
}

/// Why a URL names no store or no fan-out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// No store has such a URL.
    #[error("a store is 'sqlite:PATH', 'postgres://…', 'redis://…' or 'memory:'")]
    Store,
    /// No fan-out has such a URL.
    #[error("a fan-out is 'postgres://…' or 'redis://…'")]
    Fanout,
    /// The server was built without the feature that has this backend.
    #[error("this server was built without the feature '{0}'")]
    LeftOut(&'static str),
    /// The URL of an SQLite file is invalid.
    #[error(transparent)]
    Sqlite(#[from] order_engine_sqlite::OptionsError),
    /// The URL of a PostgreSQL database is invalid, or the database cannot be a fan-out.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] order_engine_postgres::OptionsError),
    /// The URL of a Redis server is invalid.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] order_engine_redis::OptionsError),
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// Returns the error for a URL whose backend this server was built without.
fn left_out(scheme: &str) -> Option<InvalidUrl> {
    match scheme {
        "postgres" | "postgresql" => Some(InvalidUrl::LeftOut("postgres")),
        "redis" | "rediss" => Some(InvalidUrl::LeftOut("redis")),
        _ => None,
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        match scheme(url) {
            "memory" if url == "memory:" => Ok(Self::Memory),
            "sqlite" => Ok(Self::Sqlite(SqliteOptions::from_url(url)?)),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(Self::Postgres(PostgresOptions::new(url)?)),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => Ok(Self::Redis(RedisOptions::new(url)?)),
            scheme => Err(left_out(scheme).unwrap_or(InvalidUrl::Store)),
        }
    }
}

impl FromStr for FanoutUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        match scheme(url) {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let options = PostgresOptions::new(url)?;
                // A URL whose connections cannot listen is refused here, before anything starts.
                PostgresFanout::new(options.clone())?;
                Ok(Self::Postgres(options))
            }
            #[cfg(feature = "redis")]
            "redis" | "rediss" => Ok(Self::Redis(RedisOptions::new(url)?)),
            scheme => Err(left_out(scheme).unwrap_or(InvalidUrl::Fanout)),
        }
    }
}

/// Shows only the kind, because URLs contain passwords.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "Postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "Redis",
            Self::Memory => "Memory",
        })
    }
}

/// Shows only the kind, because URLs contain passwords.
impl fmt::Debug for FanoutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "Postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "Redis",
        })
    }
}

impl StoreUrl {
    /// Returns whether several processes can share the store.
    pub const fn is_shared(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// Returns the path of a file that belongs to the store, such as the simulator's ledger, or `None` if the
    /// store keeps nothing.
    pub fn beside(&self, extension: &str) -> Option<PathBuf> {
        match self {
            Self::Sqlite(options) => Some(options.path().with_extension(extension)),
            Self::Memory => None,
            #[cfg(any(feature = "postgres", feature = "redis"))]
            _ => Some(Path::new("data/orders").with_extension(extension)),
        }
    }

    /// Returns the fan-out that the store itself offers, if it does.
    pub fn fanout(&self) -> Option<FanoutUrl> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                PostgresFanout::new(options.clone()).ok().map(|_| FanoutUrl::Postgres(options.clone()))
            }
            #[cfg(feature = "redis")]
            Self::Redis(options) => Some(FanoutUrl::Redis(options.clone())),
            Self::Sqlite(_) | Self::Memory => None,
        }
    }

    /// Opens the store.
    pub async fn open(&self) -> Result<Arc<dyn OrderStore>, StoreError> {
        Ok(self.open_with_pool().await?.0)
    }

    /// Opens the store, and returns its connections beside it.
    pub(crate) async fn open_with_pool(&self) -> Result<(Arc<dyn OrderStore>, StorePool), StoreError> {
        Ok(match self {
            Self::Sqlite(options) => {
                let store = SqliteStore::open(options.clone()).await?;
                (Arc::new(store.clone()), StorePool::Sqlite(store))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options) => {
                let store = PostgresStore::open(options.clone()).await?;
                (Arc::new(store.clone()), StorePool::Postgres(store))
            }
            #[cfg(feature = "redis")]
            Self::Redis(options) => (Arc::new(RedisStore::open(options.clone()).await?), StorePool::None),
            Self::Memory => (Arc::new(MemoryStore::new()), StorePool::None),
        })
    }
}

impl FanoutUrl {
    /// Adds the fan-out's sink and source to an engine.
    pub async fn join(
        &self,
        engine: EngineBuilder,
    ) -> Result<EngineBuilder, Box<dyn std::error::Error + Send + Sync>> {
        Ok(match *self {
            #[cfg(feature = "postgres")]
            Self::Postgres(ref options) => {
                let fanout = PostgresFanout::new(options.clone())?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
            #[cfg(feature = "redis")]
            Self::Redis(ref options) => {
                let fanout = RedisFanout::open(options.clone()).await?;
                engine.sink(fanout.sink()).source(fanout.source())
            }
        })
    }
}

#[cfg(all(test, feature = "postgres", feature = "redis"))]
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
    fn a_url_of_a_backend_that_was_left_out_names_its_feature() {
        assert_eq!(
            left_out("rediss").map(|error| error.to_string()).as_deref(),
            Some("this server was built without the feature 'redis'")
        );
        assert!(left_out("sqlite").is_none());
    }

    #[test]
    fn a_store_that_can_is_its_own_fanout() {
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
