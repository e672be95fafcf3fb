//! The settings, from flags and from the environment.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use order_engine_core::{Amount, FeeBumpPolicy};
use order_engine_sim::{NonceConfig, Rate};

use crate::address::PublicUrl;
use crate::auth::commands::Command;
use crate::auth::settings::AuthSettings;
use crate::backend::{FanoutUrl, StoreUrl};
use crate::chain_file::ChainFile;
use crate::limits::settings::LimitSettings;
use crate::secret_url::{SecretUrl, VenueUrl};
use crate::shutdown::ShutdownTimes;
use crate::tls::settings::TlsSettings;
use crate::webhooks::settings::WebhookSettings;

/// Executes orders on simulated exchanges, durably, over HTTP and WebSocket.
#[derive(Clone, Debug, Parser)]
#[command(name = "order-engine-server", version, max_term_width = 100)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on.
    #[arg(long, env = "HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_parser = address)]
    pub host: IpAddr,

    /// The port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    /// Listen on a public address without authentication: every client that reaches it can trade.
    #[arg(long, env = "ALLOW_PUBLIC_UNAUTHENTICATED", value_parser = BoolishValueParser::new())]
    pub allow_public_unauthenticated: bool,

    /// The store of the orders: `sqlite:PATH`, which is created if it is missing, `postgres://…`,
    /// `redis://…`, or `memory:`, which keeps orders until the process ends.
    #[arg(
        long = "store",
        env = "STORE_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = SecretUrl::<StoreUrl>::parser(),
        default_value = "sqlite:data/orders.db"
    )]
    pub store: StoreUrl,

    /// What carries hints between the processes that share a store: `postgres://…` or `redis://…` [default:
    /// the store itself, if it can].
    #[arg(
        long = "fanout",
        env = "FANOUT_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = SecretUrl::<FanoutUrl>::parser()
    )]
    pub fanout: Option<FanoutUrl>,

    /// Accept a store that may lose its last orders if its machine fails. A lost order may be executed again.
    #[arg(long, env = "ACCEPT_BOUNDED_LOSS", value_parser = BoolishValueParser::new())]
    pub accept_bounded_loss: bool,

    /// How many orders are executed at a time. An order that waits does not count.
    #[arg(long, env = "WORKERS", default_value_t = 10, value_parser = at_least_one)]
    pub workers: usize,

    /// The chain to trade on, as a file describes it: `evm:FILE` or `solana:FILE` [default: the simulator].
    #[arg(long, env = "VENUE", value_name = "CHAIN:FILE", conflicts_with = "venue_url")]
    pub venue: Option<ChainFile>,

    /// The URL of the venue: a node with the JSON-RPC of `sim-venue` [default: a simulator in this process].
    #[arg(long, env = "VENUE_URL", hide_env_values = true, value_name = "URL", value_parser = SecretUrl::<VenueUrl>::parser())]
    pub venue_url: Option<VenueUrl>,

    /// What bounds the transactions of the venue behind `--venue-url` [default: the node is asked at the start, and waited
    /// for; the role `api` sends none and does not ask].
    #[arg(long, env = "VENUE_VALIDITY", value_enum, requires = "venue_url")]
    pub venue_validity: Option<TxBound>,

    /// What this process does. The roles `api` and `worker` need `--venue-url` or `--venue`, and a store that processes
    /// share.
    #[arg(long, env = "ROLE", value_enum, default_value_t = Role::All)]
    pub role: Role,

    /// After a crash, how long the orders of the dead process wait before another one claims them, in
    /// milliseconds.
    #[arg(long, env = "LEASE_MS", default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub lease_ms: u64,

    #[allow(missing_docs)] // It would stand in the help.
    #[command(flatten)]
    pub fee_bumps: FeeBumpSettings,

    /// The seed of the simulator's randomness.
    #[arg(long, env = "SIM_SEED", default_value_t = 0)]
    pub sim_seed: u64,

    /// How long one step of the simulated exchanges takes, in milliseconds.
    #[arg(long, env = "SIM_DELAY_MS", default_value_t = 150, value_name = "MS")]
    pub sim_delay_ms: u64,

    /// How often another trade moves the price before a transaction, so that it fails: `0.05`, or `5%`.
    #[arg(long, env = "SIM_FAIL_RATE", default_value = "0.05", value_name = "RATE")]
    pub sim_fail_rate: Rate,

    /// What bounds the transactions of the simulated chain.
    #[arg(long, env = "SIM_VALIDITY", value_enum, default_value_t = TxBound::Height)]
    pub sim_validity: TxBound,

    /// The number of accounts over which the simulator spreads orders, with `--sim-validity nonce`.
    #[arg(long, env = "SIM_ACCOUNTS", default_value_t = NonceConfig::default().accounts, value_parser = at_least_one)]
    pub sim_accounts: usize,

    /// The file in which the simulator records what it executed [default: next to the store].
    #[arg(long, env = "SIM_LEDGER", value_name = "PATH")]
    pub sim_ledger: Option<PathBuf>,

    /// How long a shutdown may take after its drain, in seconds. Orders that are not finished then continue after the next
    /// start.
    #[arg(long, env = "SHUTDOWN_TIMEOUT", default_value_t = 10, value_name = "SECONDS")]
    pub shutdown_timeout: u64,

    /// For how long a shutdown goes on serving although `/ready` answers 503, in seconds, so that balancers send clients
    /// elsewhere first.
    #[arg(long, env = "DRAIN", default_value_t = 0, value_name = "SECONDS")]
    pub drain: u64,

    /// The address under which clients reach this server [default: the one they used].
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// A JSON file with a list of `{symbol, mint, decimals}` that replaces the registered tokens.
    #[arg(long, env = "TOKENS", value_name = "PATH")]
    pub tokens: Option<PathBuf>,

    /// A name under which clients reach this server, without a port, or `*`; may be given more than once. It always
    /// answers under `localhost`, loopback addresses and the public URL, and under any address if it listens on more than
    /// the loopback.
    #[arg(long = "allowed-host", env = "ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,

    /// An origin whose pages may call this server from a browser, or `*`; may be given more than once.
    #[arg(long = "allowed-origin", env = "ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,

    /// How many connections are served at a time, live streams aside; further ones are told to try again.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 16_384, value_parser = at_least_one)]
    pub max_connections: usize,

    /// How many connections one address may have, live streams included; of IPv6, a network of 64 bits. A proxy's address
    /// needs as many as its clients do [default: 1024, and no bound for the loopback].
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", value_parser = at_least_one)]
    pub max_connections_per_address: Option<usize>,

    /// How many live streams may be open at a time.
    #[arg(long, env = "MAX_SOCKETS", default_value_t = 10_000)]
    pub max_sockets: usize,

    /// How many live streams of one order may be open at a time.
    #[arg(long, env = "MAX_SOCKETS_PER_ORDER", default_value_t = 100)]
    pub max_sockets_per_order: usize,

    /// The price impact that an order may have if it does not say, in basis points.
    #[arg(long, env = "MAX_PRICE_IMPACT_BPS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub max_price_impact_bps: u16,

    #[allow(missing_docs)] // It would stand in the help.
    #[command(flatten)]
    pub auth: AuthSettings,

    #[allow(missing_docs)] // It would stand in the help.
    #[command(flatten)]
    pub limits: LimitSettings,

    #[allow(missing_docs)] // It would stand in the help.
    #[command(flatten)]
    pub webhooks: WebhookSettings,

    /// A file to which every act of an operator is added, one JSON line each. An act that cannot be recorded is refused.
    #[arg(long, env = "AUDIT_LOG", value_name = "FILE", global = true)]
    pub audit_log: Option<PathBuf>,

    #[allow(missing_docs)] // It would stand in the help.
    #[command(flatten)]
    pub tls: TlsSettings,

    /// What the program does instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Write a line of the log for each request, under the target `order_engine::access`.
    #[arg(long, env = "ACCESS_LOG", value_parser = BoolishValueParser::new())]
    pub access_log: bool,

    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Which log lines are written, as `level` or `target=level,…`.
    #[arg(long, env = "RUST_LOG", default_value = "info,apalis_core=warn", value_name = "FILTER")]
    pub log: String,
}

impl Config {
    /// Reads the flags and the environment of this process, in which an empty variable is one that is not set. Prints the
    /// help, or what is wrong, and ends the process where they make no configuration.
    pub fn of_process() -> Self {
        let is_empty = |name: &OsStr| {
            std::env::var_os(name)
                .is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()))
        };
        let command = Self::command().mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(None::<&'static str>),
            _ => arg,
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Returns how long the phases of a shutdown may take.
    pub const fn shutdown_times(&self) -> ShutdownTimes {
        ShutdownTimes {
            drain: Duration::from_secs(self.drain),
            timeout: Duration::from_secs(self.shutdown_timeout),
        }
    }

    /// Checks that the configuration fits the role.
    ///
    /// # Errors
    /// If the role needs a venue or a store that processes share, and the configuration has none.
    pub fn check_role(&self) -> Result<(), InvalidRole> {
        match self.role {
            Role::All => Ok(()),
            role if self.venue_url.is_none() && self.venue.is_none() => {
                Err(InvalidRole::NoVenue(role.as_str()))
            }
            role if !self.store.is_shared() => Err(InvalidRole::NoStore(role.as_str())),
            Role::Api | Role::Worker => Ok(()),
        }
    }

    /// Returns the file in which the simulator records what it executed. There is none if it is not set and
    /// the store keeps nothing.
    pub fn ledger(&self) -> Option<PathBuf> {
        self.sim_ledger.clone().or_else(|| self.store.beside("ledger.jsonl"))
    }
}

/// When a transaction that no block takes is sent again for a higher fee. It matters only on a chain whose transactions
/// have nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct FeeBumpSettings {
    /// After how many heights a transaction that no block takes is sent again for a higher fee.
    #[arg(long, env = "FEE_BUMP_AFTER_HEIGHTS", default_value_t = FeeBumpPolicy::default().after_heights, value_name = "HEIGHTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub fee_bump_after_heights: u64,

    /// The higher fee, in percent of the last one. Most chains want 110 at least.
    #[arg(long, env = "FEE_BUMP_PERCENT", default_value_t = FeeBumpPolicy::default().fee_percent, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(101..))]
    pub fee_bump_percent: u32,

    /// How often one attempt of an order gets a higher fee. After that the order waits, and calls for an operator.
    #[arg(long, env = "FEE_BUMPS_MAX", default_value_t = FeeBumpPolicy::default().max_bumps, value_name = "COUNT")]
    pub fee_bumps_max: usize,

    /// The most that a transaction may be raised to, in base units of the chain's own token [default: no limit].
    #[arg(long, env = "FEE_MAX", value_name = "AMOUNT")]
    pub fee_max: Option<Amount>,
}

impl FeeBumpSettings {
    /// Returns the engine's policy.
    pub fn policy(&self) -> FeeBumpPolicy {
        FeeBumpPolicy::default()
            .with_after_heights(self.fee_bump_after_heights)
            .with_fee_percent(self.fee_bump_percent)
            .with_max_bumps(self.fee_bumps_max)
            .with_max_fee(self.fee_max)
    }
}

/// What bounds the transactions of the simulated chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum TxBound {
    /// They expire at a height.
    Height,
    /// They have nonces of accounts, and wait for a block.
    Nonce,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Role {
    /// Serves clients and executes orders.
    All,
    /// Serves clients; other processes execute the orders.
    Api,
    /// Executes orders, and serves only `/health`, `/ready` and `/metrics`.
    Worker,
}

/// Why the configuration does not fit the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRole {
    /// There is no URL of a venue, so each process would have a chain of its own.
    #[error("--role {0} needs --venue-url or --venue: processes that share orders must trade on one venue")]
    NoVenue(&'static str),
    /// The store is in memory, so no other process could see the orders.
    #[error("--role {0} needs a store that processes share, and memory is none")]
    NoStore(&'static str),
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Reads an address to listen on.
fn address(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| "must be an IP address, or localhost".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from([&["order-engine-server"], arguments].concat())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = parse(&[]).unwrap();
        assert!(config.host.is_loopback());
        assert_eq!((config.port, config.workers), (3000, 10));
        assert_eq!(config.ledger().as_deref(), Some(Path::new("data/orders.ledger.jsonl")));
        assert_eq!(config.sim_fail_rate, Rate::from_percent(5).unwrap());
        assert_eq!((config.sim_validity, config.sim_accounts), (TxBound::Height, 4));
        assert_eq!((config.lease_ms, config.fee_bumps.policy()), (10_000, FeeBumpPolicy::default()));
    }

    #[test]
    fn the_policy_of_higher_fees_is_set() {
        let arguments =
            "--fee-bump-after-heights 12 --fee-bump-percent 150 --fee-bumps-max 3 --fee-max 70000";
        let config = parse(&arguments.split(' ').collect::<Vec<_>>()).unwrap();
        let expected = FeeBumpPolicy::default()
            .with_after_heights(12)
            .with_fee_percent(150)
            .with_max_bumps(3)
            .with_max_fee(Some(Amount::new(70_000)));
        assert_eq!(config.fee_bumps.policy(), expected);
    }

    #[test]
    fn a_host_may_be_localhost() {
        assert!(parse(&["--host", "localhost"]).unwrap().host.is_loopback());
        assert_eq!(parse(&["--host", "0.0.0.0"]).unwrap().host, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(parse(&["--host", "example.org"]).unwrap_err().to_string().contains("or localhost"));
    }

    #[test]
    fn a_memory_store_has_no_ledger_unless_one_is_set() {
        assert_eq!(parse(&["--store", "memory:"]).unwrap().ledger(), None);
        let config = parse(&["--store", "memory:", "--sim-ledger", "x.jsonl"]).unwrap();
        assert_eq!(config.ledger().as_deref(), Some(Path::new("x.jsonl")));
    }

    #[test]
    fn separate_processes_need_what_they_share() {
        let role = |arguments: &[&str]| parse(arguments).unwrap().check_role();
        let venue = ["--venue-url", "http://127.0.0.1:8899"];
        assert_eq!(role(&[]), Ok(()));
        assert_eq!(role(&["--role", "worker"]), Err(InvalidRole::NoVenue("worker")));
        assert_eq!(role(&["--role", "api"]), Err(InvalidRole::NoVenue("api")));
        for name in ["worker", "api"] {
            assert_eq!(role(&[&venue[..], &["--role", name]].concat()), Ok(()));
            let in_memory = role(&[&venue[..], &["--role", name, "--store", "memory:"]].concat());
            assert!(matches!(in_memory, Err(InvalidRole::NoStore(_))));
        }
    }

    #[cfg(all(feature = "postgres", feature = "redis"))]
    #[test]
    fn passwords_and_keys_of_urls_are_not_shown() {
        const SECRET: &str = "planted-canary";
        let (store, fanout) = (format!("postgres://a:{SECRET}@db/d"), format!("redis://:{SECRET}@cache"));
        let venue = format!("https://a:{SECRET}@node/{SECRET}?key={SECRET}");
        let config = parse(&["--store", &store, "--fanout", &fanout, "--venue-url", &venue]).unwrap();
        assert_eq!(config.venue_url.as_ref().map(VenueUrl::as_str), Some(&*venue));
        for text in [format!("{config:?}"), format!("{config:#?}")] {
            assert!(!text.contains(SECRET), "{text}");
        }
        for scheme in ["postgres", "redis", "rediss", "sqlite", "mysql", "memory"] {
            for rest in ["@[db", "@db:port/d", "@db/d?pooling=x&schema=X", "?mode=ro"] {
                let url = format!("{scheme}://alice:{SECRET}{rest}");
                for name in ["--store", "--fanout", "--venue-url"] {
                    let Err(error) = parse(&[name, &url]) else { continue };
                    for text in [error.to_string(), format!("{error:?}")] {
                        assert!(text.contains(name) && !text.contains(SECRET), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn invalid_settings_are_refused_by_name() {
        for (arguments, name) in [
            (["--store", "mysql://host/db"], "--store"),
            (["--fanout", "sqlite:orders.db"], "--fanout"),
            (["--workers", "0"], "--workers"),
            (["--sim-fail-rate", "1.5"], "--sim-fail-rate"),
            (["--port", "70000"], "--port"),
            (["--fee-bump-percent", "100"], "--fee-bump-percent"),
            (["--fee-max", "0.5"], "--fee-max"),
            (["--sim-validity", "blockhash"], "--sim-validity"),
            (["--venue-validity", "height"], "--venue-url"),
            (["--sim-accounts", "0"], "--sim-accounts"),
        ] {
            let message = parse(&arguments).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
