//! What keeps one failure from becoming many: supervised tasks, an orderly shutdown, circuit breakers.

pub(crate) mod breaker;
pub(crate) mod shutdown;
pub(crate) mod supervisor;
pub(crate) mod tasks;
