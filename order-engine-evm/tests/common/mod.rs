//! What the tests share.
#![allow(dead_code)] // Each test uses a part of it.

pub(crate) mod abi;
pub(crate) mod anvil;
pub(crate) mod contracts;
pub(crate) mod proxy;
pub(crate) mod world;
