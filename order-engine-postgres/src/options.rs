//! How a store is opened.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

/// The schema unless another one is set.
const SCHEMA: &str = "order_engine";
/// PostgreSQL cuts names off after 63 bytes; the channel's name is longer than the schema's.
const SCHEMA_MAX_BYTES: usize = 48;

/// How a [`PostgresStore`](crate::PostgresStore) is opened.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) schema: String,
    pub(crate) connections: u32,
    pub(crate) operation_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) transaction_pooling: bool,
}

/// Options that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The URL names no database.
    #[error("this is no PostgreSQL URL: {0}")]
    Url(String),
    /// The name of the schema is not one that needs no quotes.
    #[error(
        "'{0}' is no name for a schema: at most 48 lower-case letters, digits and underscores, not beginning with a digit or 'pg_'"
    )]
    Schema(String),
    /// There is no such way of pooling.
    #[error("'{0}' is no way of pooling: 'session' or 'transaction'")]
    Pooling(String),
    /// Connections that are pooled by transaction cannot listen.
    #[error(
        "connections that are pooled by transaction cannot listen: the fan-out needs sessions of its own"
    )]
    CannotListen,
}

impl PostgresOptions {
    /// A store in the database that these options connect to.
    pub fn new(connect: PgConnectOptions) -> Self {
        Self {
            connect,
            schema: SCHEMA.to_owned(),
            connections: 10,
            operation_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_millis(25),
            transaction_pooling: false,
        }
    }

    /// A store in the database of a URL such as `postgres://user:password@host:5432/database`.
    ///
    /// Besides what PostgreSQL's own URLs have (`sslmode`, `sslrootcert`, …), `schema` names the
    /// [schema](Self::schema), and `pooling=transaction` is
    /// [`transaction_pooling`](Self::transaction_pooling).
    ///
    /// # Errors
    /// If the URL is none, or a parameter has a value that cannot be.
    pub fn from_url(url: &str) -> Result<Self, OptionsError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OptionsError::Url("it must begin with 'postgres://'".to_owned()));
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut schema, mut transaction_pooling, mut others) = (None, false, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("schema", name)) => schema = Some(name),
                Some(("pooling", "transaction")) => transaction_pooling = true,
                Some(("pooling", "session")) => transaction_pooling = false,
                Some(("pooling", other)) => return Err(OptionsError::Pooling(other.to_owned())),
                _ => others.push(parameter),
            }
        }
        let connect: PgConnectOptions = format!("{address}?{}", others.join("&"))
            .parse()
            .map_err(|error: sqlx::Error| OptionsError::Url(error.to_string()))?;
        let options = Self::new(connect).transaction_pooling(transaction_pooling);
        match schema {
            Some(name) => options.schema(name),
            None => Ok(options),
        }
    }

    /// The schema of the tables, `order_engine` unless set. Several engines share a database by
    /// having different ones.
    ///
    /// # Errors
    /// If the name is not made of at most 48 lower-case letters, digits and underscores, or begins with
    /// a digit or `pg_`.
    pub fn schema(mut self, name: impl Into<String>) -> Result<Self, OptionsError> {
        let name = name.into();
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = !name.is_empty()
            && name.len() <= SCHEMA_MAX_BYTES
            && name.chars().all(is_plain)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("pg_");
        if !is_name {
            return Err(OptionsError::Schema(name));
        }
        self.schema = name;
        Ok(self)
    }

    /// How many connections the store opens at most. Ten unless set; the fan-out adds one.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a call may take in all before it fails as unavailable. Fifteen seconds unless set.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// How long a batch of writes waits for what another transaction holds, such as an order's row or a
    /// client order id that is about to be used. 25 ms unless set: longer than a commit takes, and short
    /// for the others in the batch. After that they are written without the item that has to wait.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Whether connections go through a proxy that pools them by transaction, such as `PgBouncer`.
    ///
    /// Nothing is then kept in a session: no prepared statements and no settings, and every call is a
    /// transaction. Such a proxy cannot LISTEN, so there is no fan-out: what other processes write is
    /// found by polling.
    pub fn transaction_pooling(mut self, is_pooled: bool) -> Self {
        self.transaction_pooling = is_pooled;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_databases_and_schemas() {
        let options = PostgresOptions::from_url(
            "postgres://alice:secret@db.local:6432/trading?schema=engine_2&sslmode=require&pooling=transaction",
        )
        .unwrap();
        assert_eq!((options.connect.get_host(), options.connect.get_port()), ("db.local", 6432));
        assert_eq!(options.connect.get_database(), Some("trading"));
        assert!(matches!(options.connect.get_ssl_mode(), sqlx::postgres::PgSslMode::Require));
        assert_eq!((options.schema.as_str(), options.transaction_pooling), ("engine_2", true));
        let plain = PostgresOptions::from_url("postgresql:///trading").unwrap();
        assert_eq!((plain.schema.as_str(), plain.transaction_pooling), ("order_engine", false));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for url in ["sqlite:orders.db", "postgres://host:port/db", "orders"] {
            assert!(matches!(PostgresOptions::from_url(url), Err(OptionsError::Url(_))), "{url}");
        }
        let pooling = PostgresOptions::from_url("postgres://host/db?pooling=statement").unwrap_err();
        assert_eq!(pooling, OptionsError::Pooling("statement".to_owned()));
        for name in ["", "Orders", "pg_orders", "1st", "a-b", "a\"b", "a.b", &"a".repeat(49), "é"] {
            let url = format!("postgres://host/db?schema={name}");
            assert_eq!(
                PostgresOptions::from_url(&url).unwrap_err(),
                OptionsError::Schema(name.to_owned()),
                "{url}"
            );
        }
    }
}
