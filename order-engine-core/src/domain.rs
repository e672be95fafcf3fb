//! Orders: what they are, what happens to them, and what follows. Pure types and functions: nothing here
//! waits, reads a clock or knows a port.

pub mod amount;
pub mod codec;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod fee_bump;
pub(crate) mod ids;
pub(crate) mod metadata;
mod millis;
pub(crate) mod order;
pub(crate) mod phase;
pub(crate) mod priority;
pub(crate) mod retry_policy;
pub(crate) mod route;
mod route_choice;
pub(crate) mod siblings;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod transaction;
pub(crate) mod verdict;
