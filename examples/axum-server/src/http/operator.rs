//! What operators do, and what only they see. Each act is recorded with who did it.

pub(crate) mod act;
pub(crate) mod described;
pub(crate) mod halt;
mod order;
pub(crate) mod order_acts;
pub(crate) mod order_view;
pub(crate) mod overview;
pub(crate) mod pauses;
pub(crate) mod purge;
pub(crate) mod resolve;
pub(crate) mod webhooks;
