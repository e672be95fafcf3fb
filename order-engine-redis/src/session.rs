//! The one connection of a store, which all its calls share, and which is replaced when it fails.

use std::sync::{Arc, Mutex, PoisonError};

use order_engine_core::{Backoff, StoreError};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, ServerErrorKind, Value};
use tokio::time::Instant;

use crate::connect::{self, Purpose};
use crate::error::Error;
use crate::options::RedisOptions;
use crate::replies;
use crate::schema;
use crate::scripts::Script;

/// A shared connection to a server. A call connects if there is no connection.
///
/// A call that fails is never repeated here, unless it is known to have done nothing.
#[derive(Debug)]
pub(crate) struct Session {
    options: RedisOptions,
    purpose: Purpose,
    connection: Mutex<Option<Connection>>,
    /// Locked by the one call that connects.
    attempts: tokio::sync::Mutex<Attempts>,
}

#[derive(Clone, Debug)]
struct Connection {
    multiplexed: MultiplexedConnection,
    /// Distinguishes this connection from those before and after it.
    number: u64,
}

/// The attempts to connect.
#[derive(Debug, Default)]
struct Attempts {
    connections: u64,
    /// How many attempts failed since the last connection.
    failures: u32,
    /// The last attempt, if it failed.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: Arc<Error>,
    retry_at: Instant,
}

impl Session {
    /// Makes a session that connects at its first call.
    pub(crate) fn new(options: RedisOptions, purpose: Purpose) -> Self {
        Self { options, purpose, connection: Mutex::default(), attempts: tokio::sync::Mutex::default() }
    }

    /// Makes a session that is connected.
    pub(crate) async fn open(options: RedisOptions, purpose: Purpose) -> Result<Self, Error> {
        let session = Self::new(options, purpose);
        session.connect().await?;
        Ok(session)
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }

    pub(crate) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Returns a call of a script under this session's prefix.
    pub(crate) fn script(&self, script: &Script) -> Cmd {
        script.call(&self.options.key_prefix())
    }

    /// Returns the name of a key under this session's prefix.
    pub(crate) fn key(&self, name: &str) -> String {
        schema::key(&self.options, name)
    }

    /// Waits for a call, but no longer than a call may take. After a call that took longer the next one shall
    /// not wait for the same connection, which is therefore given up.
    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.options.operation_timeout, call).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                self.set_connection(None);
                Err(Error::TimedOut.into())
            }
        }
    }

    /// Checks that the server is still fit for the session's purpose.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let Connection { mut multiplexed, number } = self.connect().await?;
        let checked = self.purpose.check(&mut multiplexed, &self.options).await;
        self.give_up_if_broken(number, checked)
    }

    /// Sends a command and decodes its reply.
    pub(crate) async fn write<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        only(self.write_all(vec![command]).await?)
    }

    /// Sends commands at once, and returns one reply each.
    pub(crate) async fn write_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        self.send(&pipeline(commands)).await
    }

    /// Sends a command that may be repeated, and decodes its reply.
    pub(crate) async fn read<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        only(self.read_all(vec![command]).await?)
    }

    /// Sends commands that may be repeated, and returns one reply each. If the connection turns out to be
    /// broken, they are sent once more on another one.
    pub(crate) async fn read_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        let commands = pipeline(commands);
        match self.send(&commands).await {
            Err(error) if error.needs_another_connection() => self.send(&commands).await,
            result => result,
        }
    }

    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let Connection { mut multiplexed, number } = self.connect().await?;
        let replies = send(&mut multiplexed, commands, &self.options).await;
        self.give_up_if_broken(number, replies)
    }

    /// Returns the connection, which is a new one if there was none.
    async fn connect(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.connection() {
            return Ok(connection);
        }
        let mut attempts = self.attempts.lock().await;
        // Another call may have connected in the meantime.
        if let Some(connection) = self.connection() {
            return Ok(connection);
        }
        if let Some(failed) = attempts.failed.as_ref().filter(|failed| Instant::now() < failed.retry_at) {
            return Err(Error::NotConnected(Arc::clone(&failed.error)));
        }
        match connect::connect(&self.options, &self.purpose).await {
            Ok(multiplexed) => {
                *attempts = Attempts { connections: attempts.connections + 1, ..Attempts::default() };
                let connection = Connection { multiplexed, number: attempts.connections };
                self.set_connection(Some(connection.clone()));
                Ok(connection)
            }
            Err(error) => {
                attempts.failures += 1;
                let error = Arc::new(error);
                let wait = Backoff::RECONNECT.delay(attempts.failures, 0);
                let failed = Failed { error: Arc::clone(&error), retry_at: Instant::now() + wait };
                attempts.failed = Some(failed);
                Err(Error::NotConnected(error))
            }
        }
    }

    fn connection(&self) -> Option<Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the connection. Calls that wait for the old one are answered, or fail, as they would have.
    fn set_connection(&self, connection: Option<Connection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Gives a connection up if a result says that it is broken, unless it was replaced already.
    fn give_up_if_broken<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::needs_another_connection) {
            let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            connection.take_if(|connection| connection.number == number);
        }
        result
    }
}

fn pipeline(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

fn only<T: FromRedisValue>(replies: Vec<Value>) -> Result<T, Error> {
    replies::decode(replies.into_iter().next().unwrap_or_default())
}

/// Sends commands. Those that call a script which the server does not know did nothing, and are sent again.
async fn send(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
    options: &RedisOptions,
) -> Result<Vec<Value>, Error> {
    let mut replies = send_once(connection, commands).await?;
    let unknown: Vec<usize> = (0..replies.len()).filter(|n| is_unknown_script(&replies[*n])).collect();
    if !unknown.is_empty() {
        // The server may have been restarted behind a proxy that keeps connections.
        connect::prepare(connection, options).await?;
        let all: Vec<&Cmd> = commands.cmd_iter().collect();
        let again = pipeline(unknown.iter().map(|n| all[*n].clone()).collect());
        for (n, reply) in unknown.into_iter().zip(send_once(connection, &again).await?) {
            replies[n] = reply;
        }
    }
    replies.into_iter().map(|reply| Ok(reply.extract_error()?)).collect()
}

async fn send_once(connection: &mut MultiplexedConnection, commands: &Pipeline) -> Result<Vec<Value>, Error> {
    let replies = connection.send_packed_commands(commands, 0, commands.len()).await?;
    if replies.len() == commands.len() {
        Ok(replies)
    } else {
        Err(Error::Reply(format!("{} replies to {} commands", replies.len(), commands.len())))
    }
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
