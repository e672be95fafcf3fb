//! The routes of webhooks: a user's endpoints, and what was sent to them.

mod body;
pub(crate) mod deliveries;
pub(crate) mod endpoints;
mod path;
