//! The settings on the command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Loads an engine with orders on a simulated venue that takes no time, measures it, and checks that every
/// order was executed once and that every event was delivered once and in order.
///
/// Without a rate the load is a closed loop: each client submits its next order when its last one has ended,
/// or was accepted if ends are not watched.
#[derive(Clone, Debug, Parser)]
#[command(args_override_self = true, name = "load", max_term_width = 100)]
pub(crate) struct Args {
    /// The store of the orders. Its database server is started for the load, and ends with it.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    pub(crate) store: Store,

    /// The target of the load: the engine in this process, or the server in a process of its own.
    #[arg(long, value_enum, default_value_t = Over::Engine)]
    pub(crate) over: Over,

    /// The fan-out by which engines tell each other of their commits.
    #[arg(long, value_enum, default_value_t = Fanout::Own)]
    pub(crate) fanout: Fanout,

    /// The subscribers that follow the orders.
    #[arg(long, value_enum, default_value_t = Watch::All)]
    pub(crate) watch: Watch,

    /// The number of orders of a run in closed loop.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) orders: usize,

    /// The number of runs, of which the summary has the median.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub(crate) runs: usize,

    /// The number of orders that are executed before the first run, without measurement.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) warm_up: usize,

    /// The number of clients. Over HTTP each has a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) clients: usize,

    /// The number of orders that are executed at a time.
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) slots: usize,

    /// Open loop: this many orders arrive in a second, whether or not earlier ones have ended. Latencies
    /// count from the time at which an order should have been submitted.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Open loop at each of these rates, one after the other.
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = rate, conflicts_with = "rate")]
    pub(crate) sweep: Vec<f64>,

    /// The time during which orders arrive in a run in open loop.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,

    /// The distribution of arrivals in open loop.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,

    /// The seed of random arrivals.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// A command that loads another system once, after each run of this load, and prints a line `completed a second
    /// N`. It finds the size of the load in `LOAD_ORDERS`, `LOAD_CLIENTS` and `LOAD_WATCH`, and ends what it starts.
    /// Closed loop only.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["rate", "sweep"])]
    pub(crate) versus: Option<String>,

    /// Instead of a load: this many WebSockets follow one order, in each of `--runs` runs, and the age of its events is
    /// measured as they arrive. Over HTTP only.
    #[arg(long, value_name = "SOCKETS", value_parser = at_least_one, conflicts_with_all = ["rate", "sweep", "versus", "json"])]
    pub(crate) crowd: Option<usize>,

    /// Each stream of the crowd follows an order of its own, and only the memory of each is measured.
    #[arg(long, requires = "crowd")]
    pub(crate) apart: bool,

    /// What the streams are that follow orders apart.
    #[arg(long, value_enum, default_value_t = Stream::Websocket, requires = "apart")]
    pub(crate) stream: Stream,

    /// How long the crowd waits for the first event, in seconds, while nothing but pings is sent: what idle sockets cost.
    #[arg(long, default_value_t = 0, value_name = "SECONDS", requires = "crowd", value_parser = clap::value_parser!(u64).range(..=600))]
    pub(crate) idle: u64,

    /// The server's program [default: the one of this workspace, built when it is not up to date].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,

    /// The program of another system's server, which is loaded in place of this workspace's for a comparison. It
    /// speaks the protocol of benches/README.md. No guarantee is checked, but a subscriber that is never told the end
    /// of its order is counted. Over HTTP only.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["server", "versus", "crowd"])]
    pub(crate) rival: Option<PathBuf>,

    /// A file for the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// A file for a plot of the sweep as SVG: throughput and latencies over the load.
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub(crate) plot: Option<PathBuf>,
}

/// The store of the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// The memory of the process.
    Memory,
    /// A file, with `synchronous=FULL`.
    Sqlite,
    /// A PostgreSQL server with its own defaults: every commit waits for the disk.
    Postgres,
    /// A Redis server that syncs every write before it answers (`appendfsync always`).
    Redis,
    /// A Redis server that syncs once a second, and so may lose the last orders: a weaker guarantee, whose
    /// figures are not comparable.
    RedisEverysec,
}

/// The target of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// The engine in this process, through the apalis worker.
    Engine,
    /// The server, over HTTP and WebSocket.
    Http,
}

/// The fan-out by which engines tell each other of their commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fanout {
    /// No fan-out.
    None,
    /// The fan-out of the store, if it has one.
    Own,
    /// NOTIFY and LISTEN.
    Postgres,
    /// PUBLISH and SUBSCRIBE.
    Redis,
}

/// The subscribers that follow the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Watch {
    /// No order has a subscriber.
    None,
    /// Each order has a subscriber, over HTTP a WebSocket.
    All,
    /// Each order has a subscriber at a second engine over the same store, which executes nothing and gets
    /// the events by the fan-out, like another process. This needs the engine as the target.
    Elsewhere,
}

/// The kind of a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    /// A WebSocket.
    Websocket,
    /// Server-sent events.
    Sse,
}

/// The distribution of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Orders arrive at equal distances.
    Even,
    /// Orders arrive at random, like those of many independent callers.
    Poisson,
}

impl Args {
    /// Returns the offered rates. `None` is the closed loop.
    pub(crate) fn rates(&self) -> Vec<Option<f64>> {
        let rates: Vec<_> = self.sweep.iter().copied().chain(self.rate).map(Some).collect();
        if rates.is_empty() { vec![None] } else { rates }
    }

    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// If they do not: the reason.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let has_own = !matches!(self.store, Store::Memory | Store::Sqlite);
        if self.over == Over::Http && self.watch == Watch::Elsewhere {
            return Err("--watch elsewhere is measured with --over engine");
        }
        if self.over == Over::Http && self.fanout == Fanout::None && has_own {
            return Err("the server always joins the fan-out of its store: there is no --fanout none");
        }
        if self.crowd.is_some() && self.over != Over::Http {
            return Err("--crowd is measured with --over http");
        }
        if self.rival.is_some() && self.over != Over::Http {
            return Err("--rival is loaded with --over http");
        }
        if self.watch == Watch::Elsewhere && self.store == Store::Memory {
            return Err("another engine cannot open a store in memory");
        }
        if self.watch == Watch::Elsewhere
            && (self.fanout == Fanout::None || (!has_own && self.fanout == Fanout::Own))
        {
            return Err("--watch elsewhere needs a --fanout");
        }
        Ok(())
    }
}

/// Returns the name of a value on the command line.
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
