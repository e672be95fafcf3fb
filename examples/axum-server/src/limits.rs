//! How much is served: requests of a user and of an address, orders of a user, and orders at all; and whose address a proxy passes on.

pub(crate) mod admission;
pub(crate) mod notional;
pub(crate) mod open_orders;
pub(crate) mod overload;
pub(crate) mod prices;
pub(crate) mod proxies;
pub(crate) mod rate;
pub(crate) mod settings;
pub(crate) mod turns;
