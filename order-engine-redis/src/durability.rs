//! The durability that a store has promised, which its server must keep.

use std::sync::{Mutex, OnceLock, PoisonError};

use order_engine_core::Durability;
use redis::aio::MultiplexedConnection;

use crate::error::Error;
use crate::options::RedisOptions;
use crate::server_info::{Baseline, ServerInfo};

/// The durability that a store has promised.
#[derive(Debug, Default)]
pub(crate) struct DurabilityGuard {
    /// What the first connection found. It holds for all later ones.
    promised: OnceLock<Durability>,
    /// The server as it was when it was last found fully durable.
    baseline: Mutex<Option<Baseline>>,
}

impl DurabilityGuard {
    /// Returns what the first connection found, or nothing before the first connection.
    pub(crate) fn promised(&self) -> Option<Durability> {
        self.promised.get().copied()
    }

    /// Checks that a server can keep orders, and that its writes survive no less than they did at first: a
    /// server that is restarted with other settings must not weaken the promise unnoticed.
    pub(crate) async fn check(
        &self,
        connection: &mut MultiplexedConnection,
        options: &RedisOptions,
    ) -> Result<(), Error> {
        let server = ServerInfo::read(connection).await?;
        server.check()?;
        let found = server.durability(self.baseline().as_ref());
        if found.durability == Durability::Full {
            *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) = server.baseline();
        }
        let is_first = self.promised().is_none();
        let required = self.promised().or(options.required_durability);
        if required == Some(Durability::Full) && found.durability != Durability::Full {
            let weakness = found.weakness.unwrap_or_default();
            return Err(Error::Misconfigured(format!("writes must survive a loss of power, but {weakness}")));
        }
        if let Some(weakness) = found.weakness.filter(|_| is_first) {
            let server = options.address();
            tracing::warn!(%server, "the last writes may be lost with the machine: {weakness}");
        }
        self.promised.get_or_init(|| found.durability);
        Ok(())
    }

    fn baseline(&self) -> Option<Baseline> {
        self.baseline.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
