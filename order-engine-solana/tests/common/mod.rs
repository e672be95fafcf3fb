//! What the tests share: a real Solana runtime, wallets and tokens on it, an exchange of the token program only, and proxies
//! that make an honest node lag, forget and lie.
#![allow(dead_code, unused_imports, reason = "each test uses its own part")]

pub(crate) mod desk;
pub(crate) mod market;
pub(crate) mod orders;
pub(crate) mod relay;
pub(crate) mod trading;

pub(crate) use order_engine_solana_market::{pools, proxy, pulse, surfpool};
