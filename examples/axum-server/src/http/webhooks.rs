//! The routes of webhooks: a user's endpoints, and what was sent to them.

pub(crate) mod body;
pub(crate) mod deliveries;
pub(crate) mod endpoints;
pub(crate) mod path;
