//! What the commands do.

pub(crate) mod metrics;
pub(crate) mod operate;
pub(crate) mod orders;
pub(crate) mod overview;
pub(crate) mod top;
pub(crate) mod watch;
