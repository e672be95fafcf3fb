//! What the operator sees: which request a line of the log belongs to, what is counted, and what the process takes.

pub(crate) mod answering;
pub(crate) mod process;
pub(crate) mod request;
pub(crate) mod series;
