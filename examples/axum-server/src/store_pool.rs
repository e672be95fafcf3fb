//! The connections of a store, as far as it has several and can tell.

#[cfg(feature = "postgres")]
use order_engine_postgres::PostgresStore;
use order_engine_sqlite::SqliteStore;

/// The connections of a store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum StorePool {
    /// The store has none, or one that all calls share.
    #[default]
    None,
    /// The connections that read an SQLite file.
    Sqlite(SqliteStore),
    /// The connections to a PostgreSQL server.
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
}

impl StorePool {
    /// Returns how many are in use and unused, and how many there may be.
    pub(crate) fn levels(&self) -> Option<[usize; 3]> {
        let pool = match self {
            Self::None => return None,
            Self::Sqlite(store) => store.pool(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.pool(),
        };
        Some([pool.used, pool.idle, pool.max])
    }
}
