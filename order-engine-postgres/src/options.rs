//! The options with which a store is opened.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The schema unless another one is set.
const SCHEMA: &str = "order_engine";
/// PostgreSQL cuts names off after 63 bytes; the channel's name is longer than the schema's.
const SCHEMA_MAX_BYTES: usize = 48;

/// The parameters of a URL that the driver knows. It would log any other with its value, which may be a secret.
const DRIVER_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
    "options",
];
/// How a parameter of the driver begins that names a setting of the server, also in a URL.
const SETTING_PARAMETERS: [&str; 3] = ["options[", "options%5B", "options%5b"];

/// The options with which a [`PostgresStore`](crate::PostgresStore) is opened. They show no password.
#[derive(Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) schema: String,
    pub(crate) connections: u32,
    pub(crate) operation_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) transaction_pooling: bool,
}

/// Options that cannot be used. Nothing of the URL is repeated, since it may hold a password, also where its parameters seem to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The URL has another scheme.
    #[error("this is no PostgreSQL URL: it must begin with 'postgres://'")]
    Scheme,
    /// The URL names no database.
    #[error("this is no PostgreSQL URL")]
    Url {
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// The URL asks for TLS, without which this program was built.
    #[error(
        "this 'sslmode' needs the feature 'tls' of order-engine-postgres, without which this program was built"
    )]
    NoTls,
    /// The name of the schema would need quotes.
    #[error(
        "this is no name for a schema: at most 48 lower-case letters, digits and underscores, not beginning with a digit or 'pg_'"
    )]
    Schema,
    /// The URL has an unknown value for `pooling`.
    #[error("this is no way of pooling: 'session' or 'transaction'")]
    Pooling,
    /// Connections that are pooled by transaction cannot listen.
    #[error(
        "connections that are pooled by transaction cannot listen: the fan-out needs sessions of its own"
    )]
    CannotListen,
}

/// Returns whether a parameter of a URL is for the driver.
fn is_the_drivers(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    DRIVER_PARAMETERS.contains(&name) || SETTING_PARAMETERS.iter().any(|prefix| name.starts_with(prefix))
}

/// How many connections a store opens unless set.
const CONNECTIONS: u32 = 10;
/// How long a call may take unless set.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a batch waits for locks unless set.
const LOCK_TIMEOUT: Duration = Duration::from_millis(25);

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Named one by one: the driver's options have the password, the client's key and any setting.
        let connect = &self.connect;
        f.debug_struct("PostgresOptions")
            .field("host", &connect.get_host())
            .field("port", &connect.get_port())
            .field("socket", &connect.get_socket())
            .field("username", &connect.get_username())
            .field("database", &connect.get_database())
            .field("ssl_mode", &connect.get_ssl_mode())
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("operation_timeout", &self.operation_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("transaction_pooling", &self.transaction_pooling)
            .finish_non_exhaustive()
    }
}

/// Returns whether a connection without TLS will not do.
fn requires_tls(mode: PgSslMode) -> bool {
    matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull)
}

/// Converts connect options into options for a store in their database. Whether there is TLS is not checked: a
/// host may have built the driver with another TLS than that of the feature `tls`.
impl From<PgConnectOptions> for PostgresOptions {
    fn from(connect: PgConnectOptions) -> Self {
        Self {
            connect,
            schema: SCHEMA.to_owned(),
            connections: CONNECTIONS,
            operation_timeout: OPERATION_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            transaction_pooling: false,
        }
    }
}

impl PostgresOptions {
    /// Returns options for a store in the database of a URL such as
    /// `postgres://user:password@host:5432/database`.
    ///
    /// Besides the parameters of PostgreSQL's own URLs (`sslmode`, `sslrootcert`, …), `schema` names the
    /// [schema](Self::with_schema), and `pooling=transaction` is
    /// [`with_transaction_pooling`](Self::with_transaction_pooling).
    ///
    /// An `sslmode` of `require`, `verify-ca` or `verify-full` needs the feature `tls`. Without the feature,
    /// `prefer` (which is meant where none is given) connects without TLS.
    ///
    /// # Errors
    /// If it is no such URL, a parameter has a value that cannot be used, or TLS is required where the feature
    /// `tls` is missing.
    pub fn new(url: &str) -> Result<Self, OptionsError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OptionsError::Scheme);
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut schema, mut transaction_pooling) = (None, false);
        let (mut drivers, mut unknown) = (Vec::new(), Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("schema", name)) => schema = Some(name),
                Some(("pooling", "transaction")) => transaction_pooling = true,
                Some(("pooling", "session")) => transaction_pooling = false,
                Some(("pooling", _)) => return Err(OptionsError::Pooling),
                _ if is_the_drivers(parameter) => drivers.push(parameter),
                _ => unknown.push(parameter),
            }
        }
        let connect: PgConnectOptions = format!("{address}?{}", drivers.join("&"))
            .parse()
            .map_err(|source| OptionsError::Url { source })?;
        if requires_tls(connect.get_ssl_mode()) && cfg!(not(feature = "tls")) {
            return Err(OptionsError::NoTls);
        }
        for parameter in unknown {
            // Behind a question mark that is not escaped, the rest of a password looks like parameters, and the host follows.
            let is_sound = !query.contains('@');
            let name = parameter.split('=').next().filter(|_| is_sound).unwrap_or_default();
            tracing::warn!(name, "a parameter of the database's URL is not known and has no effect");
        }
        let options = Self::from(connect).with_transaction_pooling(transaction_pooling);
        match schema {
            Some(name) => options.with_schema(name),
            None => Ok(options),
        }
    }

    /// Sets the schema of the tables. `order_engine` unless set. Several engines share a database by having
    /// different schemas.
    ///
    /// # Errors
    /// If the name is not made of at most 48 lower-case letters, digits and underscores, or begins with
    /// a digit or `pg_`.
    pub fn with_schema(mut self, name: impl Into<String>) -> Result<Self, OptionsError> {
        let name = name.into();
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = !name.is_empty()
            && name.len() <= SCHEMA_MAX_BYTES
            && name.chars().all(is_plain)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("pg_");
        if !is_name {
            return Err(OptionsError::Schema);
        }
        self.schema = name;
        Ok(self)
    }

    /// Returns the schema of the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Sets how many connections the store opens at most. Ten unless set; a fan-out adds two.
    pub fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets how long a call may take in all before it fails as unavailable. Fifteen seconds unless set.
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets how long a batch of writes waits for what another transaction holds, such as an order's row or a
    /// client order id that is about to be used. 25 ms unless set: longer than a commit takes, and short
    /// for the others in the batch. After that they are written without the item that has to wait.
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets whether connections go through a proxy that pools them by transaction, such as `PgBouncer`. They do
    /// not unless set.
    ///
    /// Nothing is then kept in a session: no prepared statements and no settings, and every call is a
    /// transaction. Such a proxy cannot LISTEN, so there is no fan-out: what other processes write is
    /// found by polling.
    pub fn with_transaction_pooling(mut self, is_pooled: bool) -> Self {
        self.transaction_pooling = is_pooled;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_databases_and_schemas() {
        let options = PostgresOptions::new(
            "postgres://alice:secret@db.local:6432/trading?schema=engine_2&sslmode=disable&pooling=transaction",
        )
        .unwrap();
        assert_eq!((options.connect.get_host(), options.connect.get_port()), ("db.local", 6432));
        assert_eq!(options.connect.get_database(), Some("trading"));
        assert!(matches!(options.connect.get_ssl_mode(), PgSslMode::Disable));
        assert_eq!((options.schema.as_str(), options.transaction_pooling), ("engine_2", true));
        let plain = PostgresOptions::new("postgresql:///trading").unwrap();
        assert_eq!((plain.schema.as_str(), plain.transaction_pooling), ("order_engine", false));
    }

    #[test]
    fn tls_needs_its_feature_where_it_is_required() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let options = PostgresOptions::new(&format!("postgres://host/db?sslmode={mode}"));
            if cfg!(feature = "tls") {
                assert!(requires_tls(options.unwrap().connect.get_ssl_mode()), "{mode}");
            } else {
                let error = options.unwrap_err();
                assert!(matches!(error, OptionsError::NoTls), "{error}");
                assert!(error.to_string().contains("feature 'tls' of order-engine-postgres"), "{error}");
            }
        }
        for url in
            ["postgres://host/db", "postgres://host/db?sslmode=prefer", "postgres://host/db?ssl-mode=disable"]
        {
            assert!(!requires_tls(PostgresOptions::new(url).unwrap().connect.get_ssl_mode()), "{url}");
        }
    }

    #[test]
    fn unusable_urls_are_refused() {
        for url in ["sqlite:orders.db", "postgres://host:port/db", "orders"] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert!(matches!(error, OptionsError::Scheme | OptionsError::Url { .. }), "{url}");
        }
        let pooling = PostgresOptions::new("postgres://host/db?pooling=statement").unwrap_err();
        assert!(matches!(pooling, OptionsError::Pooling));
        for name in ["", "Orders", "pg_orders", "1st", "a-b", "a\"b", "a.b", &"a".repeat(49), "é"] {
            let url = format!("postgres://host/db?schema={name}");
            let error = PostgresOptions::new(&url).unwrap_err();
            assert!(matches!(error, OptionsError::Schema), "{url}");
        }
    }
}
