//! A Solana of one's own, for tests and for trying things: [Surfpool](https://surfpool.run), a real runtime, on this machine;
//! tokens, and pools of the real programs of Raydium and Meteora; a wallet; and nodes that lag, forget and lie.
//!
//! What goes wrong here ends the program or the test that uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it is part of tests"
)]
#![allow(missing_debug_implementations, reason = "nobody prints them, and one has a key")]

pub mod faults;
pub mod market;
pub mod pools;
pub mod proxy;
pub mod pulse;
pub mod surfpool;

/// One SOL, in lamports.
pub const ONE_SOL: u64 = 1_000_000_000;
