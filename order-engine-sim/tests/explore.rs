//! Explores the whole engine under faults, from seeds: no promise is broken, a seed always repeats its run,
//! and a deliberately broken venue is detected.
//!
//! `EXPLORE_SEEDS` sets the number of seeds; the program `explore` runs any number.
#![allow(clippy::disallowed_methods)] // Tests may read the environment and spawn threads.

#[path = "common/credulous.rs"]
mod credulous;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use credulous::Credulous;
use order_engine_core::testing::Dice;
use order_engine_core::testing::explore::{Exploration, Report, Site, explore};
use order_engine_core::{DexRouter, OrderId, OrderRequest, OrderStore, Venue};
use order_engine_sim::NonceKind;
use order_engine_sim::explore::{ChainSite, StoreKind, run, run_with_nonces};

/// The default number of seeds with the store in memory.
const SEEDS: u64 = 24;
/// The default number of seeds with the store in a file.
const SQLITE_SEEDS: u64 = 3;

/// The number of seeds on a chain with nonces.
const NONCE_SEEDS: u64 = 7;

fn seeds(default: u64) -> u64 {
    std::env::var("EXPLORE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(default)
}

/// Runs seeds, two at a time.
fn each_seed(seeds: u64, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                seed if seed < seeds => run(seed),
                _ => return,
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

fn assert_clean(report: &Report) {
    let Report { seed, violations, .. } = report;
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "seed {seed}:\n{}\nexplore --seed {seed} --trace", list.join("\n"));
}

#[test]
fn no_promise_is_broken_whatever_goes_wrong() {
    each_seed(seeds(SEEDS), |seed| {
        let report = run(&Exploration::new(seed), &StoreKind::Memory).unwrap();
        assert_clean(&report);
        assert!(report.simulated >= Exploration::new(seed).at_least);
    });
}

#[test]
fn a_seed_repeats_its_run_and_another_seed_differs() {
    let hash = |seed| run(&Exploration::new(seed), &StoreKind::Memory).unwrap().hash;
    let hashes = [7, 8].map(|seed| {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        hash(seed)
    });
    assert_ne!(hashes[0], hashes[1]);
}

#[test]
fn no_promise_is_broken_on_a_file() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = StoreKind::Sqlite(runtime.handle().clone());
    each_seed(seeds(SQLITE_SEEDS), |seed| assert_clean(&run(&Exploration::new(seed), &store).unwrap()));
}

#[test]
fn no_promise_is_broken_on_a_chain_with_nonces() {
    for kind in [NonceKind::Numbers, NonceKind::Opaque] {
        let run_one = |seed| run_with_nonces(&Exploration::new(seed), &StoreKind::Memory, kind).unwrap();
        each_seed(NONCE_SEEDS, |seed| {
            let report = run_one(seed);
            assert_clean(&report);
            assert!(report.ends.contains_key("confirmed"), "seed {seed}, {kind:?}: {:?}", report.ends);
        });
        let hash = |seed| run_one(seed).hash;
        assert_eq!(hash(0), hash(0));
        assert_ne!(hash(0), run(&Exploration::new(0), &StoreKind::Memory).unwrap().hash);
    }
}

/// A chain whose nodes always claim to have searched everything, even if they lag.
struct Lying(ChainSite);

impl Site for Lying {
    fn open_store(&self) -> Arc<dyn OrderStore> {
        self.0.open_store()
    }

    fn venue(&self, process: usize) -> Arc<dyn Venue> {
        Arc::new(Credulous(self.0.venue(process)))
    }

    fn router(&self, process: usize) -> Arc<dyn DexRouter> {
        self.0.router(process)
    }

    fn request(&self, dice: &Dice) -> OrderRequest {
        self.0.request(dice)
    }

    fn heal(&self) {
        self.0.heal();
    }

    fn executions(&self, order: OrderId) -> usize {
        self.0.executions(order)
    }
}

#[test]
fn a_venue_that_lies_about_absence_is_detected() {
    let is_detected = (0..200).any(|seed| {
        let report = explore(&Exploration::new(seed), |surroundings| {
            ChainSite::open(surroundings, &StoreKind::Memory).map(Lying)
        });
        report.unwrap().violations.iter().any(|violation| violation.promise == "executed once if confirmed")
    });
    assert!(is_detected, "an order was executed twice, or failed and was executed");
}
