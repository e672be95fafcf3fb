//! New connections, each checked before anything is written through it.

use order_engine_core::Status;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, Value};

use crate::durability::DurabilityGuard;
use crate::error::Error;
use crate::options::RedisOptions;
use crate::replies::reply;
use crate::schema;
use crate::scripts;

/// What a connection is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To keep orders.
    Store(DurabilityGuard),
    /// To publish hints.
    Hints,
}

impl Purpose {
    /// Checks that a server is fit for the purpose.
    pub(crate) async fn check(
        &self,
        connection: &mut MultiplexedConnection,
        options: &RedisOptions,
    ) -> Result<(), Error> {
        match self {
            Self::Store(durability) => durability.check(connection, options).await,
            Self::Hints => check_is_primary(connection).await,
        }
    }
}

/// Returns a client, which resolves the name of the server anew for each connection.
pub(crate) fn client(options: &RedisOptions) -> Result<Client, Error> {
    #[cfg(feature = "tls")]
    install_crypto();
    Ok(Client::open(options.server.clone().into_connection_info()?)?)
}

/// Chooses the implementation of TLS's algorithms, unless the host has chosen one already.
#[cfg(feature = "tls")]
fn install_crypto() {
    // The only error is that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Connects, checks the server, and makes a store's connection ready for use.
pub(crate) async fn connect(
    options: &RedisOptions,
    purpose: &Purpose,
) -> Result<MultiplexedConnection, Error> {
    // Unless it is set, redis-rs waits half a second for a response, and one fsync can take longer.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.operation_timeout));
    let mut connection = client(options)?.get_multiplexed_async_connection_with_config(&config).await?;
    let checking = async {
        purpose.check(&mut connection, options).await?;
        match purpose {
            Purpose::Hints => Ok(()),
            Purpose::Store(_) => {
                schema::check(&mut connection, options).await?;
                prepare(&mut connection, options).await
            }
        }
    };
    tokio::time::timeout(options.connect_timeout, checking).await.map_err(|_| Error::TimedOut)??;
    Ok(connection)
}

/// Checks that the server takes writes. A replica takes messages too, but sends them to its own clients only.
async fn check_is_primary(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(Error::Replica),
    }
}

reply! {
    /// What a repair found.
    Repaired {
        /// How many writes were torn.
        writes: u64,
        /// How many orders they had touched.
        orders: u64,
    }
}

/// Loads the scripts into the server, and repairs what writes left that were torn by a kill of the server.
///
/// Nothing else is read or written through a connection before this: a write that builds on what a torn one
/// left would make it part of the truth.
pub(crate) async fn prepare(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
) -> Result<(), Error> {
    let loading = scripts::load_all();
    for loaded in connection.send_packed_commands(&loading, 0, loading.len()).await? {
        loaded.extract_error()?;
    }
    let mut repair = scripts::REPAIR.call(&options.key_prefix());
    for status in Status::ALL {
        repair.arg(status.as_str());
    }
    let Repaired { writes, orders } = repair.query_async(connection).await?;
    if writes > 0 {
        let server = options.address();
        tracing::warn!(%server, writes, orders, "the server was killed while it wrote; its torn writes were repaired");
    }
    Ok(())
}
