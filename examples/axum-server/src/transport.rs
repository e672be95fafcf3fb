//! The connections of clients, from below: how long they may stall, and who owns them.

pub(crate) mod exchange;
pub(crate) mod handover;
pub(crate) mod places;
pub(crate) mod socket;
pub(crate) mod stream;
