//! The curves of others beside ours, in one run: equal results are asserted first, then the time of each is measured.
//!
//! `cargo bench --manifest-path benches/rivals/curves/Cargo.toml --target-dir target`
#![allow(missing_docs)] // The macros of criterion define public functions.

mod numbers;
mod orca;
mod stable;
mod uniswap;

use criterion::{Criterion, criterion_group};

fn curves(criterion: &mut Criterion) {
    orca::compare(criterion);
    uniswap::compare(criterion);
    stable::compare(criterion);
}

criterion_group!(benches, curves);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
