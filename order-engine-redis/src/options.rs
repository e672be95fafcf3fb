//! The options of a store or a fan-out.

use std::fmt;
use std::time::Duration;

use order_engine_core::Durability;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

/// The options of a [`RedisStore`](crate::RedisStore) or a [`RedisFanout`](crate::RedisFanout).
#[derive(Clone)]
#[must_use = "options do nothing until something is opened with them"]
pub struct RedisOptions {
    pub(crate) server: ConnectionInfo,
    pub(crate) prefix: String,
    pub(crate) required_durability: Option<Durability>,
    pub(crate) connect_timeout: Duration,
    pub(crate) operation_timeout: Duration,
}

/// Options that cannot be used. The URL is not repeated, since it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The URL does not name a Redis server.
    #[error(
        "this is no Redis URL ({reason}): it must be like 'redis://user:password@host:6379/0', or 'rediss://…' for TLS"
    )]
    Url {
        /// What is wrong with the URL.
        reason: String,
    },
    /// The URL asks for TLS, without which this program was built.
    #[error(
        "'rediss://' needs the feature 'tls' of order-engine-redis, without which this program was built"
    )]
    NoTls,
    /// The prefix has other characters than those allowed, or too many or none.
    #[error("'{prefix}' is no prefix: it must be 1 to 64 letters, digits, dots, dashes and underscores")]
    Prefix {
        /// The refused prefix.
        prefix: String,
    },
}

impl RedisOptions {
    /// The longest prefix.
    const PREFIX_MAX_CHARS: usize = 64;

    /// Returns the options for the server of a URL: `redis://host:6379`, `redis://user:password@host/2` with a
    /// user and the number of a database, or `rediss://host` for TLS.
    ///
    /// # Errors
    /// If it is not such a URL, or asks for TLS where the feature `tls` is missing.
    pub fn new(url: &str) -> Result<Self, OptionsError> {
        if url.starts_with("rediss:") && cfg!(not(feature = "tls")) {
            return Err(OptionsError::NoTls);
        }
        if !url.starts_with("redis:") && !url.starts_with("rediss:") {
            return Err(OptionsError::Url { reason: "another scheme".to_owned() });
        }
        let server = url
            .into_connection_info()
            .map_err(|error| OptionsError::Url { reason: error.category().to_owned() })?;
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        Ok(Self {
            server: server.set_redis_settings(settings),
            prefix: "order-engine".to_owned(),
            required_durability: None,
            connect_timeout: Duration::from_secs(3),
            operation_timeout: Duration::from_secs(10),
        })
    }

    /// Sets the prefix of all keys and channels, which is in braces there: `{order-engine}` unless set. Two
    /// engines with different prefixes share nothing.
    ///
    /// # Errors
    /// If the prefix is empty, is longer than 64 characters, or has other characters than letters, digits,
    /// dots, dashes and underscores.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, OptionsError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if prefix.is_empty() || prefix.len() > Self::PREFIX_MAX_CHARS || !prefix.chars().all(is_plain) {
            return Err(OptionsError::Prefix { prefix: prefix.to_owned() });
        }
        Ok(Self { prefix: prefix.to_owned(), ..self })
    }

    /// Sets what a write must survive: a store whose server promises less is not opened. Unless set, every
    /// server is accepted, and [`durability`](order_engine_core::OrderStore::durability) says what it promises.
    pub fn with_required_durability(self, durability: Durability) -> Self {
        Self { required_durability: Some(durability), ..self }
    }

    /// Sets how long it may take to connect: three seconds unless set.
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// Sets how long a call may take in all before it fails as unavailable: ten seconds unless set.
    pub fn with_operation_timeout(self, timeout: Duration) -> Self {
        Self { operation_timeout: timeout, ..self }
    }

    /// Returns how connections to the server are opened, for what a host keeps there beside the orders. It has the
    /// password.
    pub const fn connection_info(&self) -> &ConnectionInfo {
        &self.server
    }

    /// Returns the prefix in braces, as all keys and channels begin with it. The braces keep the keys of one
    /// prefix together on a proxy that spreads keys over servers.
    pub fn key_prefix(&self) -> String {
        format!("{{{}}}", self.prefix)
    }

    /// Returns the server without user and password, for errors and logs.
    pub(crate) fn address(&self) -> String {
        let db = self.server.redis_settings().db();
        match self.server.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{db}"),
            ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{db}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("server", &self.address())
            .field("prefix", &self.prefix)
            .field("required_durability", &self.required_durability)
            .field("connect_timeout", &self.connect_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use order_engine_core::telemetry::chain;

    use super::*;

    #[test]
    fn urls_name_servers_and_databases() {
        let options = RedisOptions::new("redis://me:secret@example.org:7000/3").unwrap();
        assert_eq!(options.address(), "redis://example.org:7000/3");
        assert_eq!(options.server.redis_settings().username(), Some("me"));
        assert_eq!(options.server.redis_settings().password(), Some("secret"));
        assert_eq!(RedisOptions::new("redis://host").unwrap().address(), "redis://host:6379/0");
        for wrong in ["postgres://host/db", "redis:", "redis://", "host:6379", "redis://host/database", ""] {
            assert!(matches!(RedisOptions::new(wrong), Err(OptionsError::Url { .. })), "{wrong}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let options = RedisOptions::new("redis://me:secret@host/1").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
        let error = RedisOptions::new("redis://me:secret@host/database").unwrap_err();
        assert!(!chain(&error).to_string().contains("secret"), "{error}");
    }

    #[test]
    fn tls_needs_its_feature() {
        let options = RedisOptions::new("rediss://host:6380/1");
        if cfg!(feature = "tls") {
            assert_eq!(options.unwrap().address(), "rediss://host:6380/1");
        } else {
            assert_eq!(options.unwrap_err(), OptionsError::NoTls);
        }
    }

    #[test]
    fn prefixes_are_plain() {
        let options = RedisOptions::new("redis://host").unwrap();
        assert_eq!(options.clone().with_prefix("orders.v1").unwrap().key_prefix(), "{orders.v1}");
        for wrong in ["", "a b", "{a}", "a:b", "a*", "ä", &"a".repeat(65)] {
            assert!(options.clone().with_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
