//! The statements. Each carries the name of the store's method that runs it, and stands beside its relatives.
//!
//! Each write is one statement, so it is one transaction and one round trip; only a write that reserves nonces takes
//! three. An `@` stands for the
//! schema: nothing relies on a search path, which a host's transaction or a proxy may have changed.

pub(crate) mod controls;
pub(crate) mod events;
pub(crate) mod fanout;
pub(crate) mod nonces;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod queue;
mod settings;
pub(crate) mod text;

use self::controls::ControlsSql;
use self::events::EventsSql;
use self::nonces::NoncesSql;
use self::orders::OrdersSql;
use self::outbox::OutboxSql;
use self::queue::QueueSql;

/// The statements for one schema.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) orders: OrdersSql,
    pub(crate) queue: QueueSql,
    pub(crate) events: EventsSql,
    pub(crate) nonces: NoncesSql,
    pub(crate) outbox: OutboxSql,
    pub(crate) controls: ControlsSql,
}

impl Sql {
    pub(crate) fn new(schema: &str) -> Self {
        Self {
            orders: OrdersSql::new(schema),
            queue: QueueSql::new(schema),
            events: EventsSql::new(schema),
            nonces: NoncesSql::new(schema),
            outbox: OutboxSql::new(schema),
            controls: ControlsSql::new(schema),
        }
    }
}

#[cfg(test)]
mod tests;
