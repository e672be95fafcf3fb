//! What can be set on the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Loads an engine with orders on a simulated venue that takes no time, measures it, and checks that
/// every order executed once and that every event was delivered once and in order.
///
/// Closed loop unless a rate is given: as many callers as there are clients, each of which sends its next
/// order when the last one has ended (or was accepted, where ends are not watched).
#[derive(Clone, Debug, Parser)]
#[command(name = "load", max_term_width = 100)]
pub(crate) struct Args {
    /// Where orders are kept. A database server is started for it, and ends with it.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    pub(crate) store: Store,

    /// What is driven: the engine within this process, or the server as a process of its own.
    #[arg(long, value_enum, default_value_t = Over::Engine)]
    pub(crate) over: Over,

    /// How engines tell each other what they committed.
    #[arg(long, value_enum, default_value_t = Fanout::Own)]
    pub(crate) fanout: Fanout,

    /// Who follows the orders while they execute.
    #[arg(long, value_enum, default_value_t = Watch::All)]
    pub(crate) watch: Watch,

    /// How many orders a run in closed loop executes.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) orders: usize,

    /// How many runs, of which the median counts.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub(crate) runs: usize,

    /// How many orders are executed before the first run, unmeasured.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) warm_up: usize,

    /// How many callers there are; over HTTP each has a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// How many orders are executed at a time.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) slots: usize,

    /// Open loop: so many orders arrive in a second, whether or not earlier ones have ended. Latencies
    /// count from the moment at which an order should have been sent.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Open loop at each of these rates, one after the other.
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = rate, conflicts_with = "rate")]
    pub(crate) sweep: Vec<f64>,

    /// How long orders arrive in a run in open loop.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,

    /// When orders arrive in open loop.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,

    /// What the random arrivals follow from.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// The server's program [default: the one of this workspace, built when it is not up to date].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,

    /// A file for everything that was measured.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// A file for a picture of a sweep: throughput and latencies over the load, as SVG.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub(crate) plot: Option<PathBuf>,
}

/// Where orders are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// In the memory of the process, which forgets them.
    Memory,
    /// In a file, with `synchronous=FULL`.
    Sqlite,
    /// In a PostgreSQL server with its own defaults: every commit waits for the disk.
    Postgres,
    /// In a Redis server that syncs every write before it answers (`appendfsync always`).
    Redis,
    /// In a Redis server that syncs once a second, and so may lose the last orders: a weaker promise,
    /// to be listed apart.
    RedisEverysec,
}

/// What is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// The engine in this process, through the apalis worker.
    Engine,
    /// The server, over HTTP and WebSocket.
    Http,
}

/// How engines tell each other what they committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fanout {
    /// Not at all.
    None,
    /// By the store, where it can; not at all where not.
    Own,
    /// By NOTIFY and LISTEN.
    Postgres,
    /// By PUBLISH and SUBSCRIBE.
    Redis,
}

/// Who follows the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Watch {
    /// Nobody.
    None,
    /// Each order has a subscriber of its own, over HTTP a WebSocket.
    All,
    /// Each order has a subscriber of its own at another engine over the same store, which executes
    /// nothing and hears of it by the fan-out: the way from process to process. Only with the engine.
    Elsewhere,
}

/// When orders arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// At equal distances.
    Even,
    /// At random, as those of many independent callers do.
    Poisson,
}

impl Args {
    /// The offered rates; none for the closed loop.
    pub(crate) fn rates(&self) -> Vec<Option<f64>> {
        let rates: Vec<_> = self.sweep.iter().copied().chain(self.rate).map(Some).collect();
        if rates.is_empty() { vec![None] } else { rates }
    }

    /// Checks what is no matter of one setting alone.
    ///
    /// # Errors
    /// Why the settings make no sense together.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let has_own = !matches!(self.store, Store::Memory | Store::Sqlite);
        if self.over == Over::Http && self.watch == Watch::Elsewhere {
            return Err("--watch elsewhere is measured with --over engine");
        }
        if self.over == Over::Http && self.fanout == Fanout::None && has_own {
            return Err("the server always joins the fan-out of its store: there is no --fanout none");
        }
        if self.watch == Watch::Elsewhere && self.store == Store::Memory {
            return Err("nobody elsewhere sees a store in memory");
        }
        if self.watch == Watch::Elsewhere
            && (self.fanout == Fanout::None || (!has_own && self.fanout == Fanout::Own))
        {
            return Err("--watch elsewhere needs a --fanout");
        }
        Ok(())
    }
}

/// The name under which a value is chosen.
pub(crate) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) => Err("it must be 1 to 1000000 a second".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
