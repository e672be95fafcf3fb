//! Runs a load, and measures its cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use order_engine_core::OrderId;

use crate::args::{Args, Watch};
use crate::databases::Databases;
use crate::drive::{self, Target};
use crate::error::Result;
use crate::pace::{self, Pace};
use crate::process;
use crate::report::{Costs, Run, Step};
use crate::stats::{Latency, milliseconds};
use crate::versus::{self, Versus};

/// All runs on one target.
pub(crate) struct Series<'a, T> {
    pub(crate) args: &'a Args,
    pub(crate) databases: &'a Databases,
    pub(crate) target: Arc<T>,
    /// The processes that execute the orders.
    pub(crate) pids: Vec<u32>,
    /// All accepted orders.
    accepted: Vec<OrderId>,
}

/// The processor time used so far.
#[derive(Clone, Copy)]
struct Used {
    engine: Duration,
    databases: Duration,
    load: Duration,
    machine: Duration,
}

impl<'a, T: Target> Series<'a, T> {
    pub(crate) const fn new(
        args: &'a Args,
        databases: &'a Databases,
        target: Arc<T>,
        pids: Vec<u32>,
    ) -> Self {
        Self { args, databases, target, pids, accepted: Vec::new() }
    }

    /// Warms up, does all runs and prints each. Returns the steps of the load, its costs and all accepted
    /// orders.
    ///
    /// # Errors
    /// If a run breaks a guarantee.
    pub(crate) async fn run(mut self) -> Result<(Vec<Step>, Costs, Vec<OrderId>)> {
        if self.args.warm_up > 0 {
            self.once(Pace::closed(self.args.warm_up)).await?;
        }
        let mut steps = Vec::new();
        for offered in self.args.rates() {
            let (mut runs, mut theirs) = (Vec::with_capacity(self.args.runs), Vec::new());
            for number in 1..=self.args.runs {
                let run = self.once(self.pace(offered, number)).await?;
                println!(
                    "{}{run}",
                    offered.map_or_else(String::new, |rate| format!("{rate} a second offered: "))
                );
                runs.push(run);
                if let Some(command) = &self.args.versus {
                    let completed = versus::run(command, self.args).await?;
                    println!("the other system: {completed:.0} completed");
                    theirs.push(completed);
                }
            }
            let ours: Vec<f64> = runs.iter().map(|run| run.completed_per_second).collect();
            let versus = Versus::of(self.args.versus.as_deref().unwrap_or_default(), &ours, theirs);
            steps.push(Step::new(offered, runs, versus));
        }
        let costs = self.costs().await?;
        Ok((steps, costs, self.accepted))
    }

    fn pace(&self, offered: Option<f64>, number: usize) -> Pace {
        match offered {
            None => Pace::closed(self.args.orders),
            Some(rate) => {
                // Each run has arrivals of its own, which are the same in every load.
                let seed = self.args.seed.wrapping_add(number as u64);
                Pace::open(pace::arrivals(self.args.arrivals, rate, self.args.seconds, seed))
            }
        }
    }

    async fn once(&mut self, pace: Pace) -> Result<Run> {
        let (before, begun) = (self.used(), Instant::now());
        let driven = drive::drive(&self.target, pace, self.args.clients, self.accepted.len()).await?;
        let (after, taken) = (self.used(), begun.elapsed());
        let orders = driven.ids.len();
        #[allow(clippy::cast_precision_loss)] // Counts of orders are far below 2⁵³.
        let count = orders as f64;
        let each = |from: Duration, to: Duration| milliseconds(to.saturating_sub(from)) / count;
        self.accepted.extend(driven.ids);
        let mut life = driven.life;
        life.extend(self.target.stored_lives(orders).await?);
        Ok(Run {
            orders,
            accepted_per_second: count / driven.accepting.as_secs_f64(),
            completed_per_second: count / driven.completing.as_secs_f64(),
            accept: Latency::of(driven.accept),
            delivery: Latency::of(driven.delivery),
            life: Latency::of(life),
            engine_cpu_ms: each(before.engine, after.engine),
            database_cpu_ms: each(before.databases, after.databases),
            other_cores: self.others(before, after).as_secs_f64() / taken.as_secs_f64(),
            load_cpu_ms: self.is_apart().then(|| each(before.load, after.load)),
        })
    }

    /// Returns whether the engine is in another process than the load.
    fn is_apart(&self) -> bool {
        !self.pids.contains(&std::process::id())
    }

    /// Returns the processor time of all other processes of the machine.
    fn others(&self, before: Used, after: Used) -> Duration {
        let load = if self.is_apart() { after.load.saturating_sub(before.load) } else { Duration::ZERO };
        after
            .machine
            .saturating_sub(before.machine)
            .saturating_sub(after.engine.saturating_sub(before.engine))
            .saturating_sub(after.databases.saturating_sub(before.databases))
            .saturating_sub(load)
    }

    fn used(&self) -> Used {
        let cpu = |pid| process::cpu(pid).unwrap_or_default();
        Used {
            engine: self.pids.iter().copied().map(cpu).sum(),
            databases: self.databases.pids().into_iter().map(cpu).sum(),
            load: cpu(std::process::id()),
            machine: process::machine_cpu().unwrap_or_default(),
        }
    }

    /// Returns the costs of all orders, those of the warm-up included, because databases publish them late.
    async fn costs(&self) -> Result<Costs> {
        let disk_bytes =
            self.pids.iter().copied().chain(self.databases.pids()).map(process::disk_bytes).sum();
        let memory = self.pids.iter().map(|pid| process::memory_bytes(*pid)).collect::<Option<Vec<_>>>();
        let written = self.databases.written().await?;
        #[allow(clippy::cast_precision_loss)] // Neither orders nor bytes reach 2⁵³.
        let each = |all: Option<u64>| all.map(|all| all as f64 / self.accepted.len() as f64);
        Ok(Costs {
            log_bytes_per_order: each(written.log_bytes),
            log_syncs_per_order: each(written.log_syncs),
            disk_bytes_per_order: each(disk_bytes),
            memory_bytes: memory.as_ref().map(|all| all.iter().map(|(now, _)| now).sum()),
            memory_peak_bytes: memory.as_ref().map(|all| all.iter().map(|(_, peak)| peak).sum()),
        })
    }
}

/// Returns the meaning of the two latencies in the report, of events and of orders.
pub(crate) fn latency_meanings(args: &Args, is_apart: bool) -> [&'static str; 2] {
    let delivery = match (is_apart, args.watch) {
        (_, Watch::None) => "no subscribers",
        (false, _) => "from the commit of an event to its subscriber; of events that were delivered live",
        (true, _) => {
            "from the time of an order's last event (before its commit, cut to a millisecond) to its frame"
        }
    };
    let life = match (is_apart, args.watch) {
        (false, Watch::None) => "from the submission to the commit of the last event",
        (false, _) => "from the submission to the commit of the last event, all of them delivered",
        (true, Watch::None) => {
            "from the order's creation to its last event, as the server lists them: milliseconds"
        }
        (true, _) => "from the request to the last frame",
    };
    [delivery, life]
}
