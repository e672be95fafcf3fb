//! The execution of orders: claimed, taken step by step to a sent transaction, and observed to its outcome.

pub(crate) mod bulkhead;
pub(crate) mod choice;
pub(crate) mod claimer;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod executor;
pub(crate) mod holds;
pub(crate) mod in_flight;
pub(crate) mod lease;
pub(crate) mod leased_order;
pub(crate) mod nonces;
pub(crate) mod observer;
pub(crate) mod openings;
pub(crate) mod pauses;
pub(crate) mod turns;
pub(crate) mod venues;
pub(crate) mod workers;
