//! Explores the engine on the simulated chain, seed by seed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use order_engine_core::telemetry::chain;
use order_engine_core::testing::explore::{Exploration, Hazard, Report};
use order_engine_sim::NonceKind;
use order_engine_sim::explore::{SiteError, StoreKind, run, run_with_nonces};

/// Runs several processes over one store and one chain, with faults of every kind that follow from a seed;
/// then the faults end, and every promise is checked.
///
/// Prints the seeds, the simulated hours, the faults by kind and the violations, and exits with 1 if there are
/// any.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The number of seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print the trace of the one seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// The store of the orders
    #[arg(long, value_enum, default_value_t = StoreName::Memory)]
    store: StoreName,
    /// What bounds the chain's transactions
    #[arg(long, value_enum, default_value_t = Validity::Height)]
    validity: Validity,
    /// The number of seeds that run at a time
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// The number of orders in a seed
    #[arg(long, default_value_t = 30)]
    orders: usize,
    /// The kinds of faults to leave out
    #[arg(long, value_delimiter = ',')]
    without: Vec<Hazard>,
    /// The only kinds of faults
    #[arg(long, value_delimiter = ',', conflicts_with = "without")]
    only: Vec<Hazard>,
    /// Start no further seed after the first violation
    #[arg(long)]
    until_violation: bool,
    /// The most violations to print
    #[arg(long, default_value_t = 20)]
    print: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoreName {
    Memory,
    Sqlite,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Validity {
    Height,
    Nonce,
    DurableNonce,
}

/// The number of seeds between two reports of progress.
const PROGRESS: u64 = 1_000;

/// The totals of all seeds.
#[derive(Debug, Default)]
struct Total {
    seeds: u64,
    simulated: Duration,
    faults: BTreeMap<&'static str, u64>,
    ends: BTreeMap<&'static str, u64>,
    failed: BTreeSet<u64>,
    violations: BTreeMap<&'static str, u64>,
    /// For each promise, the first seed that broke it.
    first: BTreeMap<&'static str, u64>,
    printed: usize,
}

impl Args {
    fn exploration(&self, seed: u64) -> Exploration {
        let mut exploration = Exploration::new(seed);
        exploration.orders = self.orders;
        exploration.keeps_trace = self.trace;
        exploration.without = if self.only.is_empty() {
            self.without.iter().copied().collect()
        } else {
            Hazard::ALL.iter().filter(|hazard| !self.only.contains(hazard)).copied().collect()
        };
        exploration
    }
}

impl Total {
    fn add(&mut self, report: &Report, most: usize) {
        self.seeds += 1;
        self.simulated += report.simulated;
        if self.seeds.is_multiple_of(PROGRESS) {
            eprintln!("{} seeds, {} failing", self.seeds, self.failed.len());
        }
        for (kind, count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (end, count) in &report.ends {
            *self.ends.entry(end).or_default() += count;
        }
        for violation in &report.violations {
            self.failed.insert(report.seed);
            *self.violations.entry(violation.promise).or_default() += 1;
            let first = self.first.entry(violation.promise).or_insert(report.seed);
            *first = report.seed.min(*first);
            if self.printed < most {
                self.printed += 1;
                println!("seed {}: {violation}", report.seed);
            }
        }
    }

    fn print(&self, took: Duration) {
        let hours = self.simulated.as_secs_f64() / 3_600.0;
        println!("seeds {}, simulated hours {hours:.1}, wall time {:.1} s", self.seeds, took.as_secs_f64());
        let list = |title: &str, counts: &BTreeMap<&'static str, u64>| {
            println!("{title} {}", counts.values().sum::<u64>());
            for (kind, count) in counts {
                println!("  {count:>10} {kind}");
            }
        };
        list("orders", &self.ends);
        list("faults", &self.faults);
        list("violations", &self.violations);
        for (promise, seed) in &self.first {
            println!("first in seed {seed}: {promise}");
        }
        if let Some(first) = self.failed.first() {
            println!("first violation: seed {first}");
            let seeds: Vec<String> = self.failed.iter().take(50).map(u64::to_string).collect();
            println!("{} failing seeds: {}", self.failed.len(), seeds.join(" "));
            println!("replay one with --seed <seed> --trace and the same other options");
        }
    }
}

/// Runs one seed.
fn explored(args: &Args, seed: u64, store: &StoreKind) -> Result<Report, SiteError> {
    match args.validity {
        Validity::Height => run(&args.exploration(seed), store),
        Validity::Nonce => run_with_nonces(&args.exploration(seed), store, NonceKind::Numbers),
        Validity::DurableNonce => run_with_nonces(&args.exploration(seed), store, NonceKind::Opaque),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (first, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    #[allow(clippy::expect_used)] // Without a runtime the program cannot do anything.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let store = match args.store {
        StoreName::Memory => StoreKind::Memory,
        StoreName::Sqlite => StoreKind::Sqlite(runtime.handle().clone()),
    };
    let (next, total, started) = (AtomicU64::new(first), Mutex::new(Total::default()), Instant::now());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let has_violation = args.until_violation
                && !total.lock().unwrap_or_else(PoisonError::into_inner).failed.is_empty();
            if seed >= first + seeds || has_violation {
                return;
            }
            match explored(&args, seed, &store) {
                Ok(report) => {
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    report.trace.iter().for_each(|line| println!("{line}"));
                    if args.seed.is_some() {
                        println!("seed {seed}, trace {:016x}", report.hash);
                    }
                    total.add(&report, args.print);
                }
                Err(error) => println!("seed {seed} could not be run: {}", chain(&error)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.print(started.elapsed());
    if total.failed.is_empty() && total.seeds == seeds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
