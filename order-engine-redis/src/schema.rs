//! The keys, and the version of their schema, which a server keeps beside the orders.

use redis::aio::MultiplexedConnection;

use crate::error::Error;
use crate::options::RedisOptions;

/// The version of the keys and values that this program writes.
const VERSION: &str = "1";

/// Returns the name of a key: `key(options, "due:execute")`.
pub(crate) fn key(options: &RedisOptions, name: &str) -> String {
    format!("{}:{name}", options.key_prefix())
}

/// Writes the schema version where there is none yet, and refuses any other one.
pub(crate) async fn check(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
) -> Result<(), Error> {
    let mut set = redis::cmd("SET");
    set.arg(key(options, "schema_version")).arg(VERSION).arg("NX").arg("GET");
    match set.query_async::<Option<String>>(connection).await? {
        Some(version) if version != VERSION => Err(Error::NewerSchema(version)),
        _ => Ok(()),
    }
}
