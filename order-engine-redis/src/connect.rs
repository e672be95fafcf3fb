//! New connections, each checked before anything is written through it.

use std::sync::{Mutex, OnceLock, PoisonError};

use order_engine_core::{Durability, Status};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, Pipeline, Value};

use crate::error::Error;
use crate::options::RedisOptions;
use crate::script;
use crate::server::{Server, Sighting};

/// The layout of keys and values that this program writes. A server keeps it beside the orders.
const LAYOUT: &str = "1";

/// What a connection is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To keep orders.
    Store(Promise),
    /// To publish hints.
    Hints,
}

/// What a store knows of the promise of its server.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    /// What the first connection found holds for all later ones.
    durability: OnceLock<Durability>,
    /// When the server was last seen to promise everything.
    sound: Mutex<Option<Sighting>>,
}

impl Promise {
    /// What the first connection found; nothing before there was one.
    pub(crate) fn durability(&self) -> Option<Durability> {
        self.durability.get().copied()
    }
}

/// A client, which resolves the name of the server anew for each connection.
pub(crate) fn client(options: &RedisOptions) -> Result<Client, Error> {
    #[cfg(feature = "tls")]
    install_crypto();
    Ok(Client::open(options.server.clone().into_connection_info()?)?)
}

/// Chooses the implementation of TLS's algorithms, unless the host has chosen already.
#[cfg(feature = "tls")]
fn install_crypto() {
    // An error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Connects, and checks the server.
pub(crate) async fn connect(
    options: &RedisOptions,
    purpose: &Purpose,
) -> Result<MultiplexedConnection, Error> {
    // The time-out of redis-rs for a response is half a second unless set, which one fsync can take.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.operation_timeout));
    let mut connection = client(options)?.get_multiplexed_async_connection_with_config(&config).await?;
    let greeting = greet(&mut connection, options, purpose);
    tokio::time::timeout(options.connect_timeout, greeting).await.map_err(|_| Error::TimedOut)??;
    Ok(connection)
}

async fn greet(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
    purpose: &Purpose,
) -> Result<(), Error> {
    match purpose {
        Purpose::Hints => is_primary(connection).await,
        Purpose::Store(promise) => {
            keeps_promise(connection, options, promise).await?;
            check_layout(connection, options).await?;
            prepare(connection, options).await
        }
    }
}

/// Checks that the server takes writes. Whoever only publishes may do so on a replica, where few would hear.
pub(crate) async fn is_primary(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(Error::Replica),
    }
}

/// Checks that a server can keep orders, and promises no less than it did at first: one that was
/// restarted with other settings must not weaken the promise in silence.
pub(crate) async fn keeps_promise(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
    promise: &Promise,
) -> Result<(), Error> {
    let server = Server::ask(connection).await?;
    server.check()?;
    let sound = promise.sound.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (found, why) = server.durability(sound.as_ref());
    if found == Durability::Full {
        *promise.sound.lock().unwrap_or_else(PoisonError::into_inner) = server.sighting();
    }
    let is_first = promise.durability().is_none();
    let wanted = promise.durability().or(options.required);
    if wanted == Some(Durability::Full) && found != Durability::Full {
        let why = why.unwrap_or_default();
        return Err(Error::Misconfigured(format!("writes must survive a loss of power, but {why}")));
    }
    if let Some(why) = why.filter(|_| is_first) {
        tracing::warn!(server = %options.address(), "the last writes may be lost with the machine: {why}");
    }
    promise.durability.get_or_init(|| found);
    Ok(())
}

/// Notes the layout where there is none yet, and refuses any other.
async fn check_layout(connection: &mut MultiplexedConnection, options: &RedisOptions) -> Result<(), Error> {
    let key = format!("{}:layout", options.key_prefix());
    let mut note = redis::cmd("SET");
    note.arg(key).arg(LAYOUT).arg("NX").arg("GET");
    match note.query_async::<Option<String>>(connection).await? {
        Some(layout) if layout != LAYOUT => Err(Error::NewerLayout(layout)),
        _ => Ok(()),
    }
}

/// Makes the server know the scripts, and mends what runs left that were torn by a kill of the server.
/// Nothing else is read or written through a connection before, since whatever builds on what they left
/// makes it part of the truth.
pub(crate) async fn prepare(
    connection: &mut MultiplexedConnection,
    options: &RedisOptions,
) -> Result<(), Error> {
    send(connection, &script::load_all()).await?;
    let mut mend = script::MEND.call(&options.key_prefix());
    for status in Status::ALL {
        mend.arg(status.as_str());
    }
    let (runs, orders): (u64, u64) = mend.query_async(connection).await?;
    if runs > 0 {
        let server = options.address();
        tracing::warn!(%server, runs, orders, "the server was killed while it wrote: what it left was mended");
    }
    Ok(())
}

/// Sends commands at once; the first that the server refuses is the error.
async fn send(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
    let replies = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
    replies.into_iter().map(|reply| Ok(reply.extract_error()?)).collect()
}
