//! Signed webhooks: a user's events, posted to the URLs that the user registered.
//!
//! An endpoint has a cursor in the feed of its user. Whoever holds the endpoint's lease reads the feed behind the cursor, delivers,
//! and moves the cursor: nothing is written when an order is, and nothing is lost by a crash.

pub(crate) mod attempt;
pub(crate) mod client;
mod deliverer;
mod dispatcher;
pub(crate) mod endpoint;
pub(crate) mod kinds;
mod lease;
pub(crate) mod message;
pub(crate) mod networks;
pub(crate) mod post;
mod resolver;
mod round;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod stores;
pub(crate) mod target;
