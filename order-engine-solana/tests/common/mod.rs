//! What the tests share: a real Solana runtime, wallets and tokens on it, an exchange of the token program only, and proxies
//! that make an honest node lag, forget and lie.
#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod desk;
pub(crate) mod orders;
pub(crate) mod pools;
pub(crate) mod proxy;
pub(crate) mod pulse;
pub(crate) mod surfpool;
