//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use order_engine_client::Secret;

/// Places and follows orders, and operates servers of order-engine.
///
/// Exit codes: 0 done; 1 the server answered what makes no sense, or the output cannot be written; 2 usage; 3 refused;
/// 4 the server cannot be reached, or cannot serve now: try again; 5 the order failed; 6 the credential is missing, wrong,
/// or does not allow it; 7 in doubt: what was asked may have been done.
#[derive(Debug, Parser)]
#[command(name = "order-engine", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Write JSON, one document a line, as the server answers it.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the server is, and who asks. What no flag says is read from the environment, and then from the file.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Connection {
    /// The address of the server [default: `http://127.0.0.1:3000`].
    #[arg(long, env = "ORDER_ENGINE_URL", value_name = "URL", global = true)]
    pub(crate) url: Option<String>,

    /// The API key or token. Others see the flags of a process, so rather set it in the environment or in the file.
    #[arg(long, env = "ORDER_ENGINE_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    pub(crate) key: Option<Secret>,

    /// The TOML file with `url`, and `key` or `key_file` [default: order-engine/cli.toml in $`XDG_CONFIG_HOME` or ~/.config].
    #[arg(long, env = "ORDER_ENGINE_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Send the key over http:// to another machine, where everybody on the way can read it.
    #[arg(long, global = true)]
    pub(crate) insecure_http: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Places an order.
    Submit(Submit),
    /// Shows what routing would do now, without an order.
    Quote(Swap),
    /// Follows an order to its end, through interruptions. Misses no event.
    Watch {
        /// The order's id.
        id: String,
        /// Begin after the event of this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Give up after this time: `90s`, `5m`, `2h`.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Lists orders, the newest first.
    List(List),
    /// Shows an order.
    Show {
        /// The order's id.
        id: String,
        /// As an operator, whoever owns it. The server records it.
        #[arg(long)]
        operator: bool,
        /// And what the chain has of it; as an operator.
        #[arg(long)]
        chain: bool,
    },
    /// Cancels an order.
    Cancel {
        /// The order's id.
        id: String,
        /// As an operator, whoever owns it.
        #[arg(long)]
        operator: bool,
    },
    /// Lists the orders of all users that need an operator.
    Attention,
    /// Ends an order of unknown outcome by what an operator knows.
    Resolve(Resolve),
    /// Tries a failed order again, as a new one. However often this is called, it makes one new order.
    Retry {
        /// The order's id.
        id: String,
    },
    /// Releases an order from quarantine.
    Release {
        /// The order's id.
        id: String,
    },
    /// Ends the wait of an order for its next attempt.
    MakeDue {
        /// The order's id.
        id: String,
    },
    /// Deletes orders that ended long ago, with their history.
    Purge {
        /// How long ago, a day at least: `90d`.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        older_than: Duration,
    },
    /// Pauses an activity, in every process on the store, until it is resumed.
    Pause {
        /// What is paused.
        activity: Activity,
        #[command(flatten)]
        scope: Scope,
        /// Why, for other people.
        #[arg(long)]
        reason: String,
    },
    /// Ends a pause.
    Resume {
        /// What was paused.
        activity: Activity,
        #[command(flatten)]
        scope: Scope,
    },
    /// Lists what is paused.
    Pauses,
    /// The kill switch: stops accepting and sending for everything, within a second in every process on the store.
    Halt {
        /// Why, for other people.
        #[arg(long)]
        reason: String,
    },
    /// Ends what `halt` began.
    Unhalt,
    /// Shows how the engine is, and what waits.
    Stats,
    /// Shows rates, latencies and what needs an operator, live. Ctrl-C ends it.
    Top {
        /// How often it looks: `2s`.
        #[arg(long, default_value = "2s", value_name = "TIME", value_parser = duration)]
        interval: Duration,
        /// Look twice, show that once, and end.
        #[arg(long)]
        once: bool,
    },
    /// Writes the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A swap: sell so much of one token for another.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Swap {
    /// How much to sell, in units of the token: `1.5`.
    pub(crate) amount: String,
    /// The token to sell.
    pub(crate) token_in: String,
    /// The token to buy.
    pub(crate) token_out: String,
    /// By how much the output may be less than quoted, in basis points.
    #[arg(long, value_name = "BPS")]
    pub(crate) slippage_bps: Option<u16>,
    /// The price impact that is too much, in basis points.
    #[arg(long, value_name = "BPS")]
    pub(crate) max_price_impact_bps: Option<u16>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) swap: Swap,
    /// The least output, in units of the token that is bought.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) min_out: Option<String>,
    /// The name of the order. Under the same name the same order is placed once, however often this runs [default: a new one].
    #[arg(long, value_name = "NAME")]
    pub(crate) client_order_id: Option<String>,
    /// The user of the order, at a server without authentication.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Give the order up after this time: `30s`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// For how long a request is repeated, under the same name, if its answer is lost or the server cannot serve.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(crate) repeat_for: Duration,
    /// Follow it to its end.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct List {
    /// Only orders of this status.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only orders of this user.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Only orders that need an operator.
    #[arg(long)]
    pub(crate) attention: bool,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Resolve {
    /// The order's id.
    pub(crate) id: String,
    /// It was executed.
    #[arg(long, required_unless_present = "not_executed", requires = "height")]
    pub(crate) executed: bool,
    /// It was not executed and never will be. If that is wrong, and the order is repeated, it is executed twice.
    #[arg(long, conflicts_with_all = ["executed", "amount_in", "amount_out", "height"])]
    pub(crate) not_executed: bool,
    /// What was sold, in units of the token [default: all of the order].
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) amount_in: Option<String>,
    /// What was bought, in units of the token.
    #[arg(long, value_name = "AMOUNT", required_if_eq("executed", "true"))]
    pub(crate) amount_out: Option<String>,
    /// The height of the block.
    #[arg(long)]
    pub(crate) height: Option<u64>,
    /// Who knows it, and how. It is kept in the order's history.
    #[arg(long)]
    pub(crate) note: String,
}

/// For which orders: for all, if nothing is named.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Scope {
    /// For orders over this venue.
    #[arg(long)]
    pub(crate) venue: Option<String>,
    /// For orders of this user.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// For orders that sell one token for another: `SOL/USDC`.
    #[arg(long, value_name = "IN/OUT", value_parser = pair)]
    pub(crate) pair: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activity {
    /// Accepting new orders.
    Accepting,
    /// Asking for routes.
    Routing,
    /// Signing and sending transactions.
    Sending,
}

impl Activity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Routing => "routing",
            Self::Sending => "sending",
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (token_in, token_out) = text.split_once('/').ok_or("must be two tokens, SOL/USDC for instance")?;
    Ok((token_in.to_owned(), token_out.to_owned()))
}

/// Reads a time: a whole number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a whole number and a unit: 30s, 5m, 36h or 90d".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit_s).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("36h", 129_600), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "30", "0s", "-1s", "1.5h", "99999999999999999999d", "s", "5é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_outcome_is_said_in_full() {
        let parse = |args: &str| {
            Args::try_parse_from(["order-engine", "resolve", "id"].into_iter().chain(args.split(' ')))
        };
        assert!(parse("--not-executed --note x").is_ok());
        assert!(parse("--executed --amount-out 1 --height 7 --note x").is_ok());
        for args in [
            "--note x",
            "--executed --height 7 --note x",
            "--executed --amount-out 1 --note x",
            "--not-executed",
            "--not-executed --executed --note x",
            "--not-executed --height 7 --note x",
        ] {
            assert!(parse(args).is_err(), "{args}");
        }
    }

    #[test]
    fn no_help_and_no_debug_text_shows_the_key() {
        const KEY: &str = "oek_planted-canary";
        let args = Args::try_parse_from(["order-engine", "--key", KEY, "pauses"]).unwrap();
        let error = Args::try_parse_from(["order-engine", "--key", KEY, "nonsense"]).unwrap_err();
        let help = Args::command().render_long_help().to_string();
        for text in [format!("{args:?}"), format!("{args:#?}"), error.to_string(), format!("{error:?}"), help]
        {
            assert!(!text.contains(KEY), "{text}");
        }
    }
}
