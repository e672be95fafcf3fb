//! `order-engine`: places and follows orders, and operates servers, over their HTTP interface.

mod args;
mod client;
mod commands;
mod failure;
mod output;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use order_engine_client::Settings;

use crate::args::{Args, Command, Connection};
use crate::client::Client;
use crate::commands::{operate, orders, overview, top, watch};
use crate::failure::Failure;
use crate::output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json, std::io::stdout().is_terminal());
    match run(args, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has enough, as `head` does.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    if let Command::Completions { shell } = args.command {
        clap_complete::generate(shell, &mut Args::command(), "order-engine", &mut std::io::stdout());
        return Ok(());
    }
    let client = Client::new(settings(args.connection)?)?;
    match args.command {
        Command::Submit(submit) => orders::submit(&client, output, submit).await,
        Command::Quote(swap) => orders::quote(&client, output, &swap).await,
        Command::Watch { id, after, timeout } => watch::watch(&client, output, &id, after, timeout).await,
        Command::List(list) => orders::list(&client, output, &list).await,
        Command::Show { id, operator, chain } => {
            orders::show(&client, output, &id, operator || chain, chain).await
        }
        Command::Cancel { id, operator } => orders::cancel(&client, output, &id, operator).await,
        Command::Attention => operate::attention(&client, output).await,
        Command::Resolve(resolve) => operate::resolve(&client, output, &resolve).await,
        Command::Retry { id } => operate::on_order(&client, output, &id, "retry").await,
        Command::Release { id } => operate::on_order(&client, output, &id, "release").await,
        Command::MakeDue { id } => operate::on_order(&client, output, &id, "make-due").await,
        Command::Purge { older_than } => operate::purge(&client, output, older_than).await,
        Command::Pause { activity, scope, reason } => {
            operate::pause(&client, output, activity, &scope, &reason).await
        }
        Command::Resume { activity, scope } => operate::resume(&client, output, activity, &scope).await,
        Command::Pauses => operate::pauses(&client, output).await,
        Command::Halt { reason } => operate::halt(&client, output, &reason).await,
        Command::Unhalt => operate::unhalt(&client, output).await,
        Command::Stats => overview::stats(&client, output).await,
        Command::Top { interval, once } => top::top(&client, output, interval, once).await,
        Command::Completions { .. } => Ok(()),
    }
}

/// Returns the settings of the flags, and of the environment where there are none, which clap has read, and then of the file.
fn settings(connection: Connection) -> Result<Settings, Failure> {
    let Connection { url, key, config, insecure_http } = connection;
    let settings = Settings::read(url, key, config.as_deref())?;
    Ok(if insecure_http { settings.with_insecure_http() } else { settings })
}
