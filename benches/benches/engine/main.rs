//! The parts of the engine that every order passes.
//!
//! `cargo bench -p order-engine-benches --bench engine`
#![allow(missing_docs)] // The macros of criterion define public functions.

mod append;
mod fanout;
mod life;

use criterion::{Criterion, Throughput, criterion_group};
use order_engine_core::OrderState;
use tokio::runtime::Runtime;

use crate::life::Life;

fn fold(c: &mut Criterion) {
    let life = runtime().block_on(Life::live());
    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(life.records.len() as u64));
    group.bench_function("replay_life", |b| b.iter(|| OrderState::replay(&life.records)));
    group.bench_function("live_life", |b| b.iter(|| life.again(1)));
    group.finish();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

criterion_group!(benches, fold, append::append, fanout::fanout);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
