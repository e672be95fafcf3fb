//! Endpoints in the database of the orders, in the same schema.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{StoreError, StoreErrorKind, UserId};
use order_engine_postgres::PostgresOptions;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId, Progress};
use crate::webhooks::lease::Lease;
use crate::webhooks::store::{LOG_ENTRIES, WebhookStore};
use crate::webhooks::stores::documents::{EndpointRow, corrupt, count, encode, entry, number, place};

/// How many connections there are: deliveries are no reason to take more of the orders' database.
const CONNECTIONS: usize = 3;
/// How long a call may take in all.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

const COLUMNS: &str = "id, user_id, created_at_ms, revision, settings, progress";

/// Keeps endpoints in a database.
#[derive(Clone)]
pub(crate) struct PostgresWebhooks {
    options: Arc<PgConnectOptions>,
    schema: Arc<str>,
    permits: Arc<Semaphore>,
    /// Connections whose last use succeeded; others are dropped, because they may be in the middle of something.
    idle: Arc<Mutex<Vec<PgConnection>>>,
}

impl fmt::Debug for PostgresWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresWebhooks").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn failed(error: sqlx::Error) -> StoreError {
    let is_decoding = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    let kind = if is_decoding { StoreErrorKind::Internal } else { StoreErrorKind::Unavailable };
    StoreError::of(kind, error)
}

/// The arguments of a statement.
struct Arguments(Result<PgArguments, sqlx::error::BoxDynError>);

impl Arguments {
    fn new() -> Self {
        Self(Ok(PgArguments::default()))
    }

    fn with<'q, T>(self, value: T) -> Self
    where
        T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        Self(self.0.and_then(|mut arguments| arguments.add(value).map(|()| arguments)))
    }
}

impl PostgresWebhooks {
    /// Connects, and creates the tables if they are missing.
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let store = Self {
            options: Arc::new(options.connect_options()),
            schema: options.schema().into(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::default(),
        };
        store.create_tables().await?;
        Ok(store)
    }

    async fn create_tables(&self) -> Result<(), StoreError> {
        let schema = &self.schema;
        // One process at a time: two that create the same table at once disturb each other.
        let tables = format!(
            "DO $$ BEGIN
                PERFORM set_config('client_min_messages', 'warning', true);
                PERFORM pg_advisory_xact_lock(hashtextextended('order-engine webhooks {schema}', 0));
                CREATE TABLE IF NOT EXISTS {schema}.webhook_endpoints (
                    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, created_at_ms BIGINT NOT NULL, revision BIGINT NOT NULL,
                    settings TEXT NOT NULL, progress TEXT NOT NULL, is_enabled BOOLEAN NOT NULL,
                    holder TEXT, leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity', logged BIGINT NOT NULL DEFAULT 0
                );
                CREATE INDEX IF NOT EXISTS webhook_endpoints_of_users
                    ON {schema}.webhook_endpoints (user_id, created_at_ms, id);
                CREATE INDEX IF NOT EXISTS webhook_endpoints_enabled
                    ON {schema}.webhook_endpoints (leased_until) WHERE is_enabled;
                CREATE TABLE IF NOT EXISTS {schema}.webhook_attempts (
                    endpoint_id TEXT NOT NULL REFERENCES {schema}.webhook_endpoints ON DELETE CASCADE,
                    number BIGINT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (endpoint_id, number)
                );
            END $$"
        );
        self.fetch(tables, Arguments::new()).await.map(|_| ())
    }

    /// Runs one statement, which is one transaction, and returns its rows. `{s}` in it stands for the schema.
    async fn fetch(&self, sql: String, arguments: Arguments) -> Result<Vec<PgRow>, StoreError> {
        let arguments = arguments.0.map_err(|error| failed(sqlx::Error::Encode(error)))?;
        let run = async {
            let _permit = self.permits.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let sql = sql.replace("{s}", &self.schema);
            let rows = sqlx::query_with(AssertSqlSafe(sql), arguments)
                .persistent(false)
                .fetch_all(&mut connection)
                .await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(rows)
        };
        let late = |_| StoreError::new(StoreErrorKind::Unavailable, "no answer in time");
        tokio::time::timeout(CALL_TIME_MAX, run).await.map_err(late)?.map_err(failed)
    }

    /// Runs a statement that returns a row for each row that it has changed.
    async fn changes(&self, sql: &str, arguments: Arguments) -> Result<bool, StoreError> {
        Ok(!self.fetch(sql.to_owned(), arguments).await?.is_empty())
    }
}

fn endpoint(row: &PgRow) -> Result<Endpoint, StoreError> {
    let read = || -> Result<EndpointRow, sqlx::Error> {
        Ok(EndpointRow {
            id: row.try_get(0)?,
            user: row.try_get(1)?,
            created_at_ms: row.try_get(2)?,
            revision: row.try_get(3)?,
            settings: row.try_get(4)?,
            progress: row.try_get(5)?,
        })
    };
    read().map_err(failed)?.decode()
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The parts of a statement that add the entries `$1[]` to the log of the endpoint whose row `changed` returns.
const LOG: &str = "
    added AS (INSERT INTO {s}.webhook_attempts (endpoint_id, number, entry)
        SELECT changed.id, changed.logged - cardinality($1::text[]) + entries.n, entries.entry
        FROM changed, unnest($1::text[]) WITH ORDINALITY AS entries (entry, n)),
    removed AS (DELETE FROM {s}.webhook_attempts USING changed
        WHERE endpoint_id = changed.id AND number <= changed.logged - $2)";

#[async_trait]
impl WebhookStore for PostgresWebhooks {
    async fn create(&self, endpoint: &Endpoint, most: usize) -> Result<bool, StoreError> {
        let new = EndpointRow::of(endpoint)?;
        let arguments = Arguments::new()
            .with(new.id)
            .with(new.user)
            .with(new.created_at_ms)
            .with(new.revision)
            .with(new.settings)
            .with(new.progress)
            .with(endpoint.is_enabled())
            .with(number(most as u64)?);
        // Two that create at once may both find room: each then counts those that are older, and itself.
        let added = self.changes(
            "INSERT INTO {s}.webhook_endpoints (id, user_id, created_at_ms, revision, settings, progress, is_enabled)
             SELECT $1, $2, $3, $4, $5, $6, $7
             WHERE (SELECT count(*) FROM {s}.webhook_endpoints WHERE user_id = $2) < $8 RETURNING id",
            arguments,
        );
        if !added.await? {
            return Ok(false);
        }
        let surplus = self.changes(
            "DELETE FROM {s}.webhook_endpoints WHERE id = $1 AND (
                 SELECT count(*) FROM {s}.webhook_endpoints WHERE user_id = $2 AND (created_at_ms, id) <= ($3, $1)) > $4
             RETURNING id",
            Arguments::new()
                .with(endpoint.id.to_string())
                .with(endpoint.user.to_string())
                .with(endpoint.created_at.timestamp_millis())
                .with(number(most as u64)?),
        );
        Ok(!surplus.await?)
    }

    async fn endpoints(&self, user: &UserId) -> Result<Vec<Endpoint>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {{s}}.webhook_endpoints WHERE user_id = $1 ORDER BY created_at_ms, id"
        );
        let rows = self.fetch(sql, Arguments::new().with(user.to_string())).await?;
        rows.iter().map(endpoint).collect()
    }

    async fn all(&self, after: Option<EndpointId>, limit: usize) -> Result<Vec<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM {{s}}.webhook_endpoints WHERE id > $1 ORDER BY id LIMIT $2");
        let arguments = Arguments::new().with(place(after)).with(number(limit as u64)?);
        self.fetch(sql, arguments).await?.iter().map(endpoint).collect()
    }

    async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM {{s}}.webhook_endpoints WHERE id = $1");
        let rows = self.fetch(sql, Arguments::new().with(id.to_string())).await?;
        rows.first().map(endpoint).transpose()
    }

    async fn update(&self, endpoint: &Endpoint, restart: bool) -> Result<bool, StoreError> {
        let new = EndpointRow::of(endpoint)?;
        let arguments = Arguments::new()
            .with(new.id)
            .with(new.revision)
            .with(new.settings)
            .with(restart.then_some(new.progress))
            .with(endpoint.settings.is_on);
        self.changes(
            "UPDATE {s}.webhook_endpoints SET settings = $3, revision = revision + 1, holder = NULL,
                 leased_until = '-infinity', progress = coalesce($4, progress),
                 is_enabled = $5 AND (coalesce($4, progress)::jsonb -> 'disabled') = 'null'
             WHERE id = $1 AND revision = $2 RETURNING id",
            arguments,
        )
        .await
    }

    async fn delete(&self, id: EndpointId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM {s}.webhook_endpoints WHERE id = $1 RETURNING id";
        self.changes(sql, Arguments::new().with(id.to_string())).await
    }

    async fn lease(&self, holder: Uuid, duration: Duration, most: usize) -> Result<Vec<Lease>, StoreError> {
        let sql = "
            WITH held AS (UPDATE {s}.webhook_endpoints
                SET leased_until = clock_timestamp() + make_interval(secs => $2)
                WHERE holder = $1 AND is_enabled RETURNING id, revision),
            free AS (SELECT id FROM {s}.webhook_endpoints
                WHERE is_enabled AND leased_until <= clock_timestamp() AND holder IS DISTINCT FROM $1
                ORDER BY leased_until LIMIT greatest(0, $3 - (SELECT count(*) FROM held)) FOR UPDATE SKIP LOCKED),
            taken AS (UPDATE {s}.webhook_endpoints endpoints
                SET holder = $1, leased_until = clock_timestamp() + make_interval(secs => $2)
                FROM free WHERE endpoints.id = free.id RETURNING endpoints.id, endpoints.revision)
            SELECT id, revision FROM held UNION ALL SELECT id, revision FROM taken";
        let arguments =
            Arguments::new().with(holder.to_string()).with(seconds(duration)).with(number(most as u64)?);
        let rows = self.fetch(sql.to_owned(), arguments).await?;
        rows.iter()
            .map(|row| {
                let (id, revision): (String, i64) =
                    (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
                Ok(Lease { id: id.parse().map_err(corrupt)?, holder, revision: count(revision)? })
            })
            .collect()
    }

    async fn release(&self, lease: &Lease, pause: Duration) -> Result<(), StoreError> {
        let sql = "UPDATE {s}.webhook_endpoints
            SET holder = NULL, leased_until = clock_timestamp() + make_interval(secs => $4)
            WHERE id = $1 AND holder = $2 AND revision = $3";
        let arguments = Arguments::new()
            .with(lease.id.to_string())
            .with(lease.holder.to_string())
            .with(number(lease.revision)?)
            .with(seconds(pause));
        self.fetch(sql.to_owned(), arguments).await.map(|_| ())
    }

    async fn advance(
        &self,
        lease: &Lease,
        progress: &Progress,
        attempts: &[Attempt],
    ) -> Result<bool, StoreError> {
        let entries: Vec<String> = attempts.iter().map(encode).collect::<Result<_, _>>()?;
        let arguments = Arguments::new()
            .with(entries)
            .with(number(LOG_ENTRIES)?)
            .with(lease.id.to_string())
            .with(lease.holder.to_string())
            .with(number(lease.revision)?)
            .with(encode(progress)?)
            .with(progress.disabled.is_none());
        let sql = format!(
            "WITH changed AS (UPDATE {{s}}.webhook_endpoints
                 SET progress = $6, is_enabled = $7, logged = logged + cardinality($1::text[])
                 WHERE id = $3 AND holder = $4 AND revision = $5 RETURNING id, logged), {LOG}
             SELECT id FROM changed"
        );
        self.changes(&sql, arguments).await
    }

    async fn log(&self, id: EndpointId, attempt: &Attempt) -> Result<(), StoreError> {
        let arguments =
            Arguments::new().with(vec![encode(attempt)?]).with(number(LOG_ENTRIES)?).with(id.to_string());
        let sql = format!(
            "WITH changed AS (UPDATE {{s}}.webhook_endpoints SET logged = logged + cardinality($1::text[])
                 WHERE id = $3 RETURNING id, logged), {LOG}
             SELECT id FROM changed"
        );
        self.changes(&sql, arguments).await.map(|_| ())
    }

    async fn attempts(
        &self,
        id: EndpointId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Attempt)>, StoreError> {
        let sql = "SELECT number, entry FROM {s}.webhook_attempts WHERE endpoint_id = $1 AND number < $2
            ORDER BY number DESC LIMIT $3";
        let arguments = Arguments::new()
            .with(id.to_string())
            .with(before.map_or(Ok(i64::MAX), number)?)
            .with(number(limit as u64)?);
        let rows = self.fetch(sql.to_owned(), arguments).await?;
        rows.iter()
            .map(|row| entry(row.try_get(0).map_err(failed)?, &row.try_get::<String, _>(1).map_err(failed)?))
            .collect()
    }
}
