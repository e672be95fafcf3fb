//! Endpoints in the Redis server of the orders, under the same prefix.
//!
//! An endpoint is a hash, and two sorted sets have the ids of a user's endpoints and of all. The enabled ones are also in a sorted set, by the time until which nobody else takes them, in microseconds.
//! A script notes an endpoint there before it enables it and removes it afterwards, and who takes one looks at its hash: so what a
//! server that is killed leaves half done is put right by the next look.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{StoreError, StoreErrorKind, UserId};
use order_engine_redis::RedisOptions;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo as _, RedisError, Script,
    ScriptInvocation,
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress};
use crate::webhooks::lease::Lease;
use crate::webhooks::store::{LOG_ENTRIES, WebhookStore};
use crate::webhooks::stores::documents::{EndpointRow, corrupt, count, encode, entry, number, place};

/// How long a call may take in all.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// What all scripts begin with. The first line has the server check before the first statement whether it takes writes at all.
macro_rules! script {
    ($code:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                "#!lua\n",
                "local prefix = KEYS[1]
                local enabled = prefix .. ':webhooks'
                local function row(id) return prefix .. ':webhook:' .. id end
                local function log(id) return prefix .. ':webhook:' .. id .. ':log' end
                local all = prefix .. ':webhooks:all'
                local function of_user(user) return prefix .. ':webhooks:of:' .. user end
                local function of_holder(holder) return prefix .. ':webhooks:held:' .. holder end
                local function now_us()
                    local time = redis.call('TIME')
                    return tonumber(time[1]) * 1000000 + tonumber(time[2])
                end
                local function rows(ids)
                    local found = {}
                    for _, id in ipairs(ids) do
                        local row = redis.call('HMGET', row(id), 'user', 'created_at_ms', 'revision', 'settings',
                            'progress')
                        if row[1] then found[#found + 1] = {id, row[1], row[2], row[3], row[4], row[5]} end
                    end
                    return found
                end
                local function score(number) return string.format('%.0f', number) end
                local function holds(id, holder, revision)
                    local held = redis.call('HMGET', row(id), 'holder', 'revision')
                    return held[1] == holder and held[2] == revision
                end
                local function write_log(id, first, most)
                    for at = first, #ARGV do
                        local n = redis.call('HINCRBY', row(id), 'logged', 1)
                        redis.call('ZADD', log(id), n, n .. ':' .. ARGV[at])
                    end
                    local logged = tonumber(redis.call('HGET', row(id), 'logged') or '0')
                    redis.call('ZREMRANGEBYSCORE', log(id), '-inf', logged - tonumber(most))
                end
                ",
                $code
            ))
        })
    };
}

static CREATE: LazyLock<Script> = script!(
    "local id, user, created_at_ms = ARGV[1], ARGV[2], ARGV[3]
    if redis.call('ZCARD', of_user(user)) >= tonumber(ARGV[8]) then return 0 end
    redis.call('HSET', row(id), 'user', user, 'created_at_ms', created_at_ms, 'revision', ARGV[4],
        'settings', ARGV[5], 'progress', ARGV[6], 'is_on', ARGV[7], 'is_disabled', '0')
    redis.call('ZADD', of_user(user), created_at_ms, id)
    redis.call('ZADD', all, 0, id)
    redis.call('ZADD', enabled, 0, id)
    return 1"
);
static ENDPOINTS: LazyLock<Script> = script!("return rows(redis.call('ZRANGE', of_user(ARGV[1]), 0, -1))");
static ALL: LazyLock<Script> =
    script!("return rows(redis.call('ZRANGEBYLEX', all, '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2]))");
static ENDPOINT: LazyLock<Script> = script!("return rows({ARGV[1]})");
static UPDATE: LazyLock<Script> = script!(
    "local id = ARGV[1]
    if redis.call('HGET', row(id), 'revision') ~= ARGV[2] then return 0 end
    redis.call('ZADD', enabled, 0, id)
    redis.call('HDEL', row(id), 'holder')
    local changed = {'settings', ARGV[3], 'is_on', ARGV[5], 'revision', score(tonumber(ARGV[2]) + 1)}
    if ARGV[4] ~= '' then
        for _, part in ipairs({'progress', ARGV[4], 'is_disabled', '0'}) do changed[#changed + 1] = part end
    end
    redis.call('HSET', row(id), unpack(changed))
    return 1"
);
static DELETE: LazyLock<Script> = script!(
    "local id = ARGV[1]
    local user = redis.call('HGET', row(id), 'user')
    if not user then return 0 end
    redis.call('ZREM', enabled, id)
    redis.call('DEL', row(id), log(id))
    redis.call('ZREM', of_user(user), id)
    redis.call('ZREM', all, id)
    return 1"
);
static LEASE: LazyLock<Script> = script!(
    "local holder, now = ARGV[1], now_us()
    local free_at, most, leases = score(now + tonumber(ARGV[2])), tonumber(ARGV[3]), {}
    local function is_enabled(kept) return kept[1] == '1' and kept[2] == '0' end
    for _, id in ipairs(redis.call('SMEMBERS', of_holder(holder))) do
        local kept = redis.call('HMGET', row(id), 'is_on', 'is_disabled', 'holder', 'revision')
        if is_enabled(kept) and kept[3] == holder then
            redis.call('ZADD', enabled, free_at, id)
            leases[#leases + 1] = {id, kept[4]}
        else
            redis.call('SREM', of_holder(holder), id)
        end
    end
    while #leases < most do
        local free = redis.call('ZRANGEBYSCORE', enabled, '-inf', score(now), 'LIMIT', 0, 1)
        local id = free[1]
        if not id then break end
        local kept = redis.call('HMGET', row(id), 'is_on', 'is_disabled', 'holder', 'revision')
        if is_enabled(kept) and kept[3] ~= holder then
            redis.call('SADD', of_holder(holder), id)
            redis.call('HSET', row(id), 'holder', holder)
            leases[#leases + 1] = {id, kept[4]}
            redis.call('ZADD', enabled, score(math.max(now + 1, tonumber(free_at))), id)
        elseif kept[3] == holder then
            break
        else
            redis.call('ZREM', enabled, id)
        end
    end
    redis.call('PEXPIRE', of_holder(holder), 86400000)
    return leases"
);
static RELEASE: LazyLock<Script> = script!(
    "local id, holder = ARGV[1], ARGV[2]
    if not holds(id, holder, ARGV[3]) then return 0 end
    redis.call('HDEL', row(id), 'holder')
    redis.call('SREM', of_holder(holder), id)
    redis.call('ZADD', enabled, 'XX', score(now_us() + tonumber(ARGV[4])), id)
    return 1"
);
static ADVANCE: LazyLock<Script> = script!(
    "local id = ARGV[1]
    if not holds(id, ARGV[2], ARGV[3]) then return 0 end
    redis.call('HSET', row(id), 'progress', ARGV[4], 'is_disabled', ARGV[5])
    write_log(id, 7, ARGV[6])
    return 1"
);
static LOG: LazyLock<Script> = script!(
    "if redis.call('EXISTS', row(ARGV[1])) == 1 then write_log(ARGV[1], 3, ARGV[2]) end
    return 1"
);
static ATTEMPTS: LazyLock<Script> = script!(
    "return redis.call('ZREVRANGEBYSCORE', log(ARGV[1]), '(' .. ARGV[2], '-inf', 'LIMIT', 0, ARGV[3])"
);

/// Keeps endpoints in a Redis server.
#[derive(Clone)]
pub(crate) struct RedisWebhooks {
    client: Client,
    prefix: String,
    /// The connection, as long as its last use succeeded.
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl fmt::Debug for RedisWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWebhooks").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn failed(error: RedisError) -> StoreError {
    StoreError::of(StoreErrorKind::Unavailable, error)
}

/// A row as scripts return it.
type Row = (String, String, i64, i64, String, String);

fn endpoint((id, user, created_at_ms, revision, settings, progress): Row) -> Result<Endpoint, StoreError> {
    EndpointRow { id, user, created_at_ms, revision, settings, progress }.decode()
}

impl RedisWebhooks {
    /// Connects to the server of the orders' store, which must be open already.
    pub(crate) async fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let info = options.connection_info().clone().into_connection_info().map_err(failed)?;
        let client = Client::open(info).map_err(failed)?;
        let store = Self { client, prefix: options.key_prefix(), connection: Arc::default() };
        store.connect().await?;
        Ok(store)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        // Unless it is set, redis-rs waits half a second for a response, and one fsync can take longer.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CALL_TIME_MAX / 2))
            .set_response_timeout(Some(CALL_TIME_MAX));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(failed)?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>) + Send,
    ) -> Result<T, StoreError> {
        let mut invocation = script.key(self.prefix.as_str());
        arguments(&mut invocation);
        let run = async {
            let mut connection = self.connect().await?;
            invocation.invoke_async(&mut connection).await.map_err(failed)
        };
        let late = |_| Err(StoreError::new(StoreErrorKind::Unavailable, "no answer in time"));
        let done = tokio::time::timeout(CALL_TIME_MAX, run).await.unwrap_or_else(late);
        if done.is_err() {
            *self.connection.lock().await = None;
        }
        done
    }
}

fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl WebhookStore for RedisWebhooks {
    async fn create(&self, endpoint: &Endpoint, most: usize) -> Result<bool, StoreError> {
        let new = EndpointRow::of(endpoint)?;
        let is_on = flag(endpoint.is_enabled());
        self.call(&CREATE, |call| {
            call.arg(new.id).arg(new.user).arg(new.created_at_ms).arg(new.revision);
            call.arg(new.settings).arg(new.progress).arg(is_on).arg(most);
        })
        .await
    }

    async fn endpoints(&self, user: &UserId) -> Result<Vec<Endpoint>, StoreError> {
        let rows: Vec<Row> = self.call(&ENDPOINTS, |call| _ = call.arg(user.as_str())).await?;
        rows.into_iter().map(endpoint).collect()
    }

    async fn all(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Endpoint>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<Row> = self.call(&ALL, |call| _ = call.arg(place(after)).arg(limit)).await?;
        rows.into_iter().map(endpoint).collect()
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let rows: Vec<Row> = self.call(&ENDPOINT, |call| _ = call.arg(id.to_string())).await?;
        rows.into_iter().next().map(endpoint).transpose()
    }

    async fn update(&self, endpoint: &Endpoint, restart: bool) -> Result<bool, StoreError> {
        let new = EndpointRow::of(endpoint)?;
        let progress = if restart { new.progress } else { String::new() };
        let is_on = flag(endpoint.settings.is_on);
        self.call(&UPDATE, |call| {
            call.arg(new.id).arg(new.revision).arg(new.settings).arg(progress).arg(is_on);
        })
        .await
    }

    async fn delete(&self, id: EndpointId) -> Result<bool, StoreError> {
        self.call(&DELETE, |call| _ = call.arg(id.to_string())).await
    }

    async fn lease(&self, holder: Uuid, duration: Duration, most: usize) -> Result<Vec<Lease>, StoreError> {
        let leases: Vec<(String, i64)> = self
            .call(&LEASE, |call| _ = call.arg(holder.to_string()).arg(micros(duration)).arg(most))
            .await?;
        let lease = |(id, revision): (String, i64)| {
            Ok(Lease { id: id.parse().map_err(corrupt)?, holder, revision: count(revision)? })
        };
        leases.into_iter().map(lease).collect()
    }

    async fn release(&self, lease: &Lease, pause: Duration) -> Result<(), StoreError> {
        self.call::<i64>(&RELEASE, |call| {
            call.arg(lease.id.to_string())
                .arg(lease.holder.to_string())
                .arg(lease.revision)
                .arg(micros(pause));
        })
        .await
        .map(|_| ())
    }

    async fn advance(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempts: &[Attempt],
    ) -> Result<bool, StoreError> {
        let (text, is_disabled) = (encode(progress)?, flag(progress.disabled.is_some()));
        let entries: Vec<String> = attempts.iter().map(encode).collect::<Result<_, _>>()?;
        self.call(&ADVANCE, |call| {
            call.arg(lease.id.to_string()).arg(lease.holder.to_string()).arg(lease.revision);
            call.arg(text).arg(is_disabled).arg(LOG_ENTRIES).arg(entries);
        })
        .await
    }

    async fn log(&self, id: EndpointId, attempt: &Attempt) -> Result<(), StoreError> {
        let text = encode(attempt)?;
        self.call::<i64>(&LOG, |call| _ = call.arg(id.to_string()).arg(LOG_ENTRIES).arg(text))
            .await
            .map(|_| ())
    }

    async fn attempts(
        &self,
        id: EndpointId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Attempt)>, StoreError> {
        let before = before.map_or(Ok("inf".to_owned()), |before| number(before).map(|n| n.to_string()))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries: Vec<String> =
            self.call(&ATTEMPTS, |call| _ = call.arg(id.to_string()).arg(before).arg(limit)).await?;
        let read = |text: String| {
            let (number, text) = text.split_once(':').unwrap_or(("", &text));
            entry(number.parse().map_err(corrupt)?, text)
        };
        entries.into_iter().map(read).collect()
    }
}
