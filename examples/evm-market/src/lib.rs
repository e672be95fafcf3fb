//! A chain of the EVM of one's own, for tests and for trying things: [anvil](https://getfoundry.sh), a real node, on this machine;
//! tokens, and pools of Uniswap's own contracts of V2 and V3; a wallet; and nodes that lose, lag and lie.
//!
//! What goes wrong here ends the program or the test that uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it is part of tests"
)]
#![allow(missing_debug_implementations, reason = "nobody prints them")]

pub mod abi;
pub mod anvil;
pub mod contracts;
pub mod faults;
pub mod market;
pub mod proxy;
