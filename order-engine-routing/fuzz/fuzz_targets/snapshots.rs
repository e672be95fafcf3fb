//! Quotes of arbitrary pools and amounts must not panic and must not contradict each other.
//!
//! The first 24 bytes are an amount and a moment, the rest is a curve in JSON.

#![no_main]

#[path = "../../tests/curves/probe.rs"]
mod probe;

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((amount, rest)) = data.split_first_chunk() else { return Corpus::Reject };
    let Some((at, json)) = rest.split_first_chunk() else { return Corpus::Reject };
    // The corpus keeps only valid curves, because their mutations reach more code.
    let is_curve = probe::probe(json, u128::from_le_bytes(*amount), u64::from_le_bytes(*at));
    if is_curve { Corpus::Keep } else { Corpus::Reject }
});
