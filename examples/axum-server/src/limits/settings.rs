//! The settings of limits and of proxies.

use std::path::PathBuf;

use crate::limits::prices::Worth;
use crate::limits::proxies::{ForwardedHeader, TrustedProxies};
use crate::limits::rate::{MaybeRate, Rate};

/// How much of the server its clients may use.
#[derive(Clone, Debug, Default, clap::Args)]
#[non_exhaustive]
pub struct LimitSettings {
    /// How many requests of one user are served in how many seconds, or `off` [default: 100/1 with authentication].
    #[arg(long, env = "USER_RATE", value_name = "COUNT/SECONDS")]
    pub user_rate: Option<MaybeRate>,

    /// The same of one address, which is a network of 64 bits in IPv6 [default: 200/1 with authentication].
    #[arg(long, env = "ADDRESS_RATE", value_name = "COUNT/SECONDS")]
    pub address_rate: Option<MaybeRate>,

    /// How many orders of one user may be open: neither confirmed nor failed [default: no limit].
    #[arg(long, env = "MAX_OPEN_ORDERS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_open_orders: Option<u32>,

    /// What the orders that a user places in 24 hours may be worth together, in the currency of the prices; failed ones do not
    /// count [default: no limit].
    #[arg(long, env = "MAX_DAILY_NOTIONAL", value_name = "AMOUNT", requires = "prices")]
    pub max_daily_notional: Option<Worth>,

    /// What tokens are worth: a JSON object of symbols or mints and the prices of one whole token, as decimal strings. It is
    /// read again when it changes [default: none].
    #[arg(long, env = "PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,

    /// How many orders may wait for a worker before new ones are refused with 503 [default: no limit].
    #[arg(long, env = "MAX_DUE_ORDERS", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_due_orders: Option<u64>,

    /// The proxies in front of the server: how many every request passes, or the networks of their addresses [default: none].
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "COUNT|NETWORKS")]
    pub trusted_proxies: Option<TrustedProxies>,

    /// Which headers these proxies write [default: x-forwarded].
    #[arg(long, env = "FORWARDED_HEADER", value_enum, value_name = "KIND")]
    pub forwarded_header: Option<ForwardedHeader>,
}

impl LimitSettings {
    /// Returns the rate of a user, and that of an address.
    pub(crate) fn rates(&self, is_open: bool) -> [Option<Rate>; 2] {
        let of = |set: Option<MaybeRate>, count| match set {
            Some(MaybeRate(rate)) => rate,
            None if is_open => None,
            None => Rate::new(count, 1),
        };
        [of(self.user_rate, 100), of(self.address_rate, 200)]
    }
}
