//! The store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Backlog, ClaimRequest, Claims, CreateError, Creation, Deliveries, DeliveryAck,
    DeliveryRequest, Durability, EventRecord, ItemRejected, Lane, Lease, NewOrder, Order, OrderId,
    OrderQuery, OrderStore, Outbox, PurgeRequest, Purged, Release, StoreError, UndecodableOrder,
};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, AssertSqlSafe, PgConnection, Row};

use crate::connect::{BEGIN, Connections};
use crate::error::Error;
use crate::migrate;
use crate::options::PostgresOptions;
use crate::outbox::{Forget, OwedEvents, Register, Settle, TakeDebts};
use crate::read::{Due, Events, LastSeqs, List, Load, ReadBacklog, ReadClock};
use crate::sql::Sql;
use crate::write::{Check, Create, Current, GiveBack, MakeDue, Purge, Record, Renew, Renewal, TakeDue};

/// How often a call is made that another transaction keeps undoing.
const TRIES: usize = 5;
/// How long the parts of a batch wait for what another transaction holds: it was waited for already, and
/// many of the parts may have to wait.
const LOCK_TIMEOUT_OF_PARTS: Duration = Duration::from_millis(2);
/// What cannot be handed back to the engine to ask again is tried so often more, with such pauses: for
/// longer than any transaction of the engine's takes.
const LOCKED_ROUNDS: u32 = 20;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// A store in a schema of a PostgreSQL database. Cheap to clone; clones share the connections.
///
/// Any number of processes may use one schema.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connections: Connections,
    sql: Sql,
    options: PostgresOptions,
    durability: Durability,
}

/// Something that is asked of the database. It may be asked again if the first try was undone.
#[async_trait]
pub(crate) trait Call: Send + Sync {
    type Output: Send;

    /// Whether it takes several statements, which belong together.
    const IS_TRANSACTION: bool = false;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, Error>;
}

/// A connection, and the statements for it.
pub(crate) struct Session<'a> {
    pub(crate) connection: &'a mut PgConnection,
    pub(crate) sql: &'a Sql,
    /// Whether the session is ours, so that statements may be kept prepared in it.
    pub(crate) is_ours: bool,
    /// How long a write waits for what another transaction holds; without it, as long as the session
    /// does.
    pub(crate) lock_timeout: Option<Duration>,
}

impl Session<'_> {
    /// Runs a statement with the arguments that a function adds.
    pub(crate) async fn fetch(
        &mut self,
        text: &Arc<str>,
        bind: impl FnOnce(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, Error> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments).persistent(self.is_ours);
        Ok(query.fetch_all(&mut *self.connection).await?)
    }

    /// Runs a statement whose first parameter says how many milliseconds it waits for locks.
    pub(crate) async fn fetch_briefly(
        &mut self,
        text: &Arc<str>,
        bind: impl FnOnce(&mut PgArguments) -> Result<(), BoxDynError>,
    ) -> Result<Vec<PgRow>, Error> {
        // Zero would be no limit.
        let lock_timeout = self.lock_timeout.map(|timeout| timeout.as_millis().max(1).to_string());
        self.fetch(text, |arguments| {
            arguments.add(lock_timeout)?;
            bind(arguments)
        })
        .await
    }
}

impl PostgresStore {
    /// Connects, and brings the schema up to date; a role that may not change it can open one that
    /// is up to date.
    ///
    /// # Errors
    /// If the database cannot be reached, the role may not do what a store does, or the schema is
    /// newer than this program.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let timeout = options.operation_timeout;
        let opened = tokio::time::timeout(timeout, Self::open_inner(options)).await;
        Ok(opened.unwrap_or(Err(Error::TimedOut)).map_err(|error| Error::Open(Box::new(error)))?)
    }

    async fn open_inner(options: PostgresOptions) -> Result<Self, Error> {
        let connections = Connections::new(&options);
        let mut used = connections.take().await?;
        migrate::run(&mut used.connection, &options.schema).await?;
        let durability = durability(&mut used.connection).await?;
        connections.put_back(used);
        let sql = Sql::new(&options.schema);
        Ok(Self { inner: Arc::new(Inner { connections, sql, options, durability }) })
    }

    pub(crate) fn sql(&self) -> &Sql {
        &self.inner.sql
    }

    pub(crate) fn options(&self) -> &PostgresOptions {
        &self.inner.options
    }

    async fn call<C: Call>(&self, call: C) -> Result<C::Output, StoreError> {
        Ok(self.call_within(&call, self.inner.options.lock_timeout).await?)
    }

    async fn call_within<C: Call>(&self, call: &C, lock_timeout: Duration) -> Result<C::Output, Error> {
        let timeout = self.inner.options.operation_timeout;
        let result = tokio::time::timeout(timeout, self.inner.try_call(call, lock_timeout)).await;
        result.unwrap_or(Err(Error::TimedOut))
    }
}

impl Inner {
    async fn try_call<C: Call>(&self, call: &C, lock_timeout: Duration) -> Result<C::Output, Error> {
        let mut tries = 0;
        loop {
            let mut used = self.connections.take().await?;
            tries += 1;
            let error = match self.call_on(&mut used.connection, call, lock_timeout).await {
                Ok(output) => {
                    self.connections.put_back(used);
                    return Ok(output);
                }
                Err(error) => error,
            };
            if error.is_locked() && self.undo::<C>(&mut used.connection).await.is_ok() {
                self.connections.put_back(used);
            }
            if !error.is_conflict() || tries >= TRIES {
                return Err(error);
            }
            tracing::debug!(%error, tries, "another transaction stood in the way");
        }
    }

    async fn call_on<C: Call>(
        &self,
        connection: &mut PgConnection,
        call: &C,
        lock_timeout: Duration,
    ) -> Result<C::Output, Error> {
        let is_transaction = self.is_transaction::<C>();
        if is_transaction {
            sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
        }
        let mut session = Session {
            connection: &mut *connection,
            sql: &self.sql,
            is_ours: !self.options.transaction_pooling,
            lock_timeout: Some(lock_timeout),
        };
        let output = call.run(&mut session).await?;
        if is_transaction {
            sqlx::raw_sql("COMMIT").execute(connection).await?;
        }
        Ok(output)
    }

    /// A proxy keeps its hands off a session only within a transaction.
    fn is_transaction<C: Call>(&self) -> bool {
        C::IS_TRANSACTION || self.options.transaction_pooling
    }

    /// Makes a connection fit for the next call after PostgreSQL refused one.
    async fn undo<C: Call>(&self, connection: &mut PgConnection) -> Result<(), Error> {
        if self.is_transaction::<C>() {
            sqlx::raw_sql("ROLLBACK").execute(connection).await?;
        }
        Ok(())
    }
}

/// What a commit survives on this server. Whether a commit waits for the disk is seen to by each write.
async fn durability(connection: &mut PgConnection) -> Result<Durability, Error> {
    let sql = "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'";
    let is_durable: bool = sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)?;
    if !is_durable {
        tracing::warn!(
            "the server has fsync or full_page_writes turned off and may lose orders with its machine"
        );
    }
    Ok(if is_durable { Durability::Full } else { Durability::BoundedLoss })
}

#[async_trait]
impl OrderStore for PostgresStore {
    fn durability(&self) -> Durability {
        self.inner.durability
    }

    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.call(ReadClock).await
    }

    async fn create(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, CreateError>>, StoreError> {
        self.in_parts(orders, 0, |orders| Create { orders }, unwritten(CreateError::Locked)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.call(TakeDue(request)).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        let locked = |error: Error| if error.is_locked() { Ok(Renewal::Locked) } else { Err(error) };
        let renewals = self.in_parts(leases, 0, |leases| Renew(leases, duration), locked).await?;
        if !renewals.contains(&Renewal::Locked) {
            return Ok(renewals.into_iter().map(|renewal| renewal == Renewal::Renewed).collect());
        }
        // A lease cannot be prolonged while another transaction holds its order, but neither can the order
        // be claimed.
        let current = self.call(Current(leases)).await?;
        let is_current = |(lease, renewal)| match renewal {
            Renewal::Renewed => true,
            Renewal::NotCurrent => false,
            Renewal::Locked => current.contains(lease),
        };
        Ok(leases.iter().zip(renewals).map(is_current).collect())
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let results = self.in_parts(releases, LOCKED_ROUNDS, GiveBack, |error| Ok(Err(error))).await?;
        Ok(results.into_iter().collect::<Result<(), Error>>()?)
    }

    async fn make_due(&self, id: OrderId) -> Result<(), StoreError> {
        self.call(MakeDue(&[id])).await
    }

    async fn append(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.in_parts(appends, 0, Record, unwritten(AppendError::Locked)).await
    }

    async fn load(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Ok(self.call(Load(&[id])).await?.pop().flatten())
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.call(Events { id, after, limit }).await
    }

    async fn last_seqs(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.call(LastSeqs(ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        self.call(List(query)).await
    }

    async fn due_orders(&self, lane: Lane, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.call(Due(lane, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.call(ReadBacklog).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged, StoreError> {
        self.call(Purge(request)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.call(Check).await
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn register_sinks(&self, sinks: &[Arc<str>]) -> Result<(), StoreError> {
        self.in_turns(Register(sinks)).await
    }

    async fn unregister_sink(&self, sink: &str, limit: u32) -> Result<u64, StoreError> {
        self.in_turns(Forget { sink, limit }).await
    }

    async fn claim_deliveries(&self, request: &DeliveryRequest) -> Result<Deliveries, StoreError> {
        let (debts, next_due_in) = self.call(TakeDebts(request)).await?;
        if debts.is_empty() {
            return Ok(Deliveries { deliveries: Vec::new(), next_due_in });
        }
        self.call(OwedEvents { debts: &debts, next_due_in, limit: request.events_limit }).await
    }

    async fn ack_deliveries(&self, acks: &[DeliveryAck]) -> Result<Vec<bool>, StoreError> {
        // What another transaction holds on to stays owed, and comes twice.
        let locked = |error: Error| if error.is_locked() { Ok(false) } else { Err(error) };
        self.in_parts(acks, LOCKED_ROUNDS, Settle, locked).await
    }
}

impl PostgresStore {
    /// Writes items together; if that fails for what may be one item's doing, in ever smaller parts, so
    /// that it harms no other. Those that are locked are tried again for some rounds, when all others
    /// are written. What an item that fails alone is answered is said by `alone`.
    async fn in_parts<'a, I, C, R>(
        &self,
        items: &'a [I],
        rounds: u32,
        write: impl Fn(&'a [I]) -> C + Send + Sync,
        alone: impl Fn(Error) -> Result<R, Error> + Send + Sync,
    ) -> Result<Vec<R>, StoreError>
    where
        I: Sync,
        C: Call<Output = Vec<R>>,
        R: Send,
    {
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let mut lock_timeout = self.inner.options.lock_timeout;
        let whole = 0..items.len();
        let (mut parts, mut locked, mut round) = (vec![whole], Vec::new(), 0);
        loop {
            while let Some(part) = parts.pop() {
                match self.call_within(&write(&items[part.clone()]), lock_timeout).await {
                    Ok(written) => part.zip(written).for_each(|(item, result)| results[item] = Some(result)),
                    Err(error) if part.is_empty() || !error.may_be_an_items_doing() => {
                        return Err(error.into());
                    }
                    Err(error) if part.len() > 1 => {
                        tracing::debug!(items = part.len(), %error, "a write failed; its items are tried in parts");
                        let middle = part.start.midpoint(part.end);
                        parts.extend([part.start..middle, middle..part.end]);
                    }
                    Err(error) if error.is_locked() && round < rounds => locked.push(part),
                    Err(error) => results[part.start] = Some(alone(error)?),
                }
                lock_timeout = lock_timeout.min(LOCK_TIMEOUT_OF_PARTS);
            }
            if locked.is_empty() {
                return Ok(results.into_iter().flatten().collect());
            }
            tokio::time::sleep(LOCKED_PAUSE).await;
            parts.append(&mut locked);
            round += 1;
        }
    }

    /// Makes a call that locks out all writes, in turns with them: it does not wait for long, lest they wait
    /// behind it.
    async fn in_turns<C: Call>(&self, call: C) -> Result<C::Output, StoreError> {
        let mut turns = 0;
        loop {
            match self.call_within(&call, self.inner.options.lock_timeout).await {
                Err(error) if error.is_locked() && turns < LOCKED_ROUNDS => turns += 1,
                result => return Ok(result?),
            }
            tokio::time::sleep(LOCKED_PAUSE).await;
        }
    }
}

/// What an item is answered that could not be written, by itself: that it is locked, or refused.
fn unwritten<T, E: From<ItemRejected> + Clone>(locked: E) -> impl Fn(Error) -> Result<Result<T, E>, Error> {
    move |error| {
        if error.is_locked() {
            return Ok(Err(locked.clone()));
        }
        tracing::warn!(%error, "the database refuses an item");
        Ok(Err(ItemRejected { message: error.to_string() }.into()))
    }
}
