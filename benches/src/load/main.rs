//! Loads an engine or a server with orders, measures it, and checks its guarantees.
//!
//! `cargo run --release -p order-engine-benches --bin load -- --help`

mod apart;
mod args;
mod commits;
mod crowd;
mod databases;
mod drive;
mod engine;
mod error;
mod http;
mod ledger;
mod measure;
mod pace;
mod plot;
mod process;
mod report;
mod rival;
mod server;
mod socket;
mod stats;
mod versus;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use order_engine_core::{EngineConfig, OrderId};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Over, Watch, name};
use databases::Databases;
use engine::InProcess;
use error::{Error, Result};
use measure::{Series, latency_meanings};
use order_engine_core::telemetry::chain;
use report::{Costs, Report, Setting, Step};
use rival::Rival;
use server::Server;

fn main() -> ExitCode {
    let args = Args::parse();
    let done =
        args.check().map_err(Error::from).and_then(|()| runtime(&args)?.block_on(run_until_signal(&args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns a runtime with all cores for an engine in this process, or with one thread for a load on the
/// server.
fn runtime(args: &Args) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if args.over == Over::Http {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

/// Runs the load to its end, or until a signal ends it. The servers end with it in any case.
async fn run_until_signal(args: &Args) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(args) => done,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

async fn run(args: &Args) -> Result<()> {
    let databases = Databases::start(args).await?;
    if let Some(streams) = args.crowd.filter(|_| args.apart) {
        return apart::run(args, &databases, streams).await;
    }
    if let Some(sockets) = args.crowd {
        return crowd::run(args, &databases, sockets).await;
    }
    let report = match (args.over, &args.rival) {
        (Over::Http, Some(program)) => {
            let target = Arc::new(Rival::start(program, args, &databases).await?);
            let setting = setting(args, "unchecked".to_owned())?;
            println!("{setting}\n");
            let series = Series::new(args, &databases, Arc::clone(&target), target.pids());
            let (steps, costs, accepted) = series.run().await?;
            let never_told = target.stop().await?;
            let checked = format!(
                "{} orders confirmed, by the other system's word; {never_told} subscribers were never told the end",
                accepted.len()
            );
            Report { setting, steps, costs, checked }
        }
        (Over::Engine, _) => {
            let target = Arc::new(InProcess::start(args, &databases).await?);
            let setting = setting(args, format!("{:?}", target.durability()))?;
            println!("{setting}\n");
            let series = Series::new(args, &databases, Arc::clone(&target), vec![std::process::id()]);
            let measured = series.run().await?;
            conclude(args, setting, measured, target.stop().await?)?
        }
        (Over::Http, None) => {
            let target = Arc::new(Server::start(args, &databases).await?);
            let setting = setting(args, target.durability().to_owned())?;
            println!("{setting}\n");
            let series = Series::new(args, &databases, Arc::clone(&target), vec![target.pid()]);
            let measured = series.run().await?;
            conclude(args, setting, measured, target.stop().await?)?
        }
    };
    println!("{report}");
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot::svg(&report))?;
    }
    Ok(())
}

fn setting(args: &Args, durability: String) -> Result<Setting> {
    let [delivery, life] = latency_meanings(args, args.over == Over::Http);
    Ok(Setting {
        over: name(&args.over),
        store: name(&args.store),
        durability,
        fanout: name(&args.fanout),
        watch: name(&args.watch),
        slots: args.slots,
        commit_batch: EngineConfig::default().commit_batch,
        clients: args.clients,
        arrivals: args.rates().iter().any(Option::is_some).then(|| name(&args.arrivals)),
        cores: std::thread::available_parallelism()?.get(),
        processor: process::processor().unwrap_or_else(|| "an unknown processor".to_owned()),
        delivery,
        life,
    })
}

/// Checks the ledger, and returns the report.
fn conclude(
    args: &Args,
    setting: Setting,
    (steps, costs, accepted): (Vec<Step>, Costs, Vec<OrderId>),
    executed: BTreeMap<OrderId, usize>,
) -> Result<Report> {
    ledger::check(&accepted, executed)?;
    let delivered = match args.watch {
        Watch::None => "",
        Watch::All | Watch::Elsewhere => "; every event of each was delivered once and in order",
    };
    let checked = format!("{} orders confirmed, each executed once by the ledger{delivered}", accepted.len());
    Ok(Report { setting, steps, costs, checked })
}
