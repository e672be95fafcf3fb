//! Writes of many orders at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use order_engine_core::store::Append;
use order_engine_core::{MemoryStore, NewOrder, OrderStore};
use order_engine_sqlite::{SqliteOptions, SqliteStore};

use crate::life::Life;

/// The number of orders that gather on a busy engine while a write runs.
const BATCH: u64 = 64;

pub(crate) fn append(c: &mut Criterion) {
    let runtime = crate::runtime();
    let life = runtime.block_on(Life::live());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sqlite = SqliteStore::open(SqliteOptions::new(folder.path().join("orders.db")));
    let stores: [(&str, Arc<dyn OrderStore>); 2] = [
        ("memory", Arc::new(MemoryStore::new())),
        ("sqlite", Arc::new(runtime.block_on(sqlite).expect("a file can be made"))),
    ];
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20).sampling_mode(SamplingMode::Flat);
    for (name, store) in stores {
        let mut next = 0;
        group.bench_function(format!("{name}_{BATCH}"), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let mut taken = Duration::ZERO;
                    for _ in 0..iterations {
                        taken += write(&*store, &life, &mut next).await;
                    }
                    taken
                })
            });
        });
    }
    group.finish();
}

/// Writes the lives of new orders. Returns the time that it took, without the creation of the orders.
async fn write(store: &dyn OrderStore, life: &Life, next: &mut u128) -> Duration {
    let lives = (0..BATCH).map(|_| {
        *next += 1;
        life.again(*next)
    });
    let (new, appends): (Vec<NewOrder>, Vec<Append>) = lives.unzip();
    let created = store.create(&new).await.expect("the store answers");
    assert!(created.iter().all(Result::is_ok));
    let begun = Instant::now();
    let written = store.append(&appends).await.expect("the store answers");
    let taken = begun.elapsed();
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    taken
}
