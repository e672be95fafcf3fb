//! Tools for the tests of hosts and backends: a scripted router and venue, a recording sink, a manual clock,
//! interceptors that make ports fail, crash points, a deterministic executor, assertions about orders, and a
//! simulation of a whole engine with faults ([`explore`]).
//!
//! The module is behind the feature `testing`.

mod assert;
mod chaos;
mod clock;
mod crash;
mod dice;
mod entropy;
mod executor;
pub mod explore;
mod intercept;
pub mod invariants;
mod nonce_venue;
mod nonces;
mod outage;
mod process;
mod proxy;
mod router;
mod sink;
mod skew;
mod trace;
mod venue;

pub use assert::{assert_broadcasts, assert_path, path};
pub use chaos::{CallFaults, Chaos, ChaosConfig};
pub use clock::ManualClock;
pub use crash::{CrashPoint, CrashPoints, When};
pub use dice::Dice;
pub use entropy::SeededEntropy;
pub use executor::{Executor, SimulatedProcess, yield_once};
pub use intercept::{
    Call, Intercept, InterceptedRouter, InterceptedSink, InterceptedStore, InterceptedVenue, Port, Reply,
};
pub use nonce_venue::NonceVenue;
pub use nonces::LatestNonce;
pub use outage::Outage;
pub use process::Process;
pub use proxy::{Link, Proxy};
pub use router::ScriptedRouter;
pub use sink::RecordingSink;
pub use skew::{Skew, SkewedClock};
pub use trace::Trace;
pub use venue::{ScriptedVenue, Sending};

use std::sync::Arc;

use crate::domain::amount::Amount;
use crate::domain::order::OrderRequest;
use crate::domain::siblings::{Purpose, Siblings};
use crate::domain::token::Token;
use crate::domain::transaction::SignedTx;

/// Returns SOL, a token with 9 decimals.
pub fn sol() -> Token {
    Token::new("So11111111111111111111111111111111111111112", "SOL", 9)
}

/// Returns USDC, a token with 6 decimals.
pub fn usdc() -> Token {
    Token::new("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v", "USDC", 6)
}

/// Returns an attempt with an original transaction and those that follow it.
///
/// # Panics
/// If one may not follow.
pub fn siblings(
    original: Arc<SignedTx>,
    others: impl IntoIterator<Item = (Purpose, Arc<SignedTx>)>,
) -> Siblings {
    others.into_iter().fold(Siblings::new(original), |siblings, (purpose, tx)| {
        siblings.and(purpose, tx).expect("it is a sibling")
    })
}

/// Returns a request to sell one SOL for USDC.
pub fn request() -> OrderRequest {
    OrderRequest::new("alice", sol(), usdc(), Amount::new(1_000_000_000))
}
