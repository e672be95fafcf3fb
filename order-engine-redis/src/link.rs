//! The one connection of a store, shared by all its calls and replaced when it fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use order_engine_core::{Backoff, StoreError, StoreErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::Instant;

use crate::connect::{self, Purpose};
use crate::error::{Error, needs_another_connection};
use crate::options::RedisOptions;

/// A shared connection to a server. A call connects if nobody is connected; one that fails is never
/// repeated here, except where it is known to have done nothing.
#[derive(Debug)]
pub(crate) struct Link {
    options: RedisOptions,
    purpose: Purpose,
    live: Mutex<Option<Live>>,
    /// Held by the one call that connects.
    attempts: tokio::sync::Mutex<Attempts>,
}

#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    /// Tells this connection from the ones before and after it.
    number: u64,
}

/// The attempts to connect.
#[derive(Debug, Default)]
struct Attempts {
    connections: u64,
    failed: Option<Failed>,
}

/// The last attempt, which failed.
#[derive(Debug)]
struct Failed {
    message: String,
    kind: StoreErrorKind,
    failures: u32,
    retry_at: Instant,
}

impl Link {
    pub(crate) fn new(options: RedisOptions, purpose: Purpose) -> Self {
        Self { options, purpose, live: Mutex::default(), attempts: tokio::sync::Mutex::default() }
    }

    /// Connects.
    pub(crate) async fn open(options: RedisOptions, purpose: Purpose) -> Result<Arc<Self>, Error> {
        let link = Self::new(options, purpose);
        link.connect().await?;
        Ok(Arc::new(link))
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }

    pub(crate) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    fn live(&self) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the connection up. Calls that wait on it are answered or fail as they would have.
    fn abandon(&self) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives a connection up, unless it was replaced already.
    fn abandon_number(&self, number: u64) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|live| live.number == number) {
            *live = None;
        }
    }

    /// The connection; a new one where there is none.
    async fn connect(&self) -> Result<Live, Error> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let mut attempts = self.attempts.lock().await;
        // Somebody else may have connected meanwhile.
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some(failed) = attempts.failed.as_ref().filter(|failed| Instant::now() < failed.retry_at) {
            return Err(Error::NotConnected { message: failed.message.clone(), kind: failed.kind });
        }
        match connect::connect(&self.options, &self.purpose).await {
            Ok(connection) => {
                attempts.connections += 1;
                attempts.failed = None;
                let live = Live { connection, number: attempts.connections };
                *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                let failures = attempts.failed.as_ref().map_or(0, |failed| failed.failures) + 1;
                let wait = Duration::from_millis(Backoff::RECONNECT.delay_ms(failures, 0));
                attempts.failed = Some(Failed {
                    message: error.to_string(),
                    kind: error.kind(),
                    failures,
                    retry_at: Instant::now() + wait,
                });
                Err(error)
            }
        }
    }

    /// Gives a connection up if what happened on it says so.
    fn judge<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        let is_lost = match &result {
            Err(Error::Redis(error)) => needs_another_connection(error),
            Err(Error::Replica | Error::TimedOut) => true,
            _ => false,
        };
        if is_lost {
            self.abandon_number(number);
        }
        result
    }

    /// Waits for a call for as long as a call may take. After a call that took longer, the next one shall
    /// not wait for the same connection.
    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.options.operation_timeout, call).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                self.abandon();
                Err(Error::TimedOut.into())
            }
        }
    }

    /// Checks that the server is still what it was when it was connected to.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let Live { mut connection, number } = self.connect().await?;
        let result = match &self.purpose {
            Purpose::Store(promise) => connect::keeps_promise(&mut connection, &self.options, promise).await,
            Purpose::Hints => connect::is_primary(&mut connection).await,
        };
        self.judge(number, result)
    }

    /// Sends commands at once, and gives one reply each.
    pub(crate) async fn send(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        self.send_all(&pipeline(commands)).await
    }

    /// Sends commands that may be repeated, such as reads: if the connection turns out to be broken, once
    /// more on another one.
    pub(crate) async fn send_repeatable(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        let commands = pipeline(commands);
        match self.send_all(&commands).await {
            Err(Error::Redis(error)) if needs_another_connection(&error) => self.send_all(&commands).await,
            result => result,
        }
    }

    async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let Live { mut connection, number } = self.connect().await?;
        let replies = send(&mut connection, commands, &self.options).await;
        self.judge(number, replies)
    }
}

fn pipeline(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Sends commands; those that call a script which the server has forgotten, and did not run, once more.
async fn send(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
    options: &RedisOptions,
) -> Result<Vec<Value>, Error> {
    let mut replies = send_once(connection, commands).await?;
    let unknown: Vec<usize> = (0..replies.len()).filter(|n| is_unknown_script(&replies[*n])).collect();
    if !unknown.is_empty() {
        // It may have been restarted behind something that keeps connections.
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

/// What a reply says.
pub(crate) fn reply<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    redis::from_redis_value(value).map_err(|error| Error::Reply(RedisError::from(error).to_string()))
}

/// What the one reply says.
pub(crate) fn only<T: FromRedisValue>(replies: Vec<Value>) -> Result<T, Error> {
    reply(replies.into_iter().next().unwrap_or_default())
}

/// The replies of all calls of a script, each of which gives one reply an item.
pub(crate) fn items<T: FromRedisValue>(replies: Vec<Value>) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    for value in replies {
        items.extend(reply::<Vec<T>>(value)?);
    }
    Ok(items)
}
