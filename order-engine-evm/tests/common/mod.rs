//! What the tests share.
#![allow(dead_code)] // Each test uses a part of it.

pub(crate) mod dice;
pub(crate) mod world;

#[allow(unused_imports)] // Each test uses a part of it.
pub(crate) use order_engine_evm_market::{abi, anvil, contracts, proxy};
