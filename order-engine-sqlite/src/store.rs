//! The store.

use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    Append, AppendError, ClaimRequest, Claims, Creation, Durability, EventRecord, Lease, NewOrder, Order,
    OrderId, OrderQuery, OrderStore, Refused, Release, StoreError,
};
use sqlx::SqlitePool;

use crate::error::Error;
use crate::options::SqliteOptions;
use crate::write::{Check, Create, GiveBack, Record, Renew, TakeDue, Write};
use crate::writer::WriterHandle;
use crate::{connect, folder, migrate, read};

/// A store in one SQLite file. Cheap to clone; clones share the connections.
///
/// Several processes may use one file: each is one writer among others, and they take turns.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: WriterHandle,
    readers: SqlitePool,
    operation_timeout: Duration,
}

impl SqliteStore {
    /// Opens the file, creates it when missing, and brings its schema up to date.
    ///
    /// # Errors
    /// If the file cannot be opened or written, its schema is newer than this program, or the
    /// settings that durability rests on do not take effect.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path.clone();
        Ok(Self::open_inner(options).await.map_err(|error| Error::Open { path, source: Box::new(error) })?)
    }

    async fn open_inner(options: SqliteOptions) -> Result<Self, Error> {
        if let Some(folder) = options.path.parent() {
            folder::create(folder).map_err(Error::Folder)?;
        }
        let mut connection = connect::first_writer(&options).await?;
        // It takes the write lock, so a file that cannot be written is found out here.
        migrate::run(&mut connection).await?;
        let readers = connect::readers(&options).await?;
        let operation_timeout = options.operation_timeout;
        Ok(Self { writer: WriterHandle::start(options, connection)?, readers, operation_timeout })
    }

    async fn write<W: Write>(&self, write: W) -> Result<W::Output, StoreError> {
        self.in_time(async { Ok(self.writer.call(write).await?) }).await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, StoreError> {
        match tokio::time::timeout(self.operation_timeout, call).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::TimedOut.into()),
        }
    }
}

#[async_trait]
impl OrderStore for SqliteStore {
    fn durability(&self) -> Durability {
        // Every connection was checked to wait for the disk.
        Durability::Full
    }

    async fn create_many(&self, orders: &[NewOrder]) -> Result<Vec<Result<Creation, Refused>>, StoreError> {
        self.write(Create(orders.to_vec())).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims, StoreError> {
        self.write(TakeDue(request.clone())).await
    }

    async fn renew(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, StoreError> {
        self.write(Renew(leases.to_vec(), duration)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        self.write(GiveBack(releases.to_vec())).await
    }

    async fn append_many(&self, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, StoreError> {
        self.write(Record(appends.to_vec())).await
    }

    async fn load(&self, ids: &[OrderId]) -> Result<Vec<Option<Order>>, StoreError> {
        self.in_time(read::load(&self.readers, ids)).await
    }

    async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.in_time(read::events(&self.readers, id, after, limit)).await
    }

    async fn heads(&self, ids: &[OrderId]) -> Result<Vec<Option<u64>>, StoreError> {
        self.in_time(read::heads(&self.readers, ids)).await
    }

    async fn list(&self, query: &OrderQuery) -> Result<Vec<Order>, StoreError> {
        self.in_time(read::list(&self.readers, query)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.write(Check).await
    }
}
