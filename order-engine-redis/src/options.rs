//! How a store or a fan-out is opened.

use std::fmt;
use std::time::Duration;

use order_engine_core::Durability;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

/// How a [`RedisStore`](crate::RedisStore) or a [`RedisFanout`](crate::RedisFanout) is opened.
#[derive(Clone)]
#[must_use = "options do nothing until something is opened with them"]
pub struct RedisOptions {
    pub(crate) server: ConnectionInfo,
    pub(crate) prefix: String,
    pub(crate) required: Option<Durability>,
    pub(crate) connect_timeout: Duration,
    pub(crate) operation_timeout: Duration,
}

/// Options that cannot be used. The URL is not repeated, since it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The URL names no Redis server.
    #[error(
        "this is no Redis URL ({reason}): it must be like 'redis://user:password@host:6379/0', or 'rediss://…' for TLS"
    )]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The URL asks for TLS, which this program was built without.
    #[error(
        "'rediss://' needs the feature 'tls' of order-engine-redis, without which this program was built"
    )]
    NoTls,
    /// The prefix could be confused with another one.
    #[error("'{prefix}' is no prefix: it must be 1 to 64 letters, digits, dots, dashes and underscores")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
}

impl RedisOptions {
    /// The longest prefix.
    const PREFIX_MAX_CHARS: usize = 64;

    /// The server of a URL such as `redis://host:6379`, `redis://user:password@host/2` with a user and
    /// the number of a database, or `rediss://host` for TLS.
    ///
    /// # Errors
    /// If it is no such URL, or asks for TLS where the feature `tls` is missing.
    pub fn from_url(url: &str) -> Result<Self, OptionsError> {
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
            required: None,
            connect_timeout: Duration::from_secs(3),
            operation_timeout: Duration::from_secs(10),
        })
    }

    /// What the names of all keys and channels begin with, in braces: `{order-engine}` unless set. Two
    /// engines with different prefixes share nothing.
    ///
    /// # Errors
    /// If it is empty, longer than 64 characters, or has others than letters, digits, dots, dashes and
    /// underscores.
    pub fn prefix(self, prefix: &str) -> Result<Self, OptionsError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if prefix.is_empty() || prefix.len() > Self::PREFIX_MAX_CHARS || !prefix.chars().all(is_plain) {
            return Err(OptionsError::Prefix { prefix: prefix.to_owned() });
        }
        Ok(Self { prefix: prefix.to_owned(), ..self })
    }

    /// What the server must promise of a write; a store whose server promises less is not opened.
    /// Whatever it promises is taken unless set, and told by
    /// [`durability`](order_engine_core::OrderStore::durability).
    pub fn require_durability(self, durability: Durability) -> Self {
        Self { required: Some(durability), ..self }
    }

    /// How long it may take to connect. Three seconds unless set.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// How long a call may take in all before it fails as unavailable. Ten seconds unless set.
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { operation_timeout: timeout, ..self }
    }

    /// What the names of all keys and channels begin with: the prefix in braces, so that all keys of one
    /// prefix lie together, should something spread keys.
    pub fn key_prefix(&self) -> String {
        format!("{{{}}}", self.prefix)
    }

    /// The server without user and password, for errors and logs.
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
            .field("required", &self.required)
            .field("connect_timeout", &self.connect_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_and_databases() {
        let options = RedisOptions::from_url("redis://me:secret@example.org:7000/3").unwrap();
        assert_eq!(options.address(), "redis://example.org:7000/3");
        assert_eq!(options.server.redis_settings().username(), Some("me"));
        assert_eq!(options.server.redis_settings().password(), Some("secret"));
        assert_eq!(RedisOptions::from_url("redis://host").unwrap().address(), "redis://host:6379/0");
        for wrong in ["postgres://host/db", "redis:", "redis://", "host:6379", "redis://host/database", ""] {
            assert!(matches!(RedisOptions::from_url(wrong), Err(OptionsError::Url { .. })), "{wrong}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let options = RedisOptions::from_url("redis://me:secret@host/1").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
        let error = RedisOptions::from_url("redis://me:secret@host/database").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn tls_needs_its_feature() {
        let options = RedisOptions::from_url("rediss://host:6380/1");
        if cfg!(feature = "tls") {
            assert_eq!(options.unwrap().address(), "rediss://host:6380/1");
        } else {
            assert_eq!(options.unwrap_err(), OptionsError::NoTls);
        }
    }

    #[test]
    fn prefixes_are_plain() {
        let options = RedisOptions::from_url("redis://host").unwrap();
        assert_eq!(options.clone().prefix("orders.v1").unwrap().key_prefix(), "{orders.v1}");
        for wrong in ["", "a b", "{a}", "a:b", "a*", "ä", &"a".repeat(65)] {
            assert!(options.clone().prefix(wrong).is_err(), "{wrong}");
        }
    }
}
