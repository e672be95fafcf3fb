//! The simulated chain as a program: JSON-RPC over HTTP, in the shapes of public nodes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use order_engine_core::Runtime;
use order_engine_core::telemetry::chain;
use order_engine_sim::{FaultConfig, NonceConfig, NonceKind, Rate, SimConfig, SimError, Simulator, rpc};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A simulated chain with two exchanges, behind JSON-RPC.
///
/// Its ledger is the only record of what was executed. Rates are decimal numbers from 0 to 1, or
/// percentages: 0.1 or 10%.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The port to listen on; 0 takes a free one and prints it
    #[arg(long, env = "PORT", default_value_t = 8899)]
    port: u16,
    /// The address to listen on
    #[arg(long, env = "HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The seed of all random numbers
    #[arg(long, env = "SIM_SEED", default_value_t = 0)]
    seed: u64,
    /// The length of a slot, in milliseconds
    #[arg(long, env = "SIM_SLOT_MS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    slot_ms: u64,
    /// The least time from one level of certainty to the next, in milliseconds
    #[arg(long, env = "SIM_STEP_MS", default_value_t = 400)]
    step_ms: u64,
    /// How often a transaction is accepted and then forgotten
    #[arg(long, env = "SIM_DROP_RATE", default_value_t = Rate::NEVER)]
    drop_rate: Rate,
    /// How often the reply is lost after a transaction was accepted
    #[arg(long, env = "SIM_LOST_REPLY_RATE", default_value_t = Rate::NEVER)]
    lost_reply_rate: Rate,
    /// How often a transaction lands late, by up to 20 slots
    #[arg(long, env = "SIM_DELAY_RATE", default_value_t = Rate::NEVER)]
    delay_rate: Rate,
    /// How often a transaction lands in a block that is abandoned
    #[arg(long, env = "SIM_REORG_RATE", default_value_t = Rate::NEVER)]
    reorg_rate: Rate,
    /// How often a node that is behind answers a call; it reports its own heights
    #[arg(long, env = "SIM_NODE_LAG_RATE", default_value_t = Rate::NEVER)]
    node_lag_rate: Rate,
    /// The number of slots by which such a node is behind
    #[arg(long, env = "SIM_NODE_LAG_SLOTS", default_value_t = 60)]
    node_lag_slots: u64,
    /// How often another trader front-runs a transaction, so that it lands and reverts
    #[arg(long, env = "SIM_FAIL_RATE", default_value_t = Rate::NEVER)]
    fail_rate: Rate,
    /// How often a node that keeps only recent landings answers a search
    #[arg(long, env = "SIM_HISTORY_PRUNE_RATE", default_value_t = Rate::NEVER)]
    history_prune_rate: Rate,
    /// The number of slots that such a node keeps
    #[arg(long, env = "SIM_HISTORY_KEPT_SLOTS", default_value_t = 40)]
    history_kept_slots: u64,
    #[command(flatten)]
    nonces: NonceArgs,
    /// A file with a line of JSON per landing, written before any answer reveals it, and read at the start
    #[arg(long, env = "SIM_LEDGER")]
    ledger: Option<PathBuf>,
}

/// What bounds transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Validity {
    /// They expire at a height.
    Height,
    /// They have numbers of accounts as nonces, and wait in a mempool for a block.
    Nonce,
    /// The same with opaque values of accounts, of which nobody can foretell the next one.
    DurableNonce,
}

impl Validity {
    const fn nonce_kind(self) -> Option<NonceKind> {
        match self {
            Self::Height => None,
            Self::Nonce => Some(NonceKind::Numbers),
            Self::DurableNonce => Some(NonceKind::Opaque),
        }
    }
}

/// The chain whose transactions have nonces. All of it but the first has no meaning with `--validity height`.
#[derive(Debug, clap::Args)]
struct NonceArgs {
    /// What bounds transactions
    #[arg(long, env = "SIM_VALIDITY", value_enum, default_value_t = Validity::Height)]
    validity: Validity,
    /// The number of accounts over which orders are spread
    #[arg(long, env = "SIM_ACCOUNTS", default_value_t = NonceConfig::default().accounts)]
    accounts: usize,
    /// The most transactions in a block
    #[arg(long, env = "SIM_BLOCK_CAPACITY", default_value_t = NonceConfig::default().block_capacity)]
    block_capacity: usize,
    /// The fee below which a block takes no transaction; a new transaction offers the double of it
    #[arg(long, env = "SIM_BASE_FEE", default_value_t = NonceConfig::default().base_fee)]
    base_fee: u64,
    /// How often, for each account and slot, somebody else uses the account's next nonce
    #[arg(long, env = "SIM_FOREIGN_RATE", default_value_t = Rate::NEVER)]
    foreign_rate: Rate,
    /// The most blocks that are abandoned at once; `--reorg-rate` is how often that happens in a slot
    #[arg(long, env = "SIM_REORG_SLOTS", default_value_t = 8)]
    reorg_slots: u64,
    /// How often the nodes lose a transaction of an abandoned block
    #[arg(long, env = "SIM_REORG_LOSS_RATE", default_value_t = Rate::NEVER)]
    reorg_loss_rate: Rate,
    /// How often, for each slot, the nodes forget a transaction that waits for a block
    #[arg(long, env = "SIM_EVICTION_RATE", default_value_t = Rate::NEVER)]
    eviction_rate: Rate,
    /// How often the base fee is high for a period
    #[arg(long, env = "SIM_FEE_SPIKE_RATE", default_value_t = Rate::NEVER)]
    fee_spike_rate: Rate,
    /// The slots of such a period
    #[arg(long, env = "SIM_FEE_SPIKE_SLOTS", default_value_t = 50)]
    fee_spike_slots: u64,
    /// The base fee in such a period, in percent of the usual one
    #[arg(long, env = "SIM_FEE_SPIKE_PERCENT", default_value_t = 500)]
    fee_spike_percent: u32,
}

/// The most slots of a delay.
const DELAY_SLOTS: u64 = 20;

/// The reason why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the chain")]
    Sim(#[from] SimError),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("cannot serve")]
    Serve(#[source] io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("sim-venue: {}", chain(&fatal));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Fatal> {
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| Fatal::Listen(address, error))?;
    let local = listener.local_addr().map_err(|error| Fatal::Listen(address, error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Fatal::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Fatal::Signals)?;
    let simulator = Simulator::open(config(args), Runtime::tokio()).await?;
    println!("listening on http://{local}");
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    rpc::serve(listener, simulator, shutdown).await.map_err(Fatal::Serve)
}

fn config(args: Args) -> SimConfig {
    let nonces = args.nonces;
    SimConfig {
        seed: args.seed,
        step_delay: Duration::from_millis(args.step_ms),
        fail_rate: args.fail_rate,
        slot: Duration::from_millis(args.slot_ms),
        ledger: args.ledger,
        faults: FaultConfig {
            drop_rate: args.drop_rate,
            lost_reply_rate: args.lost_reply_rate,
            delay_rate: args.delay_rate,
            delay_slots: DELAY_SLOTS,
            reorg_rate: args.reorg_rate,
            node_lag_rate: args.node_lag_rate,
            node_lag_slots: args.node_lag_slots,
            history_prune_rate: args.history_prune_rate,
            history_kept_slots: args.history_kept_slots,
            foreign_rate: nonces.foreign_rate,
            reorg_slots: nonces.reorg_slots,
            reorg_loss_rate: nonces.reorg_loss_rate,
            eviction_rate: nonces.eviction_rate,
            fee_spike_rate: nonces.fee_spike_rate,
            fee_spike_slots: nonces.fee_spike_slots,
            fee_spike_percent: nonces.fee_spike_percent,
            ..FaultConfig::default()
        },
        nonces: nonces.validity.nonce_kind().map(|kind| NonceConfig {
            kind,
            accounts: nonces.accounts,
            block_capacity: nonces.block_capacity,
            base_fee: nonces.base_fee,
        }),
        ..SimConfig::default()
    }
}
