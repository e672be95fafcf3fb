//! The broker: accounts and orders, changed together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::{
    Amount, BuildError, DexRouter, Engine, EngineConfig, Order, OrderId, OrderRequest, Retry, RetryError,
    StoreError, Submission, SubmitError, Token, UserId, Venue,
};
use order_engine_postgres::{OptionsError, PostgresOptions, PostgresStore};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use crate::accounts::{self, Entry, Reason, credit, debit};
use crate::settle::LedgerSink;

/// How long a statement may take, and how long one may wait for another transaction.
const STATEMENT_TIMEOUT: &str = "5s";
/// How many of the broker's own transactions run at a time.
const CONNECTIONS: u32 = 10;
/// How long a request waits for a connection: not longer than its client.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    engine: Engine,
    store: PostgresStore,
    pool: PgPool,
}

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is not one of PostgreSQL.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The engine's store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The broker's own tables cannot be opened.
    #[error("cannot open the accounts")]
    Accounts(#[from] sqlx::Error),
    /// The engine cannot be built.
    #[error("cannot start the engine")]
    Engine(#[from] BuildError),
}

/// Why an order was not placed. Nobody is debited, unless the database did not answer: then the same request
/// again is safe, and tells.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The account does not have the amount.
    #[error("the account has too little of the token")]
    Insufficient,
    /// The user has given the client order id to another order.
    #[error("the client order id names another order: {0}")]
    Conflict(OrderId),
    /// Only a failed order is tried again.
    #[error("the order has not failed")]
    NotFailed,
    /// There is no such order.
    #[error("there is no such order")]
    Unknown,
    /// The engine did not accept the order.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The engine did not accept the retry.
    #[error(transparent)]
    Retry(#[from] RetryError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// An order that is accepted and paid for.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The order.
    pub order: Arc<Order>,
    /// Whether this request made it, and not an earlier one with the same client order id.
    pub is_new: bool,
}

impl Broker {
    /// Opens the database and starts the engine. Orders are executed once a worker runs.
    pub async fn open(
        database_url: &str,
        (router, venue): (Arc<dyn DexRouter>, Arc<dyn Venue>),
        config: EngineConfig,
    ) -> Result<Self, OpenError> {
        let store = PostgresStore::open(PostgresOptions::new(database_url)?).await?;
        let session = [("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", STATEMENT_TIMEOUT)];
        let options = database_url.parse::<PgConnectOptions>()?.options(session);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = pool.connect_with(options).await?;
        accounts::migrate(&mut *pool.acquire().await?).await?;
        let engine = Engine::builder()
            .store(store.clone())
            .router(router)
            .venue(venue)
            .sink(LedgerSink::new(pool.clone()))
            .config(config)
            .build()
            .await?;
        Ok(Self { engine, store, pool })
    }

    /// Returns the engine, for all that needs no account.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Places an order: debits the account and submits, both or neither. A request with a client order id may be
    /// repeated: it is one order, and debited once.
    pub async fn place(&self, request: OrderRequest) -> Result<Placed, PlaceError> {
        let mut transaction = self.pool.begin().await?;
        let submitted = self.store.submit_in(&self.engine, &mut transaction, request).await?;
        // Whoever returns early drops the transaction, which rolls everything back.
        let order = match &submitted.outcome {
            Submission::Created(order) => Arc::clone(order),
            Submission::Existing(order) => {
                return Ok(Placed { order: Arc::clone(order), is_new: false });
            }
            Submission::Conflict(order) => return Err(PlaceError::Conflict(order.id)),
        };
        if !debit(&mut transaction, &input_of(&order, Reason::Order)).await? {
            return Err(PlaceError::Insufficient);
        }
        transaction.commit().await?;
        // Only now may anyone hear of the order; workers take it at once.
        submitted.announce();
        Ok(Placed { order, is_new: true })
    }

    /// Tries a failed order again as a new one, for which the account is debited again. However often an
    /// operator repeats it, there is one new order, and one debit.
    pub async fn retry(&self, id: OrderId) -> Result<Placed, PlaceError> {
        let mut transaction = self.pool.begin().await?;
        let retried = self.store.retry_in(&self.engine, &mut transaction, id).await?;
        let retried = retried.ok_or(PlaceError::Unknown)?;
        let order = match &retried.outcome {
            Retry::Created(order) => Arc::clone(order),
            Retry::Existing(order) => {
                return Ok(Placed { order: Arc::clone(order), is_new: false });
            }
            Retry::NotFailed(_) => return Err(PlaceError::NotFailed),
            Retry::NameTaken(order) => return Err(PlaceError::Conflict(order.id)),
        };
        // The sink may not have refunded the old order yet. Whoever comes first does it, and the other finds it
        // done.
        let refund = Entry { cause_id: *id.as_uuid(), ..input_of(&order, Reason::Refund) };
        credit(&mut transaction, &refund).await?;
        if !debit(&mut transaction, &input_of(&order, Reason::Order)).await? {
            return Err(PlaceError::Insufficient);
        }
        transaction.commit().await?;
        retried.announce();
        Ok(Placed { order, is_new: true })
    }

    /// Pays into an account, once for each id. Returns whether it was the first time.
    pub async fn deposit(
        &self,
        id: Uuid,
        user_id: &UserId,
        token: &Token,
        amount: Amount,
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let deposit = Entry { cause_id: id, user_id, token, amount, reason: Reason::Deposit };
        let is_new = credit(&mut transaction, &deposit).await?;
        transaction.commit().await?;
        Ok(is_new)
    }

    /// Returns what a user has, in base units by mint.
    pub async fn balances(&self, user_id: &UserId) -> Result<BTreeMap<String, Amount>, sqlx::Error> {
        accounts::balances(&mut *self.pool.acquire().await?, user_id).await
    }
}

/// Returns an entry about the whole input of an order.
fn input_of(order: &Order, reason: Reason) -> Entry<'_> {
    let request = &order.request;
    Entry {
        cause_id: *order.id.as_uuid(),
        user_id: &request.user_id,
        token: &request.input,
        amount: request.amount,
        reason,
    }
}
